"""Frames to files that people look at: videos through PyAV, labelled contact sheets through Pillow.

H.264 in MP4 is what every browser plays; PyAV's wheels have the encoder. Where a build of PyAV lacks it, that is an
error: a file in another codec would not play where this one is meant to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tmrl_ray.errors import InvalidInputError

Picture = NDArray[np.uint8]

VIDEO, SHEET = ".mp4", ".png"
KINDS = {VIDEO: "videos", SHEET: "sheets"}
CODEC = "libx264"
QUALITY = "20"
"""x264's constant rate factor: 18 is hardly told from the original, 23 is its default."""
SHARP_SIDE = 256
"""A frame whose longer side is smaller than this is enlarged by a whole factor, so that its pixels stay sharp."""

CELL_GAP = 6
LABEL_SIZE = 13
LABEL_HEIGHT = 18
PAPER, INK = (24, 26, 30), (232, 232, 228)


def rgb_of(frame: Picture) -> Picture:
    """Return a frame as RGB (H, W, 3).

    Args:
        frame: (H, W) grey or (H, W, 4) BGRA.

    Raises:
        InvalidInputError: it is neither.
    """
    if frame.dtype == np.uint8 and frame.ndim == 2:
        return np.repeat(frame[:, :, None], 3, axis=2)
    if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 4:
        return np.ascontiguousarray(frame[:, :, 2::-1])
    raise InvalidInputError(
        f"A frame has the shape {frame.shape} and the type {frame.dtype}.",
        hint="Give grey frames (H, W) or BGRA frames (H, W, 4), of type uint8.",
    )


def enlarged(frame: Picture) -> Picture:
    """Return an RGB frame repeated by the least whole factor that makes its longer side at least SHARP_SIDE."""
    factor = max(1, -(-SHARP_SIDE // max(frame.shape[:2])))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def check_writable(path: str | Path, suffix: str = "") -> None:
    """Raise an error if a file cannot be written, before the work that fills it; folders that are missing are no error.

    Args:
        path: the file.
        suffix: how its name must end, for example .mp4; empty: anyhow.

    Raises:
        InvalidInputError: it ends otherwise, is a folder, or may not be written.
    """
    path = Path(path)
    if suffix and path.suffix != suffix:
        raise InvalidInputError(
            f"{path}: {KINDS[suffix]} are written as {suffix[1:].upper()}.",
            hint=f"Give a file name that ends in {suffix}.",
        )
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder.", hint="Give the name of a file.")
    nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    if nearest != path and not nearest.is_dir():
        raise InvalidInputError(f"{path} cannot be written: {nearest} is no folder.", hint="Give another place.")
    if not os.access(nearest, os.W_OK):
        raise InvalidInputError(f"{path} cannot be written: no permission for {nearest}.", hint="Give another place.")


def write_video(path: str | Path, frames: Iterable[Picture], fps: float) -> int:
    """Write frames as an H.264 video (MP4) and return how many there were.

    Small frames are enlarged. A side of odd length is extended by repeating its last row or column, as H.264 with
    the colour format that all players know wants even sides.

    Args:
        path: where to write it; ends in .mp4.
        frames: all of one size, grey (H, W) or BGRA (H, W, 4); read one at a time.
        fps: frames a second.

    Raises:
        InvalidInputError: no frames, frames of different sizes, another ending, a place that cannot be written, or a
            PyAV without H.264.
    """
    path = Path(path)
    check_writable(path, VIDEO)
    if CODEC not in av.codecs_available:
        raise InvalidInputError(
            f"{path}: this PyAV ({av.__version__}) was built without the encoder {CODEC}.",
            hint="Install the wheel: pip install --force-reinstall --only-binary av av",
        )
    rate = Fraction(fps).limit_denominator(1000)
    count = 0
    size: tuple[int, ...] | None = None
    with av.open(str(path), mode="w", options={"movflags": "faststart"}) as container:
        stream = cast(av.VideoStream, container.add_stream(CODEC, rate=rate, options={"crf": QUALITY}))
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            if size is not None and frame.shape != size:
                raise InvalidInputError(f"{path}: frame {count} has the shape {frame.shape}, the first has {size}.")
            picture = _even(enlarged(rgb_of(frame)))
            if size is None:  # PyAV takes a size only until the encoder is open
                size = frame.shape
                stream.height, stream.width = picture.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
            count += 1
        if count:
            for packet in stream.encode():
                container.mux(packet)
    if count == 0:
        path.unlink(missing_ok=True)
        raise InvalidInputError(f"{path}: there are no frames to write.")
    return count


def _even(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def write_sheet(path: str | Path, frames: Sequence[Picture], labels: Sequence[str], columns: int) -> None:
    """Write frames side by side, each under its label, as a PNG.

    Args:
        path: where to write it; ends in .png.
        frames: grey (H, W) or BGRA (H, W, 4), of any sizes; small ones are enlarged.
        labels: one for each frame.
        columns: frames in a row.

    Raises:
        InvalidInputError: no frames, another number of labels, no columns, another ending, or a place that cannot be
            written.
    """
    path = Path(path)
    check_writable(path, SHEET)
    if not frames or len(labels) != len(frames) or columns < 1:
        raise InvalidInputError(
            f"{path}: {len(frames)} frames, {len(labels)} labels and {columns} columns do not make a sheet.",
            hint="Give at least one frame and one column, and a label for each frame.",
        )
    pictures = [enlarged(rgb_of(frame)) for frame in frames]
    cell_width = max(picture.shape[1] for picture in pictures) + CELL_GAP
    cell_height = max(picture.shape[0] for picture in pictures) + CELL_GAP + LABEL_HEIGHT
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * cell_width + CELL_GAP, rows * cell_height + CELL_GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(LABEL_SIZE)
    for k, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x = CELL_GAP + k % columns * cell_width
        y = CELL_GAP + k // columns * cell_height
        pen.text((x, y), label, fill=INK, font=font)
        sheet.paste(Image.fromarray(picture), (x, y + LABEL_HEIGHT))
    sheet.save(path)
