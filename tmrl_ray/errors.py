"""The exceptions of tmrl_ray: one branch for each decision that a caller can take.

::

    TmrlError
    ├── InvalidInputError        what the user gave is wrong: say so and stop (exit status 2)
    │   ├── ConfigError          a configuration file or override
    │   ├── TrackError           a track description or its geometry
    │   ├── LineError            a reference line, or what is asked of it
    │   ├── GbxError             a .Challenge.Gbx or .Replay.Gbx file
    │   ├── ScriptError          a TMInterface inputs script
    │   ├── StateError           the bytes of a simulation state
    │   ├── DatasetError         recorded races, or a cache that cannot be made of them
    │   ├── RunError             the folder of a run: the message says what to type
    │   └── ClusterError         a Ray cluster that cannot be joined as things are
    ├── DataError                what another process of ours handed over, or left behind, cannot be used
    │   ├── ChunkError             experience of a collector: refuse it and go on
    │   ├── RingError              a ring of experience: do not attach to it, fill a new one from a checkpoint
    │   │   └── RingInUseError       somebody else writes to it: it may be whole, leave it alone
    │   ├── CheckpointError        a checkpoint: stop; the message says what to type to go on
    │   └── ArtifactError          pretrained weights: do not start with them; a learner that runs goes on without
    ├── NotSavedError            something could not be written: go on, what was there before is whole; try later
    ├── PeerUnavailableError     another process of ours does not answer (yet): ask again, with back-off
    └── GameError                something between us and a game
        ├── GameUnavailableError   nothing answers (yet): connect again, with back-off
        ├── GameLostError          the game hung, died or talks nonsense: relaunch it
        │   ├── GameHungError        a deadline passed
        │   ├── GameGoneError        the connection or the process ended
        │   └── GameProtocolError    bytes that the protocol does not allow
        └── GameRefusedError       the game answered, and said no: trying again cannot help

Every error says what failed and where; ``hint`` says what to type or change next.
"""

from __future__ import annotations


class TmrlError(Exception):
    """Base of everything that tmrl_ray raises on purpose.

    Args:
        message: what failed, where, and the value that was given.
        hint: what to do next, as a sentence or a command; shown on its own line.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n{self.hint}" if self.hint else message


class InvalidInputError(TmrlError):
    """What the user gave is wrong; nothing was changed."""


class ConfigError(InvalidInputError):
    """A configuration file, key or override is wrong."""


class TrackError(InvalidInputError):
    """A track cannot be built or cannot be driven."""


class LineError(InvalidInputError):
    """A reference line cannot be used, or does not go far enough for what is asked of it."""


class GbxError(InvalidInputError):
    """A Gbx file is not what it should be."""


class ScriptError(InvalidInputError):
    """A TMInterface inputs script cannot be read or written."""


class StateError(InvalidInputError):
    """Bytes are not a simulation state."""


class DatasetError(InvalidInputError):
    """Recorded races are not there, are damaged, or cannot be used for what is asked of them."""


class RunError(InvalidInputError):
    """The folder of a run is not there, is there already, or is in use."""


class ClusterError(InvalidInputError):
    """A Ray cluster cannot be joined: it is not there, has another version, or does not take our token."""


class DataError(TmrlError):
    """What another process of ours handed over, or left behind, cannot be used."""


class ChunkError(DataError):
    """A chunk of experience is malformed, or of another layout than the one in use."""


class RingError(DataError):
    """A ring of experience is damaged, of another layout, or in use by another writer."""


class RingInUseError(RingError):
    """Another process writes to a ring of experience, which may be whole: never remove it because of that."""


class CheckpointError(DataError):
    """A checkpoint is damaged, of another run or network, or of a newer format. Never start afresh because of it."""


class ArtifactError(DataError):
    """Pretrained weights are damaged, of a newer format, or do not fit the network. Never take over some of them."""


class NotSavedError(TmrlError):
    """Something could not be written, to a full disk for example. What was there before is whole: go on, try later."""


class PeerUnavailableError(TmrlError):
    """Another process of ours does not answer, or is not there at the moment. Ask again with back-off."""


class GameError(TmrlError):
    """Something went wrong between us and a game."""


class GameUnavailableError(GameError):
    """Nothing answers at the game's address. Retry with back-off."""


class GameLostError(GameError):
    """The game that we were talking to is of no more use. Relaunch it; the race in progress is lost."""


class GameHungError(GameLostError):
    """The game did not answer before the deadline."""


class GameGoneError(GameLostError):
    """The connection or the process of the game ended."""


class GameProtocolError(GameLostError):
    """The game sent bytes that the protocol does not allow."""


class GameRefusedError(GameError):
    """The game answered and refused. Trying again cannot help."""
