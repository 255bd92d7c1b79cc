"""Maps, from hand-made bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.game import gbx_encoder as encode
from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx import Block, MedalTimes, read_challenge


def test_what_a_map_says_about_itself() -> None:
    challenge = read_challenge(encode.challenge())
    assert challenge.name == "$f00Map $$1"
    assert (challenge.uid, challenge.author) == ("some-uid", "an-author")
    assert (challenge.environment, challenge.decoration, challenge.size) == ("Stadium", "Day", (32, 32, 32))
    assert challenge.medal_times == MedalTimes(author=19000, gold=23000, silver=31000, bronze=41000)
    assert challenge.laps == 1
    assert challenge.checkpoint_cells == ((7, 1, 5), (11, 2, 5))


def test_blocks_keep_their_order_and_empty_cells_are_left_out() -> None:
    blocks = read_challenge(encode.challenge()).blocks
    assert [(block.name, block.cell, block.rotation) for block in blocks[:5]] == list(encode.BLOCKS)
    assert [block.cell for block in blocks[5:]] == [(5, 1, 7), (5, 1, 8)]
    assert blocks[0].is_ground
    assert blocks[5].flags == 0x9000


def test_start_checkpoints_and_finish() -> None:
    challenge = read_challenge(encode.challenge())
    assert challenge.start.cell == (3, 1, 5)
    assert [block.cell for block in challenge.checkpoints] == [(7, 1, 5), (11, 2, 5)]
    assert [block.cell for block in challenge.finishes] == [(13, 1, 5)]


def test_a_lap_race_has_its_laps_and_starts_on_its_finish() -> None:
    blocks = (("StadiumRoadMainStartFinishLine", (3, 1, 5), 0), ("StadiumRoadMainCheckpoint", (3, 1, 9), 2))
    challenge = read_challenge(encode.challenge(blocks=blocks, laps=(True, 5)))
    assert challenge.laps == 5
    assert challenge.start == challenge.finishes[0]


@pytest.mark.parametrize(("rotation", "forward"), [(0, (0, 0, 1)), (1, (-1, 0, 0)), (2, (0, 0, -1)), (3, (1, 0, 0))])
def test_the_spawn_is_behind_the_middle_of_the_start_block_and_faces_along_it(
    rotation: int, forward: tuple[int, int, int]
) -> None:
    block = Block("StadiumRoadMainStartLine", (11, 1, 19), rotation, 0)
    position, pose = block.spawn
    assert position == pytest.approx(np.array((368.0, 10.21, 624.0)) - 4.8 * np.array(forward))
    assert pose[:, 2] == pytest.approx(forward)
    assert pose[:, 1] == pytest.approx((0, 1, 0))
    assert np.linalg.det(pose) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "height"),
    [
        ("StadiumRoadMainCheckpoint", 16),
        ("StadiumRoadDirtHighCheckpoint", 23),
        ("StadiumRoadMainCheckpointLeft", 21),
        ("StadiumRoadMainCheckpointUp", 21),
        ("StadiumPlatformCheckpointLeft", 16),
    ],
)
def test_the_centre_of_a_gate_is_at_the_height_of_its_road(name: str, height: float) -> None:
    assert Block(name, (1, 2, 3), 0, 0).centre.tolist() == [48, height, 112]


def test_a_map_of_another_environment_is_read_but_has_no_places_in_metres() -> None:
    challenge = read_challenge(encode.challenge(environment=1))
    assert challenge.environment == "Alpine"
    assert len(challenge.blocks) == 7
    with pytest.raises(GbxError, match="of 'Alpine': places in metres are known for Stadium only"):
        _ = challenge.spawn


def test_a_map_without_a_start_has_no_spawn() -> None:
    challenge = read_challenge(encode.challenge(blocks=encode.BLOCKS[1:]))
    with pytest.raises(GbxError, match="has 0 start blocks, a race needs one"):
        _ = challenge.spawn


def test_a_replay_is_no_map() -> None:
    with pytest.raises(GbxError, match="class 0x03093000, a map is 0x03043000"):
        read_challenge(encode.replay([]))


def test_a_rotation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(GbxError, match="'StadiumRoadMain' with rotation 4"):
        read_challenge(encode.challenge(blocks=(("StadiumRoadMain", (1, 1, 1), 4),)))


def test_a_map_whose_body_ends_before_its_blocks_is_refused() -> None:
    names = encode.Names()
    body = encode.chunk(0x0304300D, names("StadiumCar", "Vehicles", "Nadeo")) + encode.END
    with pytest.raises(GbxError, match="without the chunk of its blocks"):
        read_challenge(encode.container(0x03043000, body))
