"""The best races and weights as files.

::

    best/
      loop-14.23.txt               the race's inputs, a TMInterface script
      loop-14.23.npz               its trajectory: see ``RaceRecording``
      loop-14.23.mp4               a film of it, and loop-14.23.png with pictures: of the best one, when a run ends
      evaluation-000123.safetensors   the weights of one of the best evaluations
      evaluation-000123.json          what it came to

Each file is written whole or not at all. What is there is found again by its name, so nothing else has to survive.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.evaluation import Evaluation, EvaluationScore
from actors.weight_store import Weights
from tmrl_ray.errors import DataError, NotSavedError
from tmrl_ray.game.interface import Moment
from tmrl_ray.game.scripts import Timeline, format_script, parse_script
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.racing.rollout import Step
from tmrl_ray.runs.disk import Disk, replace_file
from tmrl_ray.simulator.film import FilmSettings, duration_ms, film, write_film
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning

TRAJECTORY_FORMAT = 1
_RACE = re.compile(r"(?P<map>.+)-(?P<seconds>\d+\.\d\d)")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class RaceRecording:
    """A race from the start line, step by step.

    The trajectory has a row for each decision: ``action`` and ``q_max``, ``zone`` and ``metres`` at the decision, and
    ``race_time_ms``, ``position`` (3, metres), ``velocity`` (3, m/s) and ``rotation`` (3, 3) of the car after it.

    Args:
        period_ms: race time between two decisions.
    """

    def __init__(self, period_ms: int) -> None:
        self._period_ms = period_ms
        self._actions: list[int] = []
        self._rows: list[tuple[NDArray[np.float32], ...]] = []
        self._numbers: list[tuple[int, int, float, float]] = []

    def add(self, step: Step, after: Moment) -> None:
        """Take in a decision and the moment to which it led."""
        values, state = step.decision.q_values, after.state
        q_max = np.nan if values is None else float(values.max())
        self._actions.append(step.decision.action)
        self._rows.append((state.position.copy(), state.velocity.copy(), state.rotation.copy()))
        self._numbers.append((after.race_time_ms, step.zone, step.metres, q_max))

    @property
    def inputs(self) -> Timeline:
        """What was pressed."""
        return Timeline.of([ACTIONS[action] for action in self._actions], self._period_ms)

    def trajectory(self) -> dict[str, NDArray[Any]]:
        """Return the columns."""
        position, velocity, rotation = (np.array(column, np.float32) for column in zip(*self._rows, strict=True))
        times_ms, zones, metres, q_max = zip(*self._numbers, strict=True)
        return {
            "format": np.array(TRAJECTORY_FORMAT),
            "action": np.array(self._actions, np.uint8),
            "q_max": np.array(q_max, np.float32),
            "zone": np.array(zones, np.int32),
            "metres": np.array(metres, np.float32),
            "race_time_ms": np.array(times_ms, np.int32),
            "position": position,
            "velocity": velocity,
            "rotation": rotation,
        }


class RaceArchive:
    """The best races of each map and the best evaluations of one run.

    Args:
        directory: where they are.
        keep: how many of each.
        disk: how files are written; None: to the real one.
    """

    def __init__(self, directory: Path, *, keep: int, disk: Disk | None = None) -> None:
        self.directory = directory
        self._keep = keep
        self._disk = Disk() if disk is None else disk

    def best_times_ms(self, map_name: str) -> list[int]:
        """Return the finish times of the kept races on a map, best first."""
        return sorted(self._races(map_name))

    def inputs_of_best(self, map_name: str) -> Path | None:
        """Return the inputs of the best race on a map; None: there is none."""
        races = self._races(map_name)
        return races[min(races)] if races else None

    def offer_race(self, map_name: str, finish_time_ms: int, recording: RaceRecording, version: int) -> Path | None:
        """Keep a race if it is among the best on its map.

        Args:
            map_name: in the configuration.
            finish_time_ms: of the whole race.
            recording: of it.
            version: of the weights that drove.

        Returns:
            Its inputs; None: there are better ones, or one that is as good.

        Raises:
            NotSavedError: it could not be written.
        """
        kept = self.best_times_ms(map_name)
        if finish_time_ms in kept or len(kept) >= self._keep and finish_time_ms > kept[self._keep - 1]:
            return None
        script = self.directory / f"{_file_name(map_name)}-{finish_time_ms / 1000:.2f}.txt"
        buffer = io.BytesIO()
        np.savez(buffer, **recording.trajectory(), policy_version=np.array(version))  # type: ignore[arg-type]
        # the script last: without it there is no race
        self._write(_beside(script, ".npz"), buffer.getvalue())
        self._write(script, format_script(recording.inputs).encode())
        for _, path in sorted(self._races(map_name).items())[self._keep :]:
            _remove(path, *(_beside(path, suffix) for suffix in (".npz", ".mp4", ".png")))
        return script

    def scores(self) -> list[EvaluationScore]:
        """Return the kept evaluations, best first. What cannot be read is none of them."""
        found = []
        for path in self.directory.glob("evaluation-*.json"):
            try:
                found.append(EvaluationScore(**json.loads(path.read_bytes())["score"]))
            except (ValueError, KeyError, TypeError):
                continue
        return sorted(found, key=lambda score: score.rank, reverse=True)

    def offer_evaluation(self, evaluation: Evaluation, weights: Weights) -> Path | None:
        """Keep the weights of an evaluation if it is among the best.

        Returns:
            The weights; None: there are better ones.

        Raises:
            NotSavedError: they could not be written.
        """
        kept = self.scores()
        if len(kept) >= self._keep and evaluation.score.rank <= kept[self._keep - 1].rank:
            return None
        path = self.directory / f"evaluation-{evaluation.version:06}.safetensors"
        described = {
            "format": 1,
            "score": evaluation.score.as_values(),
            "checksum": weights.checksum,
            "maps": {result.map: asdict(result) for result in evaluation.results},
        }
        self._write(path, bytes(weights.data))
        self._write(_beside(path, ".json"), (json.dumps(described, indent=1) + "\n").encode())
        for score in self.scores()[self._keep :]:
            old = self.directory / f"evaluation-{score.version:06}.safetensors"
            _remove(_beside(old, ".json"), old)
        return path

    def _races(self, map_name: str) -> dict[int, Path]:
        """Return the kept races on a map by their finish time in ms."""
        wanted, races = _file_name(map_name), {}
        for path in self.directory.glob("*.txt"):
            match = _RACE.fullmatch(path.stem)
            if match and match["map"] == wanted:
                races[round(float(match["seconds"]) * 1000)] = path
        return races

    def _write(self, path: Path, data: bytes) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            replace_file(self._disk, path, data)
        except OSError as error:
            raise NotSavedError(f"{path} was not written: {error}", hint="Make room on that disk.") from error


def read_trajectory(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a kept race; see :class:`RaceRecording`.

    Raises:
        DataError: the file is none, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no trajectory: {error}") from error
    if int(columns.get("format", 0)) != TRAJECTORY_FORMAT:
        raise DataError(f"{path} has format {columns.get('format')}, not {TRAJECTORY_FORMAT}")
    return columns


def film_race(
    inputs: Path, track: Track, video: Path, *, settings: FilmSettings | None = None, tuning: CarTuning | None = None
) -> int:
    """Drive a kept race once more in the simulator, and write it as a video, with a sheet of pictures beside it.

    Args:
        inputs: its script.
        track: on which it was driven.
        video: where to write it (.mp4); the sheet has the same name with .png.
        settings: size, camera and pictures; None: the standard ones.
        tuning: the car that drove it; None: the one that ships.

    Returns:
        The finish time in ms.

    Raises:
        ScriptError: the inputs are no script.
    """
    settings = FilmSettings() if settings is None else settings
    script = parse_script(inputs.read_text(encoding="utf-8"))
    longest_ms = script.end_ms + 60_000
    finish_ms = duration_ms(track, script, longest_ms, tuning)
    shots = film(track, script, finish_ms, settings, tuning)
    write_film(shots, finish_ms, fps=settings.fps, sheet=video.with_suffix(".png"), video=video)
    return finish_ms


def _beside(path: Path, suffix: str) -> Path:
    """Return the path with another suffix; finish times have a point of their own."""
    return path.with_name(path.name.removesuffix(path.suffix) + suffix)


def _file_name(map_name: str) -> str:
    return _UNFIT.sub("_", map_name)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
