"""The drawn races as a dataset on a disk, and a training that sees pictures of their size."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.pretrain.drawn_races import HEIGHT, INTERVAL_MS, WIDTH, drawn_race
from tmrl_ray.datasets.folder import file_name, write_race
from tmrl_ray.datasets.race import Entry, Race, RaceFacts

TRAINING = f"""\
game: {{frame_size: [{WIDTH}, {HEIGHT}]}}
network: {{float_hidden: 17, head_hidden: 23, quantile_embedding: 14}}
"""


def write_dataset(root: Path, *, maps: int = 5, races: int = 1, rows: int = 41) -> Path:
    """Write the races below ``root`` and return it."""
    for number in range(maps):
        for race in range(races):
            write_race(root, recorded(f"map{number}", f"race{race}", rows))
    return root


def write_training(path: Path) -> Path:
    """Write the configuration that the results are for, and return its path."""
    path.write_text(TRAINING)
    return path


def recorded(map_name: str, name: str, rows: int) -> Race:
    """Return a race as if it had been recorded, without states."""
    arrays = drawn_race(map_name, name, rows=rows)
    images, entries = [], []
    for step, frame in enumerate(arrays.frames):
        png = io.BytesIO()
        Image.fromarray(frame).save(png, "PNG")
        images.append(png.getvalue())
        entries.append(Entry(file_name(step, INTERVAL_MS * step), step, INTERVAL_MS * step))
    facts = RaceFacts(
        map=map_name,
        name=name,
        interval_ms=float(INTERVAL_MS),
        size=(WIDTH, HEIGHT),
        race_time_ms=INTERVAL_MS * rows,
        finished=True,
        decision_period_ms=INTERVAL_MS,
    )
    return Race(facts, tuple(entries), images, arrays.actions)
