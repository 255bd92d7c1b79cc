"""Videos that browsers play, and contact sheets that people read."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.simulator.media import VIDEO, check_writable, rgb_of, write_sheet, write_video

Picture = NDArray[np.uint8]


def moving_bar(count: int, height: int, width: int) -> list[Picture]:
    """Grey frames with a white bar in the column that the frame's number says."""
    frames = []
    for k in range(count):
        frame = np.full((height, width), 40, np.uint8)
        frame[:, 3 * k : 3 * k + 3] = 220
        frames.append(frame)
    return frames


def read_video(path: Path) -> tuple[list[Picture], av.VideoStream, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
        return frames, stream, float(stream.average_rate)


def test_video_is_h264_and_shows_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "bar.mp4"
    assert write_video(path, moving_bar(11, 31, 33), 20) == 11
    frames, stream, rate = read_video(path)
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert (len(frames), rate) == (11, 20)
    assert frames[0].shape == (31 * 8, 33 * 8)  # enlarged to 256 and more
    for k, frame in enumerate(frames):
        assert int(frame.mean(axis=0).reshape(33, 8).mean(axis=1).argmax()) // 3 == k


def test_video_of_odd_size_keeps_every_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    frame = np.zeros((301, 303, 4), np.uint8)
    frame[:, -1, 2] = 255
    write_video(path, iter([frame] * 3), 29.97)
    frames, _, rate = read_video(path)
    assert frames[0].shape == (302, 304)
    assert frames[0][:, -1].mean() > 50 > 20 > frames[0][:, :290].mean()
    assert rate == pytest.approx(29.97, abs=1e-3)


@pytest.mark.parametrize("name", ["lap.avi", "lap"])
def test_video_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"\.mp4"):
        write_video(tmp_path / name, moving_bar(2, 16, 16), 20)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_written_are_known_beforehand(tmp_path: Path) -> None:
    check_writable(tmp_path / "absent" / "folder" / "lap.mp4", VIDEO)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InvalidInputError, match="is no folder"):
        check_writable(tmp_path / "file" / "lap.mp4", VIDEO)
    with pytest.raises(InvalidInputError, match="is a folder"):
        check_writable(tmp_path / "folder.mp4", VIDEO)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.mp4"]


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(InvalidInputError, match="no permission"):
        check_writable(tmp_path / "lap.mp4", VIDEO)


def test_video_of_nothing_or_of_two_sizes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no frames"):
        write_video(tmp_path / "none.mp4", [], 20)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInputError, match="frame 1 has the shape"):
        write_video(tmp_path / "two.mp4", [np.zeros((16, 16), np.uint8), np.zeros((18, 16), np.uint8)], 20)


def test_sheet_shows_frames_sharp_in_rows_under_their_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    frames = [rng.integers(0, 256, (5, 7), dtype=np.uint8) for _ in range(3)]
    frames.append(np.dstack([frames[0], frames[1], frames[2], np.full((5, 7), 255, np.uint8)]))
    path = tmp_path / "sheet.png"
    write_sheet(path, frames, ["one", "two", "three", "four"], 3)
    sheet = np.asarray(Image.open(path))
    factor = 37  # 7 * 37 is the first multiple beyond 256
    found = 0
    for frame in frames:
        picture = rgb_of(frame).repeat(factor, 0).repeat(factor, 1)
        places = np.argwhere((sheet[: -picture.shape[0], : -picture.shape[1]] == picture[0, 0]).all(axis=2))
        found += any(
            (sheet[y : y + picture.shape[0], x : x + picture.shape[1]] == picture).all() for y, x in places[:9]
        )
    assert found == 4
    assert sheet.shape[1] > 3 * 7 * factor > 2.5 * 7 * factor
    assert (sheet[6:24] > 200).any()  # the labels of the first row


@pytest.mark.parametrize(
    ("name", "count", "labels", "columns"),
    [("a.png", 0, 0, 1), ("a.png", 2, 1, 1), ("a.png", 2, 2, 0), ("a.jpg", 2, 2, 1)],
)
def test_sheets_that_make_no_sense_are_refused(
    tmp_path: Path, name: str, count: int, labels: int, columns: int
) -> None:
    with pytest.raises(InvalidInputError):
        write_sheet(tmp_path / name, moving_bar(count, 8, 8), ["x"] * labels, columns)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 4, 3), (4,), (2, 4, 4, 4)])
def test_frames_of_another_form_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="shape"):
        rgb_of(np.zeros(shape, np.uint8))
    with pytest.raises(InvalidInputError, match="float"):
        rgb_of(np.zeros((4, 4)))
