"""Records races of a driver: in this process, or many at once as Ray tasks.

The loop in which it is used::

    plan = RecordPlan(config, RecordSettings(), root, maps)
    for race in record_serially(plan, plan.jobs()):        # or recording_tasks.record_on_ray
        show(race)

Races have names, and a race that is there is whole: whoever records again with the same plan records what is missing.
Each race has a seed of its own, so that it is the same whenever and wherever it is driven.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tmrl_ray import __version__
from tmrl_ray.config.dataset import RecordSettings
from tmrl_ray.config.race import HumanSettings, MapEntry, PursuitSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.datasets.filming import Film, FilmedGame, FilmSpeed
from tmrl_ray.datasets.folder import RaceWriter, read_facts
from tmrl_ray.datasets.race import RaceFacts
from tmrl_ray.errors import ConfigError, DatasetError, GameLostError, GameRefusedError, InvalidInputError
from tmrl_ray.game.gbx.replay import read_replay
from tmrl_ray.game.interface import TICK_MS, Game
from tmrl_ray.game.scripts import Timeline, read_script
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import ReferenceLine, line_of_track, load_line
from tmrl_ray.racing.rollout import Driver, Policy, rollout
from tmrl_ray.service import load_tuning, make_driver, open_game
from tmrl_ray.simulator.library import ENDINGS, held_out_tracks, load_track, track_names, training_tracks

if TYPE_CHECKING:
    from tmrl_ray.training import Training

TRIES = 3
"""Of a race whose game is lost; after that something is wrong with the game."""
_NO_RESPAWNS = "a race that is not driven in one go cannot be recorded"


@dataclass(frozen=True)
class RecordPlan:
    """What is to be recorded.

    Raises:
        InvalidInputError: the plan contradicts itself.
    """

    config: RunConfig
    """The game, the line, the observation, the cut-offs and, for a trained driver, the network."""
    settings: RecordSettings
    root: Path
    """Of the dataset."""
    maps: tuple[MapEntry, ...]
    source: Path | None = None
    """The weights of a trained driver, the script or the replay."""

    def __post_init__(self) -> None:
        driver, inputs = self.settings.driver, self.drives_inputs
        if (self.source is not None) != (inputs or driver == "trained"):
            raise InvalidInputError(f"driver {driver}: " + ("no file is given" if self.source is None else "no file"))
        if self.config.game.frame_size is None or not self.config.game.grey:
            raise ConfigError("races are recorded with grey pictures: set game.frame_size, and game.grey: true")
        if inputs and (len(self.maps) > 1 or self.settings.races > 1):
            raise InvalidInputError(
                f"recorded inputs are those of one race on one map, {self.settings.races} races on {len(self.maps)} "
                "maps were asked for"
            )
        if driver == "replay" and self.config.connection is None:
            raise InvalidInputError(
                "the inputs of a .Replay.Gbx mean something in the real game only: the simulator's car is another one",
                hint="Connect to the game: tmrl-ray record --connect HOST:PORT",
            )

    @property
    def speed(self) -> FilmSpeed:
        """How often pictures are taken; inputs of a file may change in every tick."""
        return FilmSpeed.of(fps=self.settings.fps, period_ms=self.decision_period_ms or TICK_MS)

    @property
    def drives_inputs(self) -> bool:
        """Whether it drives what a file says."""
        return self.settings.driver in ("inputs", "replay")

    @property
    def decision_period_ms(self) -> int | None:
        """Between two decisions of the driver; None: keys may be pressed in every tick."""
        return None if self.drives_inputs else self.config.game.decision_period_ms

    def jobs(self) -> list[RaceJob]:
        """Return the races that are not there yet, map by map."""
        return [job for job in self.all_jobs() if self.recorded(job) is None]

    def all_jobs(self) -> list[RaceJob]:
        """Return all races."""
        numbers = range(self.settings.races)
        return [RaceJob(entry, number, self._name(number)) for entry in self.maps for number in numbers]

    def recorded(self, job: RaceJob) -> RecordedRace | None:
        """Return what a race came to that is there already; None: it is not.

        Raises:
            DatasetError: what is there was recorded in another way.
        """
        folder = self.root / job.entry.name / job.name
        if not folder.exists():
            return None
        facts = read_facts(folder)
        differs = {
            "fps": facts.interval_ms != self.speed.interval_ms,
            "size": facts.size != self.config.game.frame_size,
            "driver": facts.more.get("driver") != self.settings.driver,
            "map": facts.more.get("challenge_name") != job.entry.map,
            "observation": not ObservationLayout(self.config.observation).differs_in_history_only(
                facts.layout_hash or ""
            ),
            "game.decision_period_ms": facts.decision_period_ms != self.decision_period_ms,
        }
        if changed := [what for what, differ in differs.items() if differ]:
            raise DatasetError(
                f"{folder} was recorded with another {' and '.join(changed)}",
                hint="Record into another folder with --out, or with another --seed.",
            )
        frames = int(facts.more.get("total_frames", 0))
        return RecordedRace(facts.map, facts.name, bool(facts.finished), facts.race_time_ms or 0, frames)

    def _name(self, number: int) -> str:
        settings = self.settings
        if self.source is not None and settings.driver != "trained":
            return f"{settings.driver}-{self.source.name.partition('.')[0]}"
        return f"{settings.driver}-{settings.seed}-{number:04d}"


class RaceJob(NamedTuple):
    """One race to be recorded."""

    entry: MapEntry
    number: int
    """Of the race on its map."""
    name: str


class RecordedRace(NamedTuple):
    """What a recorded race came to."""

    map: str
    name: str
    finished: bool
    race_time_ms: int
    frames: int


class Recorder:
    """Records races one after the other in one game, which it opens when it is first needed.

    Args:
        plan: what to record.
        slot: which of several games behind the same connection settings: the port is so much higher.
    """

    def __init__(self, plan: RecordPlan, slot: int = 0) -> None:
        self._plan = plan
        self._speed = plan.speed
        self._layout = ObservationLayout(plan.config.observation)
        self._config = _stepped(plan.config, self._speed.step_ms, slot)
        self._stack = ExitStack()
        self._game: Game | None = None
        self._lines: dict[str, ReferenceLine] = {}
        self._training: Training | None = None

    def close(self) -> None:
        """Let go of the game."""
        self._game = None
        self._stack.close()

    def record(self, job: RaceJob) -> RecordedRace:
        """Drive and write one race.

        Raises:
            GameRefusedError: the game has no such map, or was lost again and again.
            GameUnavailableError: nothing accepts a connection where the game should be.
            InvalidInputError: the track, its line, or the driver's file is not what it should be.
        """
        for _ in range(TRIES):
            try:
                return self._try(job)
            except GameLostError as error:
                self.close()
                last = error
        raise GameRefusedError(f"race {job.entry.name}/{job.name}: the game was lost {TRIES} times: {last}") from last

    def _try(self, job: RaceJob) -> RecordedRace:
        if self._game is None:
            self._game = self._stack.enter_context(open_game(self._config))
        self._game.load_map(job.entry.map)
        with RaceWriter(self._plan.root, job.entry.name, job.name) as writer:
            film = Film(self._line(job.entry), self._layout, self._speed, writer.add)
            more = self._drive(FilmedGame(self._game, film), job)
            race = film.race(self._facts(job, more))
            writer.commit(race)
        facts = race.facts
        assert facts.race_time_ms is not None
        return RecordedRace(facts.map, facts.name, bool(facts.finished), facts.race_time_ms, len(race.entries))

    def _drive(self, game: FilmedGame, job: RaceJob) -> dict[str, Any]:
        """Drive a race, and return what is worth noting of it."""
        plan, source = self._plan, self._plan.source
        if plan.drives_inputs:
            assert source is not None
            return _drive_inputs(game, source, plan.config.cut_offs.no_progress_ms)
        race = rollout(
            game, self._driver(job), self._line(job.entry), layout=self._layout, cut_offs=plan.config.cut_offs
        )
        for _ in race:
            pass
        if race.end.lost is not None:
            raise race.end.lost
        return {"end": race.end.how, "split_times_ms": list(race.end.split_times_ms)}

    def _driver(self, job: RaceJob) -> Policy | Driver:
        """Return who drives this race, with a seed that is the race's own."""
        settings, config = self._plan.settings, self._config
        words = (settings.seed, job.number, *job.entry.name.encode())
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        if settings.driver == "trained":
            return self._trained(seed)
        scripted = HumanSettings(seed=seed) if settings.driver == "human" else PursuitSettings()
        return make_driver(scripted, load_track(job.entry.map), load_tuning(config.simulator.tuning))

    def _trained(self, seed: int) -> Policy:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from tmrl_ray.training import Training

        source = self._plan.source
        assert source is not None
        if self._training is None:
            torch.set_num_threads(self._plan.config.training.threads or 1)  # for one picture, more only get in the way
            self._training = Training.of(self._plan.config)
        policy = self._training.policy(seed)
        try:
            policy.load(load_file(source), version=0)
        except (RuntimeError, SafetensorError, OSError) as error:
            raise InvalidInputError(
                f"{source}: no weights of the network that the configuration describes: {error}",
                hint="Give the configuration that they were trained with: -c RUN/config.yaml",
            ) from error
        return policy

    def _line(self, entry: MapEntry) -> ReferenceLine:
        line = self._lines.get(entry.name)
        if line is None:
            line = self._lines[entry.name] = line_of(entry, self._config)
        return line

    def _facts(self, job: RaceJob, more: dict[str, Any]) -> RaceFacts:
        settings, config = self._plan.settings, self._plan.config
        return RaceFacts(
            map=job.entry.name,
            name=job.name,
            decision_period_ms=self._plan.decision_period_ms,
            more={
                "challenge_name": job.entry.map,
                "running_speed": config.game.running_speed,
                "driver": settings.driver,
                "seed": settings.seed,
                "race_number": job.number,
                "source": None if self._plan.source is None else self._plan.source.name,
                "game": "simulator" if config.connection is None else "connection",
                "camera": config.game.camera,
                "code_version": __version__,
            }
            | more,
        )


