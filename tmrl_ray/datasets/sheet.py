"""A dataset as one picture: some frames of some races, with their times and what was held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tmrl_ray.datasets.folder import read_race
from tmrl_ray.datasets.race import Race
from tmrl_ray.racing.actions import ACTION_NAMES

TEXT_PX = 13
LEFT_PX = 150
FRAME_PX = 128
"""At least so wide are frames drawn."""


def draw_sheet(folders: Sequence[Path], *, races: int = 12, frames: int = 10) -> Image.Image:
    """Return a sheet with a row for each race, from its first frame to its last.

    Args:
        folders: of the races; some of them are taken, evenly.
        races: at most so many.
        frames: of each race.

    Raises:
        DatasetError: a race cannot be read.
    """
    chosen = [folders[index] for index in _evenly(len(folders), races)]
    rows = [_row(read_race(folder), frames) for folder in chosen]
    sheet = Image.new("L", (max(row.width for row in rows), sum(row.height for row in rows)), 255)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(race: Race, frames: int) -> Image.Image:
    chosen = _evenly(len(race.entries), frames)
    pictures = [Image.fromarray(race.frame(index)) for index in chosen]
    scale = max(1, -(-FRAME_PX // pictures[0].width))
    width, height = scale * pictures[0].width, scale * pictures[0].height
    row = Image.new("L", (LEFT_PX + frames * (width + 2), height + 2 * TEXT_PX + 6), 255)
    draw = ImageDraw.Draw(row)
    time_ms = race.facts.race_time_ms
    told = [race.facts.map, race.facts.name, "finished" if race.facts.finished else "not finished"]
    told += [f"{len(race.entries)} frames"] + ([] if time_ms is None else [f"{time_ms / 1000:.2f} s"])
    draw.multiline_text((3, 3), "\n".join(told), fill=0)
    for place, (index, picture) in enumerate(zip(chosen, pictures, strict=True)):
        left, entry = LEFT_PX + place * (width + 2), race.entries[index]
        row.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, 0))
        held = "" if entry.action is None else ACTION_NAMES[entry.action].replace("accelerate", "gas")
        draw.multiline_text((left, height + 1), f"{entry.time_ms / 1000:.2f} s\n{held}", fill=0, spacing=1)
    return row


def _evenly(count: int, wanted: int) -> list[int]:
    return [round(place) for place in np.linspace(0, count - 1, min(count, wanted)).tolist()]
