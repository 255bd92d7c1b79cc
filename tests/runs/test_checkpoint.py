"""Checkpoints come back as they were, only where they belong, and as many as are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from tests.runs.saved_state import IDENTITY, assert_is, clocks_of, parts_of
from tmrl_ray.errors import CheckpointError
from tmrl_ray.runs.checkpoint import CheckpointHead, CheckpointStore, Identity, Retention
from tmrl_ray.runs.checkpoint_files import KeptFile, Part, decode_arrays, encode_arrays, encode_values
from tmrl_ray.runs.clocks import Clocks


def saved(directory: Path, count: int, retention: Retention | None = None) -> CheckpointStore:
    store = CheckpointStore(directory, IDENTITY, retention=retention or Retention(last=count))
    for number in range(1, count + 1):
        store.save(parts_of(number), clocks_of(number))
    return store


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    store = saved(tmp_path / "checkpoints", 3)
    assert store.names() == ["checkpoint-000001", "checkpoint-000002", "checkpoint-000003"]
    assert_is(store.load(), 3)
    again = CheckpointStore(store.directory, IDENTITY)
    assert_is(again.load("checkpoint-000002"), 2)
    latest = again.latest()
    assert latest is not None
    assert (latest.number, latest.clocks, latest.score) == (3, Clocks(3027, 39, 0.75), None)


def test_loaded_arrays_can_be_written_to_and_become_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    weights = torch.randn(5, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    store = CheckpointStore(tmp_path, IDENTITY)
    store.save({"learner": Part(arrays={"weights": weights, "scale": torch.tensor(2.5)})}, Clocks())
    tensors = store.load().parts["learner"].tensors()
    assert torch.equal(tensors["weights"], weights)
    assert tensors["scale"].shape == () and tensors["scale"].dtype == torch.float32
    tensors["weights"].zero_()


@given(
    values=st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=11,
        ),
    )
)
def test_values_come_back_equal(values: dict[str, Any]) -> None:
    assert json.loads(encode_values("part", values)) == values


@settings(max_examples=50)
@given(array=arrays(scalar_dtypes().filter(lambda d: d.kind in "biuf"), array_shapes(min_dims=0, min_side=0)))
def test_arrays_come_back_bit_by_bit(array: np.ndarray[Any, Any]) -> None:
    if array.dtype.itemsize > 8:  # long double
        return
    back = decode_arrays(encode_arrays("part", {"array": array}))["array"]
    assert (back.dtype.newbyteorder("="), back.shape) == (array.dtype.newbyteorder("="), array.shape)
    assert back.tobytes() == array.astype(back.dtype).tobytes()


@pytest.mark.parametrize("value", [{1: "x"}, [float("nan")], {"a": float("inf")}, {"a": object()}, {"a": b"bytes"}])
def test_values_that_json_would_change_are_refused(tmp_path: Path, value: Any) -> None:
    store = CheckpointStore(tmp_path, IDENTITY)
    with pytest.raises(ValueError, match=r"^learner\.state"):
        store.save({"learner": Part({"state": value})}, Clocks())
    assert list(tmp_path.iterdir()) == []


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="the array things has type object"):
        CheckpointStore(tmp_path, IDENTITY).save({"learner": Part(arrays={"things": objects})}, Clocks())


@pytest.mark.parametrize("file", ["DONE", "checkpoint.json", "learner.json", "learner.safetensors", "limiter.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_says_so_and_names_the_way_out(tmp_path: Path, file: str, harm: str) -> None:
    store = saved(tmp_path / "loop" / "checkpoints", 2)
    path = store.directory / "checkpoint-000002" / file
    data = bytearray(path.read_bytes())
    middle = data.index(b"sha256") + 15 if file == "DONE" else len(data) // 2
    data[middle] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    with pytest.raises(CheckpointError) as caught:
        store.load()
    assert "checkpoint-000002" in str(caught.value)
    assert caught.value.hint is not None
    command = f"tmrl-ray train -c {tmp_path}/loop/config.yaml --resume --checkpoint checkpoint-000001"
    assert command in caught.value.hint and "--restart" in caught.value.hint
    assert_is(store.load("checkpoint-000001"), 1)


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), file=st.integers(0, 5))
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, at: float, bit: int, file: int
) -> None:
    store = saved(tmp_path_factory.mktemp("checkpoints"), 1)
    files = sorted((store.directory / "checkpoint-000001").iterdir())
    path = files[file]
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path.write_bytes(data)
    try:
        found = store.load()
    except CheckpointError:
        return
    assert path.name == "DONE"  # white space there, for example
    assert_is(found, 1)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a", 1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(CheckpointError, match="is of another run: 0123abcd, not 4567") as caught:
        CheckpointStore(tmp_path / "b", Identity("4567", IDENTITY.hashes)).load()
    assert "--restart" in str(caught.value)


@pytest.mark.parametrize("hashes", [{"network": "0" * 64, "layout": "a" * 64}, {"network": "f" * 64, "reward": "b"}])
def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, hashes: dict[str, str]) -> None:
    saved(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"has another (network: ffffffffffff, not 0000|reward: none, not b)"):
        CheckpointStore(tmp_path, Identity(IDENTITY.run, hashes)).load()


def test_a_checkpoint_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = saved(tmp_path, 1)
    done = tmp_path / "checkpoint-000001" / "DONE"
    done.write_text(done.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(CheckpointError, match="has format 2, this version of tmrl_ray knows 1"):
        store.load()


def test_what_is_not_there_is_told_apart(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", IDENTITY)
    assert store.latest() is None
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        store.load()
    store.save(parts_of(1), clocks_of(1))
    with pytest.raises(CheckpointError, match="There are checkpoint-000001"):
        store.load("checkpoint-000007")


def test_old_checkpoints_leave(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, IDENTITY, retention=Retention(last=2, every=5))
    scores = [None, 24.5, 23.25, 25.0, None, 23.25, 24.0, None, 30.0, None, None, 31.0, 29.0]
    for number, score in enumerate(scores, start=1):
        store.save(parts_of(number), clocks_of(number), score=score)
    assert [int(name[-6:]) for name in store.names()] == [5, 6, 10, 12, 13]  # 6: the best, the newer of two
    assert_is(store.load("checkpoint-000006"), 6)


def head(number: int, score: float | None) -> CheckpointHead:
    return CheckpointHead(f"checkpoint-{number:06}", number, 0.0, Clocks(), score, "run", {}, {})


@given(
    scores=st.dictionaries(st.integers(1, 200), st.none() | st.floats(1, 60), min_size=1),
    last=st.integers(1, 7),
    every=st.none() | st.integers(1, 20),
    unreadable=st.sets(st.integers(1, 200)),
)
def test_the_newest_are_always_kept(
    scores: dict[int, float | None], last: int, every: int | None, unreadable: set[int]
) -> None:
    heads = {number: None if number in unreadable else head(number, score) for number, score in scores.items()}
    kept = Retention(last, every, best=True).kept(heads)
    assert kept <= heads.keys()
    assert set(sorted(heads)[-last:]) <= kept
    readable = [each.score for each in heads.values() if each is not None and each.score is not None]
    assert not readable or min(readable) in [scores[number] for number in kept - unreadable]
    assert len(kept) <= last + 1 + (0 if every is None else 200 // every)


def test_files_come_along_without_being_copied_and_leave_with_the_last_checkpoint(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    segments.mkdir()
    files = {}
    for number in range(3):
        (segments / f"{number}.rows").write_bytes(bytes([number]) * 997)
        files[f"{number}.rows"] = KeptFile.of(segments / f"{number}.rows")
    store = CheckpointStore(tmp_path / "checkpoints", IDENTITY, retention=Retention(last=1))
    store.save({"replay": Part({"rows": 17}, files=files)}, Clocks())
    shutil.rmtree(segments)
    part = store.load().parts["replay"]
    assert part.values == {"rows": 17}
    assert [part.files[name].path.read_bytes() for name in files] == [bytes([n]) * 997 for n in range(3)]
    assert all(file.is_whole() for file in part.files.values())

    part.files["1.rows"].path.write_bytes(bytes([1]) * 996 + b"x")  # a damaged one is the reader's to leave out
    damaged = store.load().parts["replay"].files
    assert [name for name, file in damaged.items() if not file.is_whole()] == ["1.rows"]
    store.save({"replay": Part({}, files={"0.rows": damaged["0.rows"]})}, Clocks())
    assert [path.name for path in tmp_path.rglob("*.rows")] == ["replay.0.rows"]


@pytest.mark.parametrize("name", ["Learner", "a/b", "", "checkpoint", "../x"])
def test_names_of_parts_are_names_of_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a part of a checkpoint cannot be called"):
        CheckpointStore(tmp_path, IDENTITY).save({name: Part()}, Clocks())
