"""Races for the tests of pretraining: pictures of a white bar that moves as it is steered, and floats that tell of it.

What is pressed follows from where the bar is, so there is something to learn; and the bar moves as it is pressed, so
that pictures tell of what comes.
"""

from __future__ import annotations

import numpy as np

from tmrl_ray.datasets.cache import RaceArrays, RaceCache
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout

WIDTH, HEIGHT = 40, 36
"""Of a picture; not the same, so that none is exchanged for the other."""
INTERVAL_MS = 50
LAYOUT = ObservationLayout()
SCALE = normalisation_of(LAYOUT)
FORWARD, LEFT, RIGHT = 0, 1, 2


def drawn_race(map_name: str, name: str, *, rows: int = 61, seed: int = 0, noise: float = 0.0) -> RaceArrays:
    """Return a race: the bar is steered back to the middle, and pushed away from it now and then."""
    rng = np.random.default_rng((seed, *map_name.encode(), *name.encode()))
    frames = np.full((rows, HEIGHT, WIDTH), 40, np.uint8)
    actions = np.zeros(rows, np.uint8)
    floats = np.tile(SCALE.mean, (rows, 1))
    place = WIDTH / 2
    for row in range(rows):
        if row % 11 == 0:
            place = rng.uniform(6, WIDTH - 6)
        away = place - WIDTH / 2
        actions[row] = FORWARD if abs(away) < 3 else LEFT if away > 0 else RIGHT
        if rng.random() < noise:
            actions[row] = rng.integers(3)
        frames[row, 5:31, round(place) - 3 : round(place) + 3] = 230
        floats[row, LAYOUT.way_point(0)] = [away, 0.0, 0.0]
        place += {FORWARD: 0.0, LEFT: -2.0, RIGHT: 2.0}[int(actions[row])]
    return RaceArrays(
        map=map_name,
        name=name,
        frames=frames,
        times_ms=(INTERVAL_MS * np.arange(rows)).astype(np.int32),
        actions=np.repeat(actions, INTERVAL_MS // 10),
        floats=floats.astype(np.float32),
    )


def drawn_cache(*, maps: int = 5, races: int = 2, rows: int = 61, noise: float = 0.0) -> RaceCache:
    """Return a cache of such races."""
    return RaceCache.of(
        [drawn_race(f"map{m}", f"race{r}", rows=rows, noise=noise) for m in range(maps) for r in range(races)]
    )
