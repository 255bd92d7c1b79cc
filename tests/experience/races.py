"""Made-up races, whose every number tells where it belongs, for the tests of experience."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.columns import Layout
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import TERM_COUNT
from tmrl_ray.racing.rollout import Decision, RaceEnd, Step

OBSERVATION = ObservationLayout(ObservationSettings(way_points=2, previous_actions=1))
FRAME_SHAPE = (7, 5)
LAYOUT = Layout.of(FRAME_SHAPE, OBSERVATION)
HISTORY, LOOK_AHEAD = 2, 3
FORMAT = ChunkFormat(LAYOUT, HISTORY, LOOK_AHEAD)

How = Literal["finish", "cut_off", "lost"]


class MadeUpRaces:
    """Steps with random contents, in which ``metres`` is different for each step that was ever made.

    Args:
        seed: of the contents.
        format: whose layout the contents fit.
        made: how many steps others made before; races that are told apart need different ones.
    """

    def __init__(self, seed: int = 0, format: ChunkFormat = FORMAT, *, made: int = 0) -> None:
        self.format = format
        self._rng = np.random.default_rng(seed)
        self._made = made

    def observation(self) -> tuple[np.ndarray | None, np.ndarray]:
        layout = self.format.layout
        frame = None
        if "frame" in layout:
            frame = self._rng.integers(0, 256, layout["frame"].shape, dtype=np.uint8)
        return frame, self._rng.standard_normal(layout["floats"].shape, dtype=np.float32)

    def step(self, number: int = 0) -> Step:
        self._made += 1
        values = self._rng.standard_normal(12, dtype=np.float32)
        action = int(self._rng.integers(12))
        decision = Decision(action, bool(values.argmax() == action), values)
        terms = self._rng.standard_normal(TERM_COUNT, dtype=np.float32)
        return Step(*self.observation(), decision, terms, 50 * number, 20 + number, float(self._made))

    def steps(self, count: int) -> Iterator[Step]:
        return (self.step(number) for number in range(count))

    def end(self, steps: int, how: How = "finish") -> RaceEnd:
        frame, floats = self.observation()
        return RaceEnd(
            how=how,
            cut_off="stuck" if how == "cut_off" else None,
            lost=None,
            frame=frame,
            floats=floats,
            race_time_ms=50 * steps - 10,
            started_ms=0,
            from_start_line=True,
            split_times_ms=(),
            steps=steps,
            metres=0.0,
            furthest_zone=20 + steps,
            furthest_share=0.5,
            wall_s=1.0,
        )

    def race(self, builder: ChunkBuilder, steps: int, how: How = "finish", version: int = 0) -> list[Chunk]:
        """Return the chunks of a whole race."""
        chunks = [chunk for step in self.steps(steps) for chunk in builder.add(step, policy_version=version)]
        return chunks + builder.end(self.end(steps, how))
