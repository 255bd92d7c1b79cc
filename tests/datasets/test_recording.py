"""Recording races: what is there is kept, what is half there is driven again, and races do not depend on the order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.datasets.conftest import FINISHED, record
from tmrl_ray.config.dataset import RecordSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.race import MapEntry
from tmrl_ray.datasets.folder import find_races, read_race
from tmrl_ray.errors import DatasetError, GameGoneError, GameRefusedError, InvalidInputError
from tmrl_ray.game.interface import Moment
from tmrl_ray.game.scripts import Timeline, format_script
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.recording import (
    RecordedRace,
    Recorder,
    RecordPlan,
    each_map_once,
    entries_of,
    record_serially,
)
from tmrl_ray.simulator.embedded import EmbeddedGame

DATA = Path(os.environ.get("TMRL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CONFIG = load_config(None, ["game.frame_size=[24,16]"])
SHORT = ("cut_offs.race_ms=600", "cut_offs.no_progress_ms=600")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def drive(plan: RecordPlan) -> list[RecordedRace]:
    return list(record_serially(plan, plan.jobs()))


def test_a_race_is_the_same_whenever_it_is_recorded(recorded: Path, tmp_path: Path) -> None:
    plan = record(tmp_path, FINISHED, races=2)
    for folder in find_races(tmp_path):
        assert contents(folder) == contents(recorded / folder.relative_to(tmp_path))
    first, second = (read_race(folder) for folder in find_races(tmp_path))
    assert first.actions.tolist() != second.actions.tolist()
    (tmp_path / FINISHED / "human-0-0000").rename(tmp_path / "aside")
    assert [job.number for job in plan.jobs()] == [0]
    (again,) = drive(plan)
    assert again.finished
    assert contents(tmp_path / FINISHED / "human-0-0000") == contents(tmp_path / "aside")


def test_races_that_are_there_were_recorded_in_the_same_way(recorded: Path) -> None:
    def plan(*overrides: str, fps: float = 20.0) -> RecordPlan:
        config = load_config(None, ["game.frame_size=[24,16]", *overrides])
        return RecordPlan(config, RecordSettings(races=2, fps=fps), recorded, entries_of(FINISHED))

    with pytest.raises(DatasetError, match="recorded with another fps") as error:
        plan(fps=50.0).jobs()
    assert "--out" in (error.value.hint or "")
    with pytest.raises(DatasetError, match=r"with another observation and game\.decision_period_ms\n"):
        plan("observation.way_points=20", "game.decision_period_ms=100").jobs()
    with pytest.raises(DatasetError, match="with another observation\n"):
        plan("observation.finish_margin_m=300").jobs()
    assert plan("observation.previous_actions=25").jobs() == []  # they come from what was held


KILLED = """
import sys
from pathlib import Path
from tests.datasets.conftest import record
record(Path(sys.argv[1]), "loop", races=3, overrides=("cut_offs.race_ms=3000", "cut_offs.no_progress_ms=3000"))
"""


def test_who_is_killed_while_recording_leaves_whole_races_and_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[2])
    second = tmp_path / "loop" / ".partial-human-0-0001"
    deadline_s = time.monotonic() + 120
    while not (second.exists() and len(list(second.iterdir())) > 3):
        assert time.monotonic() < deadline_s and process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert second.exists()
    assert [folder.name for folder in find_races(tmp_path)] == ["human-0-0000"]
    before = contents(tmp_path / "loop" / "human-0-0000")
    record(tmp_path, "loop", races=3, overrides=("cut_offs.race_ms=3000", "cut_offs.no_progress_ms=3000"))
    assert sorted(path.name for path in (tmp_path / "loop").iterdir()) == [f"human-0-000{n}" for n in range(3)]
    assert contents(tmp_path / "loop" / "human-0-0000") == before


def test_a_script_is_driven_tick_by_tick(recorded: Path, tmp_path: Path) -> None:
    known = read_race(recorded / FINISHED / "human-0-0001")
    script = tmp_path / "best.txt"
    script.write_text(format_script(Timeline.of([ACTIONS[action] for action in known.actions])))
    settings = RecordSettings(driver="inputs", races=1, fps=20)
    plan = RecordPlan(CONFIG, settings, tmp_path / "races", entries_of(FINISHED), script)
    (race,) = drive(plan)
    assert race.finished and race.race_time_ms == known.facts.race_time_ms
    again = read_race(tmp_path / "races" / FINISHED / race.name)
    assert again.actions.tolist() == known.actions.tolist()
    assert again.facts.decision_period_ms is None
    for row in range(0, len(known.entries), 17):
        assert (again.frame(row) == known.frame(row)).all()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("0.00 press up\n3.00 press enter\n", "presses enter at 3000 ms"),
        ("0.00 press up\n1.00 load_state x\n", "'load_state x' at 1000 ms"),
        ("0.00 jump\n", "an input is a time, an action and one value|no action"),
    ],
)
def test_scripts_that_cannot_be_driven_in_one_go_are_refused(tmp_path: Path, script: str, message: str) -> None:
    (tmp_path / "script.txt").write_text(script)
    settings = RecordSettings(driver="inputs", races=1)
    plan = RecordPlan(CONFIG, settings, tmp_path / "races", entries_of("loop"), tmp_path / "script.txt")
    with pytest.raises(InvalidInputError, match=message):
        drive(plan)
    assert not list((tmp_path / "races").rglob("*.png"))


class Dying(EmbeddedGame):
    """A game that is gone after some steps, a given number of times."""

    deaths = 0

    def step(self, inputs: object) -> Moment:
        if Dying.deaths and self.race.race_time_ms > 200:
            Dying.deaths -= 1
            raise GameGoneError("the game is gone")
        return super().step(inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_race_whose_game_is_lost_is_driven_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    monkeypatch.setattr("tmrl_ray.service.EmbeddedGame", Dying)
    Dying.deaths = deaths
    config = load_config(None, ["game.frame_size=[24,16]", *SHORT])
    plan = RecordPlan(config, RecordSettings(races=1), tmp_path, entries_of("loop"))
    recorder = Recorder(plan)
    if deaths == 3:
        with pytest.raises(GameRefusedError, match="lost 3 times"):
            recorder.record(plan.jobs()[0])
        assert list((tmp_path / "loop").iterdir()) == []
    else:
        assert recorder.record(plan.jobs()[0]).race_time_ms == 600
        assert len(find_races(tmp_path)) == 1


def test_a_trained_driver_drives_with_its_weights(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from tmrl_ray.training import Training

    config = load_config(None, ["game.frame_size=[64,64]", *SHORT])
    torch.set_num_threads(1)
    weights = tmp_path / "weights.safetensors"
    network = Training.of(config).policy(7)._source
    save_file({name: each.contiguous() for name, each in network.state_dict().items()}, weights)
    plan = RecordPlan(
        config, RecordSettings(driver="trained", races=1), tmp_path / "races", entries_of("loop"), weights
    )
    (race,) = drive(plan)
    assert race.frames == 13
    other = replace(plan, config=load_config(None, ["game.frame_size=[48,48]", *SHORT]), root=tmp_path / "other")
    with pytest.raises(InvalidInputError, match="no weights of the network") as error:
        drive(other)
    assert "config.yaml" in (error.value.hint or "")


def test_plans_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    def plan(*overrides: str, source: Path | None = None, tracks: str = "loop", **settings: object) -> RecordPlan:
        config = load_config(None, ["game.frame_size=[24,16]", *overrides])
        return RecordPlan(config, RecordSettings.model_validate(settings), tmp_path, entries_of(tracks), source)

    for refused, message in (
        (lambda: plan("game.frame_size=null"), "with grey pictures"),
        (lambda: plan(driver="inputs"), "no file is given"),
        (lambda: plan(driver="human", source=tmp_path), "human: no file"),
        (lambda: plan(driver="inputs", races=2, source=tmp_path), "one race on one map"),
        (lambda: plan(driver="replay", races=1, source=tmp_path), "in the real game only"),
        (lambda: entries_of("nowhere"), "no track 'nowhere'"),
        (lambda: entries_of(","), "no track in"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            refused()


def test_names_stand_for_many_tracks() -> None:
    assert len(entries_of("generated-train")) == 40
    assert len(entries_of("generated-held-out,loop,loop")) == 11
    assert [entry.name for entry in entries_of("generated-train-0[0-2]")] == [f"generated-train-0{n}" for n in range(3)]
    assert "loop" in [entry.name for entry in entries_of("shipped")]
    both = [MapEntry(name="explore", map="loop"), MapEntry(name="evaluate", map="loop", exploration=False)]
    assert each_map_once([*both, *entries_of("hairpin")]) == (both[0], *entries_of("hairpin"))


@pytest.mark.skipif(not (DATA / "gbx").is_dir(), reason="no recorded races of people")
def test_the_inputs_of_a_replay_are_read_with_the_time_that_it_claims() -> None:
    from tmrl_ray.recording import read_inputs

    for replay in sorted((DATA / "gbx").glob("*.Replay.gbx")):
        timeline, claimed_ms = read_inputs(replay)
        assert claimed_ms is not None and 0 < timeline.end_ms <= claimed_ms + 10


@pytest.mark.ray
@pytest.mark.slow
def test_ray_records_the_same_races(recorded: Path, tmp_path: Path) -> None:
    from tmrl_ray.ray_session import started
    from tmrl_ray.recording_tasks import OBJECT_STORE_BYTES, record_on_ray

    plan = RecordPlan(CONFIG, RecordSettings(races=2), tmp_path, entries_of(FINISHED))
    with started(0, OBJECT_STORE_BYTES, include_dashboard=False, num_cpus=2):
        races = list(record_on_ray(plan, plan.jobs(), workers=2))
    assert [race.name for race in races] == ["human-0-0000", "human-0-0001"]
    for folder in find_races(tmp_path):
        assert contents(folder) == contents(recorded / folder.relative_to(tmp_path))
