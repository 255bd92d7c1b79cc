"""``tmrl-ray experiment`` as a person types it, at a scale so small that it takes seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tmrl_ray.cli import run
from tmrl_ray.runs.artifact import Artifact

FOLDER = Path(__file__).parents[2] / "configs" / "experiments"
TINY = {
    "races.yaml": "fps10: {tracks: generated-train-00, held_out: generated-held-out-04, races: 1, fps: 5.0}\n",
    "vis/v1.yaml": "{epochs: 1, batch_size: 32, threads: 1, device: cpu}\n",
    "bc/base.yaml": "{batch_size: 32, threads: 1, device: cpu}\n",
    "bc/v1.yaml": "{epochs: 1}\n",
    "rl/baseline.yaml": "{game: {frame_size: [36, 36]}, network: {head_hidden: 7, float_hidden: 5}}\n",
}


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """The options of a folder with a tiny scale, for results and races of its own."""
    root = tmp_path / "configs" / "experiments"
    shutil.copytree(FOLDER, root)
    shutil.copytree(FOLDER.parent / "presets", tmp_path / "configs" / "presets")
    for name, text in TINY.items():
        file = root / "tiny" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return [f"--folder={root}", "--scale=tiny", f"--results={tmp_path / 'runs'}", f"--data={tmp_path / 'races'}"]


def test_the_list_tells_what_each_begins_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experiment", "list", "--folder", str(FOLDER), "--json"]) == 0
    told = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert told["rl/vis_pretrained"]["needs"] == {"learner.pretrained.encoder": "vis/v1"}
    assert run(["experiment", "list", "--folder", str(FOLDER)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["experiment", "tests", "begins", "with"]
    assert len(lines) == len(told) + 1


def test_show_tells_what_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["experiment", "show", "bc/v3", "--folder", str(FOLDER), "--scale", "simulator"]
    assert run(command) == 0
    told = capsys.readouterr().out
    assert "\nuse_full_iqn: true\n" in told
    assert "encoder_init_path: runs/experiments/simulator/vis/v2/seed-42\n" in told
    assert "# based on bc/v2, of which it changes:\n#   lr: 0.0005 -> 0.0001\n" in told
    assert "#   races: fps10 -> fps100\n# with --legacy legacy_mean_floats: True\n" in told
    assert run([*command, "--differences"]) == 0
    assert capsys.readouterr().out.startswith("# bc/v3: the whole quantile network")


def test_what_is_missing_is_named_with_its_command(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experiment", "run", "bc/v1", *places]) == 2
    told = capsys.readouterr().err
    assert "bc/v1 needs the races" in told
    assert "vis/v1, seed 42: not there, or not finished\n" in told
    begin = "Add --with-dependencies, or begin with: tmrl-ray record --tracks generated-train-00,generated-held-out-04"
    assert begin in told
    assert run(["experiment", "run", "bc/v1", *places, "epochs=2"]) == 2
    assert "--label NAME [--races NAME] KEY=VALUE" in capsys.readouterr().err
    assert run(["experiment", "run", "bc/v1", *places, "--label=x", "epohcs=2"]) == 2
    assert "unknown key; did you mean epochs?" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_with_all_that_it_needs(
    places: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment", "run", "bc/v1", *places, "--seed", "7"]
    assert run([*command, "--with-dependencies"]) == 0
    artifact = Artifact.read(tmp_path / "runs/tiny/bc/v1/seed-7/best")
    assert (artifact.origin.seed, artifact.origin.epochs_trained, artifact.origin.frame_size) == (7, 1, (36, 36))
    assert artifact.origin.settings["encoder_init_path"] == str(tmp_path / "runs/tiny/vis/v1/seed-7")
    assert artifact.origin.settings["val_track_ids"] == ["generated-held-out-04"]
    capfd.readouterr()
    assert run(command) == 0
    assert "bc/v1, seed 7, was run before" in capfd.readouterr().out
    assert run(["analyze", "pretrain", str(tmp_path / "runs/tiny/bc/v1/seed-7")]) == 0
    assert "accuracy by action, best epoch" in capfd.readouterr().out
    for manifest in (tmp_path / "races").rglob("manifest.json"):
        manifest.write_text("{", encoding="utf-8")
    shutil.rmtree(tmp_path / "runs/tiny/cache")
    assert run(["experiment", "run", "vis/v2", *places]) == 1
    told = capfd.readouterr().err
    assert told.count("error: ") == 2  # of the stage, and of the experiment
    assert "error: vis/v2, seed 42: the command above ended with status 2" in told
