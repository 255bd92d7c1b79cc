"""Pictures of a race: a track, a look and a size in; BGRA or grey frames of the car's view out.

The race server and the embedded game hold one :class:`Renderer` each and ask it for a frame at a decision. A frame
is a function of the car's state, the track and the look, and of nothing else: the same state gives the same bytes in
another process and after a rewind.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.simulator.camera import INTERNAL, POSE_SIZE, camera_pose
from tmrl_ray.simulator.car_body import CarMesh, car_mesh
from tmrl_ray.simulator.car_state import CarState
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.look import STANDARD, Look
from tmrl_ray.simulator.raster import RECORD_SIZE, SAMPLES, Canvas, Skin, add_car, add_track, fill, project, tangents
from tmrl_ray.simulator.scene import Scene, scene_of
from tmrl_ray.simulator.shading import grey_of_bgra, shade, view_of
from tmrl_ray.simulator.track import Material, Paint, Track

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
    tangent = tangents(pose, skin.field_scale, height, width)
    focal = project(pose, tangent, height, width, canvas.projection)
    canvas.depths[:] = 1.0 / skin.far
    canvas.owners[:] = -1
    n = add_track(scene, skin, pose, tangent, canvas)
    shows_car = camera != INTERNAL
    if shows_car:
        n = add_car(mesh, skin, car, canvas, n)
    fill(canvas, n)
    view = view_of(skin, pose, (focal[0], focal[1], height, width), car, scene.ground_y, shows_car)
    shade(canvas, view, bgra)


def _canvas(scene: Scene, mesh: CarMesh, height: int, width: int) -> Canvas:
    height, width = SAMPLES * height, SAMPLES * width
    records = len(scene.triangles) + len(mesh.triangles)
    return Canvas(
        depths=np.zeros((height, width), dtype=np.float32),
        owners=np.zeros((height, width), dtype=np.int32),
        records=np.zeros((records, RECORD_SIZE)),
        paints=np.zeros(records, dtype=np.int32),
        sheets=np.zeros(records, dtype=np.int32),
        places=np.zeros((len(scene.vertices) + len(mesh.vertices), 5)),
        projection=np.zeros((3, 4)),
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
    ground_light = look.ambient + (1 - look.ambient) * max(float(sun[1]), 0.0)
    return Skin(
        tones=tones,
        ground=(*_floats(look.tone(Paint.GROUND, Material.GRASS) * ground_light), ground_light),
        sky_top=_floats(look.sky_top),
        haze=_floats(look.horizon),
        sun=_floats(sun),
        ambient=float(look.ambient),
        exposure=float(look.exposure),
        far=float(look.fog_distance_m),
        grain=float(look.grain),
        field_scale=float(look.field_scale),
        seed=look.seed,
    )


def _floats(values: Iterable[float]) -> tuple[float, float, float]:
    """Return three plain floats: the kernels are compiled for exactly this type."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue
