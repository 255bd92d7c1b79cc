"""The mirror of observations, actions and pictures; ``test_mirrored_track.py`` proves it with the physics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.racing.mirror import FloatsMirror, mirror_frames
from tmrl_ray.racing.observation_layout import ObservationLayout

LAYOUT = ObservationLayout()
MIRROR = FloatsMirror(LAYOUT)


def mirrored(part: slice, values: list[float]) -> list[float]:
    floats = np.zeros(LAYOUT.size, dtype=np.float32)
    floats[part] = values
    return MIRROR(floats)[part].tolist()


def test_wheels_change_places():
    for part in (LAYOUT.wheel_sliding, LAYOUT.wheel_contact, LAYOUT.wheel_absorb):
        assert mirrored(part, [1, 2, 3, 4]) == [2, 1, 4, 3]
    rows = np.arange(16).reshape(4, 4)
    assert mirrored(LAYOUT.wheel_materials, rows.ravel().tolist()) == rows[[1, 0, 3, 2]].ravel().tolist()


def test_steering_keys_change_places():
    keys = [1, 2, 3, 4] * 5
    assert mirrored(LAYOUT.previous_actions, keys) == [1, 2, 4, 3] * 5


def test_signs_of_vectors():
    assert mirrored(LAYOUT.velocity, [1, 2, 3]) == [-1, 2, 3]
    assert mirrored(LAYOUT.up, [1, 2, 3]) == [-1, 2, 3]
    assert mirrored(LAYOUT.way_point(7), [1, 2, 3]) == [-1, 2, 3]
    assert mirrored(LAYOUT.angular_velocity, [1, 2, 3]) == [1, -2, -3]


def test_everything_else_stays():
    for name in ("clock", "gearbox_state", "gear", "rpm", "gearbox_count", "metres_left", "freewheeling"):
        assert mirrored(getattr(LAYOUT, name), [5]) == [5], name


@given(arrays(np.float32, (2, 3, 184), elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=25, deadline=None)
def test_twice_is_none(floats):
    np.testing.assert_array_equal(MIRROR(MIRROR(floats)), floats)


@pytest.mark.parametrize(("way_points", "actions"), [(1, 0), (7, 3), (53, 11)])
def test_any_layout_has_a_mirror(way_points, actions):
    layout = ObservationLayout(ObservationSettings(way_points=way_points, previous_actions=actions))
    mirror = FloatsMirror(layout)
    assert sorted(mirror.index) == list(range(layout.size))
    np.testing.assert_array_equal(mirror.index[mirror.index], np.arange(layout.size))
    names = np.array(layout.names)
    changed = {name for name, sign in zip(names, mirror.sign, strict=True) if sign < 0}
    assert changed == {
        name for name in names if name.endswith(".left") and not name.startswith(("action", "angular"))
    } | {"angular_velocity.up", "angular_velocity.forward"}


def test_pictures():
    frames = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    assert mirror_frames(frames)[1, 2].tolist() == frames[1, 2].tolist()[::-1]
    np.testing.assert_array_equal(mirror_frames(mirror_frames(frames)), frames)
