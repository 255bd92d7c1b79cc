"""Pictures of a race: a track, a look and a size in; BGRA or grey frames of the car's view out.

The race server and the embedded game hold one :class:`Renderer` each and ask it for a frame at a decision. A frame
is a function of the car's state, the track and the look, and of nothing else: the same state gives the same bytes in
another process and after a rewind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.simulator.camera import (
    INTERNAL,
    POSE_SIZE,
    camera_pose,
)
from tmrl_ray.simulator.car_body import CarMesh, car_mesh
from tmrl_ray.simulator.car_state import CarState
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.look import STANDARD, Look
from tmrl_ray.simulator.paint import noise_table
from tmrl_ray.simulator.raster import RECORD_SIZE, Canvas, Skin, draw_car, draw_track, project
from tmrl_ray.simulator.scene import Scene, scene_of
from tmrl_ray.simulator.shading import grey_of_bgra, set_rays, set_shadow, shade
from tmrl_ray.simulator.track import Track

Picture = NDArray[np.uint8]
LARGEST_SIDE = 4096
"""Pixels; a picture with a longer side is refused, as its buffers would not fit beside a race."""


class Renderer:
    """Draws one track in one look at one size. Not for several threads: the buffers are reused.

    Args:
        track: what to draw.
        width: pixels.
        height: pixels.
        look: colours, light and fog; None: the standard look.

    Raises:
        InvalidInputError: a side is not between 1 and LARGEST_SIDE pixels.
    """

    def __init__(self, track: Track, width: int, height: int, look: Look | None = None) -> None:
        if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
            raise InvalidInputError(
                f"Picture size {width}x{height}: each side must be between 1 and {LARGEST_SIDE} pixels.",
                hint="Ask for a frame size such as 64x64 or 160x120.",
            )
        self.width = width
        self.height = height
        self._scene = scene_of(track)
        self._mesh = car_mesh()
        self._canvas = _canvas(self._scene, self._mesh, height, width)
        self._picture = np.zeros((height, width, 4), dtype=np.uint8)
        self.look = look if look is not None else STANDARD

    @property
    def look(self) -> Look:
        """The look in which frames are drawn; may be set between frames."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._skin = _skin(self._scene, look)

    def bgra(self, car: CarState, camera: int = 2, *, out: Picture | None = None) -> Picture:
        """Return the frame (H, W, 4) that ``camera`` sees of ``car``, top row first, alpha 255.

        Args:
            car: (CAR_SIZE,) the car.
            camera: 1 far chase, 2 near chase, 3 internal.
            out: where to write it; a new array when None.
        """
        picture = np.empty((self.height, self.width, 4), dtype=np.uint8) if out is None else out
        _draw(self._scene, self._mesh, self._skin, self._canvas, car, camera, picture)
        return picture

    def grey(self, car: CarState, camera: int = 2, *, out: Picture | None = None) -> Picture:
        """Return the luminance (H, W) of the frame that :meth:`bgra` returns, bit for bit. Arguments as there."""
        picture = np.empty((self.height, self.width), dtype=np.uint8) if out is None else out
        _draw(self._scene, self._mesh, self._skin, self._canvas, car, camera, self._picture)
        grey_of_bgra(self._picture, picture)
        return picture


@kernel
def _draw(scene: Scene, mesh: CarMesh, skin: Skin, canvas: Canvas, car: CarState, camera: int, bgra: Picture) -> None:
    height, width = canvas.owners.shape
    pose = np.empty(POSE_SIZE)
    camera_pose(car, camera, pose)
    focal = project(pose, skin.scalars[2], height, width, canvas.projection)
    canvas.depths[:] = 1.0 / skin.scalars[0]
    canvas.owners[:] = -1
    n = draw_track(scene, skin, pose, canvas)
    shadow = np.zeros(13)
    if camera != INTERNAL:
        draw_car(mesh, skin, car, canvas, n)
        set_shadow(car, pose, shadow)
    rays = np.empty((3, 3))
    set_rays(pose, focal, height, width, rays)
    shade(canvas, skin, rays, shadow, bgra)


def _canvas(scene: Scene, mesh: CarMesh, height: int, width: int) -> Canvas:
    records = len(scene.triangles) + len(mesh.triangles)
    return Canvas(
        depths=np.zeros((height, width)),
        owners=np.zeros((height, width), dtype=np.int32),
        records=np.zeros((records, RECORD_SIZE)),
        paints=np.zeros(records, dtype=np.int32),
        places=np.zeros((len(scene.vertices) + len(mesh.vertices), 3)),
        projection=np.zeros((3, 4)),
        corners=np.zeros((4, 2)),
    )


def _skin(scene: Scene, look: Look) -> Skin:
    """Return the colours of a scene's triangles under the light of a look."""
    sun = np.asarray(look.sun, dtype=np.float64)
    sun = sun / np.sqrt((sun**2).sum())
    kinds, kind = np.unique(np.stack([scene.paints, scene.materials], axis=1), axis=0, return_inverse=True)
    palette = np.array([look.tone(int(paint), int(material)) for paint, material in kinds]).reshape(-1, 3)
    facing = (scene.normals * sun).sum(axis=1)
    light = np.stack([look.ambient + (1 - look.ambient) * np.maximum(side, 0) for side in (facing, -facing)], axis=1)
    tones = np.empty((len(scene.paints), 2, 4))
    tones[:, :, :3] = palette[kind.reshape(-1)][:, None, :] * light[:, :, None]
    tones[:, :, 3] = light * min(1.0, look.exposure)
    return Skin(
        tones=tones,
        noise=noise_table(look.seed),
        sky=np.array([look.sky_top, look.horizon], dtype=np.float64),
        light=np.array([*sun, look.ambient]),
        scalars=np.array([look.fog_distance_m, look.grain, look.field_scale, look.exposure]),
    )
