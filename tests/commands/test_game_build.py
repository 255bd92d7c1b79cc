"""``tmrl-ray game build``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.game import gbx_encoder as encode
from tmrl_ray.cli import run
from tmrl_ray.simulator.library import load_track


@pytest.fixture
def line_file(tmp_path: Path) -> Path:
    """A line of 1,100 m with a bend."""
    along = np.arange(0.0, 1100.0, 0.5)
    path = tmp_path / "line.npy"
    np.save(path, np.stack([along, np.full_like(along, 9.0), 30 * np.sin(along / 170)], axis=1))
    return path


def test_a_line_becomes_a_track(line_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "built" / "bend.yaml"
    assert run(["game", "build", str(line_file), "-o", str(output), "--width", "13"]) == 0
    track = load_track(str(output))
    assert track.name == "bend"
    assert len(track.gates) == 3
    assert np.median(track.half_width) == 6.5
    shown = capsys.readouterr().out
    assert "checkpoints: 2\n" in shown
    assert f"tmrl-ray drive --track {output}" in shown


def test_nothing_is_replaced_by_accident(line_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, other = line_file.with_suffix(".yaml"), line_file.with_name("other.yaml")
    assert run(["game", "build", str(line_file), "-o", str(own), "--force"]) == 2
    assert f"would replace {line_file}" in capsys.readouterr().err
    other.write_text("mine")
    assert run(["game", "build", str(line_file), "-o", str(other)]) == 2
    assert f"{other} exist already\nhint: Use --force" in capsys.readouterr().err
    assert other.read_text() == "mine"
    assert run(["game", "build", str(line_file), "-o", str(other), "--force"]) == 0


def test_a_real_line_gets_the_real_checkpoints_of_its_map(real_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "hockolicious.yaml"
    line = real_data / "lines" / "ESL-Hockolicious_0.5m_cl2.npy"
    map_file = real_data / "gbx" / "ESL-Hockolicious.Challenge.Gbx"
    assert run(["game", "build", str(line), "--map", str(map_file), "-o", str(output)]) == 0
    track = load_track(str(output))
    assert len(track.gates) == 13 + 1
    assert np.linalg.norm(track.gates[-1].centre - np.load(line)[-1]) < 15


def test_a_replay_becomes_a_track(tmp_path: Path) -> None:
    samples = encode.trace(encode.straight_samples(60, metres=5.0))
    ghost = encode.ghost(encode.Names(), race_time_ms=5900, checkpoint_times_ms=(5900,), samples=samples)
    (tmp_path / "lap.Replay.Gbx").write_bytes(encode.replay([ghost]))
    output = tmp_path / "lap.yaml"
    assert run(["game", "build", str(tmp_path / "lap.Replay.Gbx"), "-o", str(output)]) == 0
    track = load_track(str(output))
    assert np.linalg.norm(track.gates[-1].centre - (100 + 295, 9.36, 176)) < 2


def test_what_is_no_line_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "line.npy"
    text.write_text("no array")
    assert run(["game", "build", str(text), "-o", str(tmp_path / "out.yaml")]) == 2
    assert str(text) in capsys.readouterr().err
    assert run(["game", "build", str(text), "-o", str(tmp_path / "out.txt")]) == 2
    assert "must end in .yaml" in capsys.readouterr().err
