"""How a race looks: sky, light, fog, tones. One fixed look by default; optionally a random one for each race.

A policy that has seen many looks leans less on the exact greys of one game (domain randomisation). A look is drawn
from a seed and from nothing else, so that a race can be drawn again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.track import Material, Paint

Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 255."""

MATERIAL_TONES: dict[Material, Colour] = {
    Material.CONCRETE: (158, 154, 146),
    Material.PAVEMENT: (140, 140, 142),
    Material.GRASS: (86, 142, 62),
    Material.ICE: (196, 218, 232),
    Material.METAL: (146, 152, 164),
    Material.SAND: (206, 180, 122),
    Material.DIRT: (158, 112, 72),
    Material.TURBO: (236, 186, 24),
    Material.DIRT_ROAD: (150, 112, 80),
    Material.RUBBER: (70, 68, 70),
    Material.WOOD: (160, 120, 78),
    Material.ASPHALT: (134, 135, 140),
    Material.TURBO2: (226, 62, 40),
    Material.FREE_WHEELING: (64, 132, 214),
}
PAINT_TONES: dict[Paint, Colour] = {
    Paint.WALL: (206, 204, 200),
    Paint.TUNNEL: (70, 72, 82),
    Paint.GROUND: (46, 88, 38),
    Paint.SUPPORT: (92, 90, 92),
    Paint.CHECKPOINT: (30, 110, 200),
    Paint.START: (40, 160, 70),
    Paint.FINISH: (238, 238, 238),
}
"""Paints with a tone of their own; the others show their material's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything about a picture that is not geometry."""

    sky_top: Colour = (70, 120, 190)
    horizon: Colour = (196, 212, 226)
    """The sky at the horizon, and the fog that far things fade into."""
    fog_distance_m: float = 600.0
    """Where the fog swallows everything; nothing further is drawn."""
    sun: tuple[float, float, float] = (0.35, 0.85, 0.40)
    """Direction to the sun, not necessarily of length 1."""
    ambient: float = 0.55
    """Share of the light that reaches a face in the shade, 0 to 1."""
    exposure: float = 1.0
    """Factor on every tone of the track."""
    grain: float = 1.0
    """Factor on the noise of the surfaces; 0: plain tones."""
    field_scale: float = 1.0
    """Factor on the tangent of the field of view."""
    tone_spread: float = 0.0
    """Each tone's channels are multiplied by a factor drawn from 1 - spread .. 1 + spread."""
    seed: int = 0
    """Draws the tone factors and the noise."""

    def tone(self, paint: int, material: int) -> NDArray[np.float64]:
        """Return the base colour (3,) of a surface in this look."""
        own = PAINT_TONES.get(Paint(paint))
        base = own if own is not None else MATERIAL_TONES[Material(material)]
        kind = f"paint {paint}" if own is not None else f"material {material}"
        factors = [
            self.exposure * draw(self.seed, f"{kind} {i}", 1 - self.tone_spread, 1 + self.tone_spread) for i in range(3)
        ]
        return np.asarray(base) * factors


STANDARD = Look()


def random_look(seed: int) -> Look:
    """Return the look that ``seed`` draws: other light, fog, tones and noise, and a field within 6 %."""
    grey = draw(seed, "horizon", 120, 235)
    horizon = [min(255.0, grey + draw(seed, f"horizon {i}", -22, 22)) for i in range(3)]
    darker = draw(seed, "sky", 0.35, 0.95)
    return Look(
        sky_top=(horizon[0] * darker, horizon[1] * darker, horizon[2] * darker),
        horizon=(horizon[0], horizon[1], horizon[2]),
        fog_distance_m=draw(seed, "fog", 350, 800),
        sun=(draw(seed, "sun x", -0.8, 0.8), draw(seed, "sun y", 0.5, 1.0), draw(seed, "sun z", -0.8, 0.8)),
        ambient=draw(seed, "ambient", 0.4, 0.75),
        exposure=draw(seed, "exposure", 0.7, 1.15),
        grain=draw(seed, "grain", 0.4, 1.8),
        field_scale=draw(seed, "field", 0.94, 1.06),
        tone_spread=0.25,
        seed=seed,
    )


def draw(seed: int, name: str, low: float, high: float) -> float:
    """Return a number from ``low`` to ``high`` that depends on the seed and the name alone.

    By hashing, not by numpy's generators: those may draw other numbers in another version of numpy.
    """
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return low + (high - low) * int.from_bytes(digest, "little") / 2**64