def line_of(entry: MapEntry, config: RunConfig) -> ReferenceLine:
    """Return the reference line of a map: the one that its entry names, else its track's centre line."""
    if entry.line is not None:
        return load_line(entry.line, settings=config.line)
    return line_of_track(load_track(entry.map), config.line)


def entries_of(names: str) -> tuple[MapEntry, ...]:
    """Return the tracks of the simulator that a list with commas names: names, files, sets and patterns.

    Raises:
        ConfigError: no track is called so.
    """
    sets = {"generated-train": training_tracks(), "generated-held-out": held_out_tracks()}
    sets["shipped"] = tuple(name for name in track_names() if not any(name in each for each in sets.values()))
    chosen: dict[str, str] = {}
    for part in filter(None, names.split(",")):
        if part.endswith(ENDINGS):
            chosen[Path(part).stem] = part
            continue
        found = sets.get(part) or fnmatch.filter(track_names(), part)
        if not found:
            raise ConfigError(f"there is no track {part!r}", hint="See: tmrl-ray game tracks --generated")
        chosen |= {name: name for name in found}
    if not chosen:
        raise ConfigError(f"no track in {names!r}")
    return tuple(MapEntry(name=name, map=place) for name, place in chosen.items())


def each_map_once(entries: Iterable[MapEntry]) -> tuple[MapEntry, ...]:
    """Return the first entry of each map: one map under two names would be on both sides of a split."""
    first: dict[str, MapEntry] = {}
    for entry in entries:
        first.setdefault(entry.map, entry)
    return tuple(first.values())


