"""Artifacts come back as they were written, and what is not whole is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tmrl_ray import __version__
from tmrl_ray.errors import ArtifactError, NotSavedError, RunError
from tmrl_ray.runs.artifact import BEST, META_FILE, Artifact, Origin, PartKey
from tmrl_ray.runs.disk import PARTIAL_PREFIX, Disk

ORIGIN = Origin(
    stage="bc",
    task="full_policy",
    run="cloned",
    frame_size=(37, 41),
    frame_normalization="iqn",
    data_fingerprint="f" * 16,
    seed=3,
    epochs_trained=7,
    epoch=5,
    best_epoch=5,
    metrics={"validation_loss": 0.25, "accuracy": None},
    settings={"learning_rate": 0.001, "offsets_ms": [-10, 0]},
)
ENCODER = {"encoder.0.weight": np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)}
HEADS = {
    PartKey("advantage_head", offset_ms): {"advantage_head.last.bias": np.full(11, offset_ms, dtype=np.float32)}
    for offset_ms in (-10, 0)
}


def artifact() -> Artifact:
    return Artifact(ORIGIN, {PartKey("encoder"): ENCODER, **HEADS})


class FailingDisk(Disk):
    """A disk that is full when meta.json comes."""

    def write(self, path: Path, data: bytes) -> None:
        if path.name == META_FILE:
            raise OSError(28, "No space left on device")
        super().write(path, data)


def test_an_artifact_comes_back_as_it_was_written(tmp_path: Path) -> None:
    artifact().write(tmp_path / "run" / BEST)
    read = Artifact.read(tmp_path / "run")  # the best one of a run
    assert read.source == tmp_path / "run" / BEST
    assert read.origin.replace(created_s=None) == ORIGIN
    assert read.origin.created_s is not None and read.origin.code_version == __version__
    assert read.offsets_ms("advantage_head") == (-10, 0)
    assert read.architecture_hash == artifact().architecture_hash
    for key, arrays in artifact().parts.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(np.asarray(read.parts[key][name]), np.asarray(array))


def test_what_is_there_is_replaced_only_if_asked_for(tmp_path: Path) -> None:
    artifact().write(tmp_path / BEST)
    with pytest.raises(RunError, match="is there already"):
        artifact().write(tmp_path / BEST)
    Artifact(ORIGIN.replace(epoch=6), {PartKey("encoder"): ENCODER}).write(tmp_path / BEST, replace=True)
    read = Artifact.read(tmp_path / BEST)
    assert read.origin.epoch == 6 and list(read.parts) == [PartKey("encoder")]
    assert [path.name for path in tmp_path.iterdir()] == [BEST]


def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    with pytest.raises(NotSavedError, match="No space left"):
        artifact().write(tmp_path / BEST, disk=FailingDisk())
    assert not (tmp_path / BEST).exists()
    artifact().write(tmp_path / BEST)  # over what was left half written
    assert not list(tmp_path.glob(f"{PARTIAL_PREFIX}*"))


def test_damage_is_named(tmp_path: Path) -> None:
    artifact().write(tmp_path / BEST)
    encoder, meta = tmp_path / BEST / "encoder.safetensors", tmp_path / BEST / META_FILE
    data, stated = encoder.read_bytes(), json.loads(meta.read_text())

    encoder.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"encoder\.safetensors is damaged: its SHA-256"):
        Artifact.read(tmp_path)
    encoder.write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match=r"encoder\.safetensors is damaged: .* bytes"):
        Artifact.read(tmp_path)
    encoder.unlink()
    with pytest.raises(ArtifactError, match=r"encoder\.safetensors is missing"):
        Artifact.read(tmp_path)
    encoder.write_bytes(data)

    for change, reason in (
        ({"format": 2}, "has the format 2"),
        ({"architecture_hash": "0" * 16}, "has the architecture"),
        ({"origin": stated["origin"] | {"epoch": "five"}}, r"damaged: origin\.epoch"),
        ({"files": {"../encoder.safetensors": stated["files"]["encoder.safetensors"]}}, "not called like a part"),
    ):
        meta.write_text(json.dumps(stated | change))
        with pytest.raises(ArtifactError, match=reason):
            Artifact.read(tmp_path)
    meta.write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        Artifact.read(tmp_path)
    meta.unlink()
    with pytest.raises(ArtifactError, match="no artifact"):
        Artifact.read(tmp_path / BEST)


def test_the_architecture_hash_follows_names_and_shapes_only() -> None:
    zeros = {name: np.zeros_like(array) for name, array in ENCODER.items()}
    assert Artifact(ORIGIN, {PartKey("encoder"): zeros, **HEADS}).architecture_hash == artifact().architecture_hash
    other = {"encoder.0.weight": np.zeros((3, 2, 5), dtype=np.float32)}
    assert Artifact(ORIGIN, {PartKey("encoder"): other, **HEADS}).architecture_hash != artifact().architecture_hash


@pytest.mark.parametrize("key", [PartKey("encoder"), PartKey("advantage_head", 0), PartKey("linear_head", -10)])
def test_files_are_called_by_part_and_offset(key: PartKey) -> None:
    assert PartKey.of_file(key.file) == key
