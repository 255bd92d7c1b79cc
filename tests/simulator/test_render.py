"""Pictures: the right thing at the right pixel, whatever the size, the order of triangles, or the process."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.simulator.flat_track import flat_track
from tests.simulator.posed_car import car_on_road
from tests.simulator.street import GROUND_Y, HALF_WIDTH_M, street
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.frames import bgra_to_grey
from tmrl_ray.simulator import camera as cam
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.look import STANDARD, Look, random_look
from tmrl_ray.simulator.paint import LINE_INSET_M
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.scene import scene_of
from tmrl_ray.simulator.track import Track

PLAIN = Look(grain=0.0)


@pytest.fixture(scope="module")
def track() -> Track:
    return street()


def pixel_of(point: NDArray[np.float64], car: cs.CarState, camera: int, size: tuple[int, int]) -> tuple[float, float]:
    """The column and row at which a camera shows a point, by the definition of a pin-hole camera."""
    pose = np.zeros(cam.POSE_SIZE)
    cam.camera_pose(car, camera, pose)
    right, up, forward = pose[cam.RIGHT : cam.RIGHT + 9].reshape(3, 3) @ (point - pose[:3])
    width, height = size
    across = right / forward / pose[cam.TAN_HALF_WIDTH] / max(1.0, width / height * 3 / 4)
    down = -up / forward / pose[cam.TAN_HALF_WIDTH] * 4 / 3
    return (across + 1) * width / 2 - 0.5, (down + 1) * height / 2 - 0.5


@pytest.mark.parametrize("camera", [1, 2, 3])
@pytest.mark.parametrize("size", [(640, 480), (1280, 480), (480, 480)])
def test_edge_lines_are_where_a_pinhole_camera_sees_them(track: Track, camera: int, size: tuple[int, int]) -> None:
    car = car_on_road(track, 200.0, lateral_m=1.5, heading_rad=0.1, speed_mps=35.0)
    picture = Renderer(track, *size, PLAIN).grey(car, camera).astype(int)

    def grey_at(x: float, z: float) -> int | None:
        column, row = (round(at) for at in pixel_of(np.array([x, 0.0, z]), car, camera, size))
        return int(picture[row, column]) if 0 <= column < size[0] and 0 <= row < size[1] else None

    checked = 0
    for ahead in (8.0, 12.0, 16.0, 22.0):
        for side in (1.0, -1.0):
            line = grey_at(side * (HALF_WIDTH_M - LINE_INSET_M), 200.0 + ahead)
            road = grey_at(side * (HALF_WIDTH_M - LINE_INSET_M - 1.2), 200.0 + ahead)
            if line is not None and road is not None:
                assert line > road + 50, (ahead, side)
                checked += 1
    assert checked >= 4


def test_sky_is_on_top_and_left_is_left(track: Track) -> None:
    picture = Renderer(track, 160, 120, PLAIN).bgra(car_on_road(track, 40.0), 2).astype(int)
    blue, green, red = picture[..., 0], picture[..., 1], picture[..., 2]
    assert (blue[:10] > red[:10] + 40).all()  # sky
    assert np.ptp(picture[112:, 40:60, :3], axis=2).max() < 12  # road is grey
    striped = red > green + 80
    striped[50:110, 60:100] = False  # the car is red too
    assert striped[:, :80].sum() > 100
    assert striped[:, 80:].sum() == 0
    assert (picture[..., 3] == 255).all()


@pytest.mark.parametrize("camera", [1, 2, 3])
def test_grey_is_the_integer_conversion_of_bgra(track: Track, camera: int) -> None:
    renderer = Renderer(track, 67, 53)
    car = car_on_road(track, 25.0)
    bgra, grey = renderer.bgra(car, camera), renderer.grey(car, camera)
    blue, green, red = (bgra[..., k].astype(np.int64) for k in range(3))
    np.testing.assert_array_equal(grey, (blue * 1868 + green * 9617 + red * 4899 + 8192) >> 14)
    np.testing.assert_array_equal(grey, bgra_to_grey(bgra))


def test_order_of_triangles_does_not_show(track: Track) -> None:
    shuffled = street(order=np.random.default_rng(5))
    for distance in (10.0, 55.0, 99.0, 160.0):
        car = car_on_road(track, distance, lateral_m=-2.0)
        np.testing.assert_array_equal(Renderer(track, 80, 60).bgra(car), Renderer(shuffled, 80, 60).bgra(car))


def test_near_plane_leaves_no_holes_in_huge_triangles() -> None:
    huge = flat_track()
    picture = Renderer(huge, 97, 61, PLAIN).bgra(car_on_road(huge, 100.0), 3).astype(int)
    assert np.ptp(picture[35:, :, :3], axis=2).max() < 12  # road up to the lower edge, no sky, no haze in between
    assert picture[35:, :, 1].max() < 250


def test_both_sides_of_a_triangle_are_drawn(track: Track) -> None:
    car = car_on_road(track, 200.0, speed_mps=0.0)
    car[cs.POSITION + 1] = -4.4  # the eye is below the road and, as the ground ends nothing from below, below that
    below = Renderer(track, 64, 48, PLAIN).bgra(car, 2).astype(int)
    assert car[cs.POSITION + 1] + 3 < GROUND_Y
    column = below[:20, 32, :3]
    assert (np.ptp(column, axis=1) < 12).any()  # grey road over the eye, where there was blue sky


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (161, 40), (40, 161)])
def test_any_size_is_drawn(track: Track, size: tuple[int, int]) -> None:
    width, height = size
    picture = Renderer(track, width, height).bgra(car_on_road(track, 35.0))
    assert picture.shape == (height, width, 4)
    assert picture[..., :3].min() > 0


@pytest.mark.parametrize("size", [(64, 64), (80, 60)])
def test_small_pictures_are_what_large_ones_average_to(track: Track, size: tuple[int, int]) -> None:
    width, height = size
    factor = 8
    for distance in (35.0, 92.0, 130.0):
        car = car_on_road(track, distance, lateral_m=2.0, heading_rad=-0.1)
        large = Renderer(track, width * factor, height * factor).grey(car).astype(float)
        mean = large.reshape(height, factor, width, factor).mean(axis=(1, 3))
        assert np.abs(mean - Renderer(track, width, height).grey(car)).mean() < 2.0


def test_thin_lines_stay_visible_at_64x64(track: Track) -> None:
    car = car_on_road(track, 200.0)
    picture = Renderer(track, 64, 64, PLAIN).grey(car).astype(int)
    for ahead, contrast in ((10.0, 20), (20.0, 20), (40.0, 20)):
        column, row = pixel_of(np.array([HALF_WIDTH_M - LINE_INSET_M, 0.0, 200.0 + ahead]), car, 2, (64, 64))
        line = picture[round(row), max(0, round(column) - 1) : round(column) + 2].max()
        assert line - picture[round(row), round(column) + 4] > contrast, ahead


def test_distant_texture_does_not_sparkle(track: Track) -> None:
    renderer = Renderer(track, 64, 64)
    frames = [renderer.grey(car_on_road(track, 200.0 + 0.5 * k)).astype(float) for k in range(8)]
    steps = np.abs(np.diff(frames, axis=0))
    horizon = round(pixel_of(np.array([0.0, 0.0, 380.0]), car_on_road(track, 200.0), 2, (64, 64))[1])
    assert steps[:, horizon + 2 : horizon + 10].mean() < 4


def test_nothing_shows_beyond_the_fog(track: Track) -> None:
    car = car_on_road(track, 45.0)
    near = Renderer(track, 64, 64, Look(fog_distance_m=9.0)).bgra(car, 3)
    assert (near[:30] == Renderer(flat_track(), 64, 64, Look(fog_distance_m=9.0)).bgra(car, 3)[:30]).all()
    far = Renderer(track, 64, 64).bgra(car, 3)
    assert (far[:30] != near[:30]).any()  # the arch and the wall


def test_car_shows_in_the_chase_cameras_with_brake_lights(track: Track) -> None:
    car = car_on_road(track, 200.0)
    renderer = Renderer(track, 160, 120, PLAIN)
    moved = car.copy()
    moved[cs.STEER] = 1.0
    braking = car.copy()
    braking[cs.BRAKE] = 1.0
    for camera in (1, 2):
        shown = renderer.bgra(car, camera).astype(int)
        assert ((shown[..., 2] > 100) & (shown[..., 1] < 70)).sum() > 100  # a red body
        assert (renderer.bgra(moved, camera) != shown).any()
        brighter = renderer.bgra(braking, camera).astype(int) - shown
        assert brighter[..., 2].max() > 60
        assert (brighter != 0).any(axis=2).sum() < 200
    for other in (moved, braking):
        np.testing.assert_array_equal(renderer.bgra(other, 3), renderer.bgra(car, 3))


def test_shadow_tells_the_height_of_a_jump(track: Track) -> None:
    renderer = Renderer(track, 160, 120, PLAIN)
    shadows = []
    for height in (0.0, 3.0, 6.0):
        car = car_on_road(track, 200.0)
        car[cs.POSITION + 1] += height
        car[cs.WHEEL_CONTACT : cs.WHEEL_CONTACT + 4] = float(height == 0)
        column, row = pixel_of(np.array([0.9, 0.0, 198.0]), car, 2, (160, 120))
        shadows.append(int(renderer.grey(car)[min(119, round(row)), round(column)]))
    assert shadows[0] < shadows[1] < shadows[2]


def test_out_is_filled_in_place(track: Track) -> None:
    renderer = Renderer(track, 33, 21)
    car = car_on_road(track, 60.0)
    bgra, grey = np.zeros((21, 33, 4), np.uint8), np.zeros((21, 33), np.uint8)
    assert renderer.bgra(car, out=bgra) is bgra
    assert renderer.grey(car, out=grey) is grey
    np.testing.assert_array_equal(bgra, renderer.bgra(car))
    np.testing.assert_array_equal(grey, renderer.grey(car))


@pytest.mark.parametrize("size", [(0, 64), (64, -1), (5000, 64)])
def test_impossible_sizes_are_refused(track: Track, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match=f"{size[0]}x{size[1]}"):
        Renderer(track, *size)


def test_renderers_of_a_track_share_its_scene(track: Track) -> None:
    assert scene_of(track) is scene_of(track)
    assert scene_of(track).ground_y == GROUND_Y


def test_looks_are_drawn_from_their_seed_alone(track: Track) -> None:
    car = car_on_road(track, 40.0)
    renderer = Renderer(track, 64, 64)
    standard = renderer.grey(car)
    frames = []
    for seed in range(6):
        renderer.look = random_look(seed)
        frames.append(renderer.grey(car))
    np.testing.assert_array_equal(Renderer(track, 64, 64, random_look(3)).grey(car), frames[3])
    differences = [np.abs(a.astype(int) - b).mean() for k, a in enumerate(frames) for b in (*frames[:k], standard)]
    assert min(differences) > 3
    renderer.look = STANDARD
    np.testing.assert_array_equal(renderer.grey(car), standard)


GOLDEN = """
import hashlib, sys
from tests.simulator.test_render import golden_digest
sys.stdout.write(golden_digest(sys.argv[1]))
"""

GOLDEN_DIGESTS = {"street": "efa64de876fa94c0", "oval": "bfc24b93ff97ac50"}
"""Of the frames below. A change of the pictures changes them: look at the pictures, then put the new ones here."""


def golden_digest(name: str) -> str:
    """The hash of frames of a track with all cameras, in two sizes."""
    track = street() if name == "street" else load_track(name)
    digest = hashlib.sha256()
    for size in ((64, 64), (53, 31)):
        renderer = Renderer(track, *size)
        for distance in (3.0, 57.0, 101.0, 171.0, 251.0):
            car = car_on_road(track, distance, lateral_m=1.7, heading_rad=0.07, speed_mps=distance / 3)
            for camera in (1, 2, 3):
                digest.update(renderer.bgra(car, camera).tobytes())
                digest.update(renderer.grey(car, camera).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", GOLDEN_DIGESTS)
def test_frames_are_the_same_bytes_in_every_process(name: str) -> None:
    assert golden_digest(name) == GOLDEN_DIGESTS[name]
    other = subprocess.run(
        [sys.executable, "-c", GOLDEN, name], capture_output=True, text=True, timeout=120, check=True
    )
    assert other.stdout == GOLDEN_DIGESTS[name]