def record_serially(plan: RecordPlan, jobs: list[RaceJob]) -> Iterator[RecordedRace]:
    """Record in this process, and yield each race when it is written."""
    recorder = Recorder(plan)
    try:
        for job in jobs:
            yield recorder.record(job)
    finally:
        recorder.close()


def read_inputs(source: Path) -> tuple[Timeline, int | None]:
    """Return the inputs of a TMInterface script or a .Replay.Gbx, and the finish time in ms that it claims.

    Raises:
        InvalidInputError: the file cannot be read, or holds what cannot be driven tick by tick.
    """
    if source.suffix.lower() != ".gbx":
        timeline = read_script(source)
        if events := [press for press in timeline.presses if press.key != "horn"]:
            raise InvalidInputError(f"{source}: presses {events[0].key} at {events[0].time_ms} ms: {_NO_RESPAWNS}")
        if commands := [each for each in timeline.commands if each.time_ms is not None]:
            raise InvalidInputError(
                f"{source}: {commands[0].text!r} at {commands[0].time_ms} ms: only inputs are driven"
            )
        return timeline, None
    ghost = read_replay(source).ghost
    if ghost.respawn_times_ms:
        raise InvalidInputError(f"{source}: the car respawns at {ghost.respawn_times_ms[0]} ms: {_NO_RESPAWNS}")
    return Timeline.of(ghost.inputs, TICK_MS), ghost.race_time_ms


def _drive_inputs(game: FilmedGame, source: Path, patience_ms: int) -> dict[str, Any]:
    """Drive recorded inputs up to the finish, or so long after the last of them."""
    timeline, claimed_ms = read_inputs(source)
    last_ms = max(timeline.end_ms, claimed_ms or 0) + patience_ms
    moment = game.start_race()
    while not moment.finished and moment.race_time_ms < last_ms:
        moment = game.step(timeline.at(moment.race_time_ms))
    reproduced = None if claimed_ms is None else moment.finished and moment.race_time_ms == claimed_ms
    return {"end": "finish" if moment.finished else "cut_off", "claimed_time_ms": claimed_ms, "reproduced": reproduced}


def _stepped(config: RunConfig, step_ms: int, slot: int) -> RunConfig:
    """Return the configuration of a game that is stepped so finely, the given one of several."""
    config = config.replace(game=config.game.replace(decision_period_ms=step_ms))
    if config.connection is None:
        return config
    return config.replace(connection=config.connection.replace(port=config.connection.port + slot))
