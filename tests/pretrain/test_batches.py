from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.batches import Ahead, Batch, BatchSource, Wanted, World
from pretrain.bc.bc_stage import class_counts
from tests.pretrain.drawn_races import INTERVAL_MS, LAYOUT, drawn_cache, drawn_race
from tests.pretrain.stages import cloner_stage, cloning, loop_of, visual
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.errors import InvalidInputError

CLONED = Wanted(offsets_ms=(0, 50), target="current_tick", floats=True, previous_ms=(-50,))


@pytest.fixture(scope="module")
def cache():
    return drawn_cache(maps=5, races=1, rows=29)


def samples(batches: list[Batch]) -> np.ndarray:
    return np.concatenate([batch.frames.flatten(1).numpy() for batch in batches])


def test_a_batch_tells_what_is_wanted_of_each_sample(cache) -> None:
    wanted = Wanted(
        ahead={"idm": Ahead((1, 3), drawn=True), "spr": Ahead((1, 2), drawn=False)},
        offsets_ms=(0, 50, -50),
        target="current_tick",
        floats=True,
        previous_ms=(-100, -50),
    )
    data = BatchSource(cache, cloning(n_stack=3), wanted)
    rows = data.train_rows[[0, 5, 17]]
    batch = data.batch_of(rows, np.random.default_rng(3))
    action = cache.labels(np.arange(len(cache)))[:, 0]
    assert batch.labels is not None
    assert batch.previous is not None
    assert batch.floats is not None
    np.testing.assert_array_equal(batch.frames.numpy(), cache.stacks(rows, 3))
    np.testing.assert_array_equal(batch.labels.numpy(), np.stack([action[rows], action[rows + 1], action[rows - 1]], 1))
    np.testing.assert_array_equal(batch.previous.numpy(), np.stack([action[rows - 2], action[rows - 1]], 1))
    np.testing.assert_array_equal(batch.floats.numpy(), cache.floats[rows])
    spr, idm = batch.ahead["spr"], batch.ahead["idm"]
    np.testing.assert_array_equal(spr.frames[:, 1].numpy(), cache.stacks(rows + 2, 3))
    np.testing.assert_array_equal(spr.actions.numpy(), np.stack([action[rows], action[rows + 1]], 1))
    later = rows + np.array([1, 3])[idm.index[:, 0].numpy()]
    np.testing.assert_array_equal(idm.frames[:, 0].numpy(), cache.stacks(later, 3))
    np.testing.assert_array_equal(idm.actions[:, 0].numpy(), action[rows])


def test_maps_are_on_one_side_only(cache) -> None:
    data = BatchSource(cache, cloning(), CLONED)
    maps = np.array([race.map for race in cache.races for _ in range(race.rows)])
    assert set(maps[data.train_rows]) == set(data.train_maps)
    assert set(maps[data.val_rows]) == set(data.val_maps)
    assert not set(data.train_maps) & set(data.val_maps)


def test_maps_to_measure_on_are_never_learned_from(cache) -> None:
    data = BatchSource(cache, cloning(val_track_ids=("map4", "map1")), CLONED)
    assert (data.train_maps, data.val_maps) == (("map0", "map2", "map3"), ("map1", "map4"))
    with pytest.raises(InvalidInputError, match="no race on map9"):
        BatchSource(cache, cloning(val_track_ids=("map9",)), CLONED)


def test_chosen_maps_are_split_among_themselves(cache) -> None:
    data = BatchSource(cache, cloning(track_ids=("map3",)), CLONED)
    assert data.train_maps == ("map3",)
    assert data.val_maps == ()
    assert len(data.train_rows)


def test_an_epoch_has_each_sample_once_and_another_order_than_the_one_before(cache) -> None:
    data = BatchSource(cache, cloning(batch_size=29), Wanted())  # of which there are 4
    first, again, second = (samples(list(data.train(epoch))) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(data.train_rows)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))


def test_workers_share_each_batch(cache) -> None:
    config = visual(batch_size=20)
    alone = list(BatchSource(cache, config, Wanted()).train(4))
    shares = [list(BatchSource(cache, config, Wanted(), world=World(rank, 3)).train(4)) for rank in range(3)]
    for whole, *parts in zip(alone, *shares, strict=True):
        together = np.empty_like(whole.frames.numpy())
        for rank, part in enumerate(parts):
            together[rank::3] = part.frames.numpy()
        np.testing.assert_array_equal(together, whole.frames.numpy())
        assert sum(part.share for part in parts) == pytest.approx(3)


def test_the_mean_over_the_workers_gradients_is_that_of_the_whole_batch(cache) -> None:
    config = cloning(batch_size=20)

    def gradient(world: World) -> torch.Tensor:
        loop = loop_of(config, cache, world=world)
        batch = list(loop.data.train(0))[-1]  # the last one has a sample more for some workers than for others
        loop.stage.train()
        torch.autograd.backward(loop.stage(batch).loss * batch.share)
        return torch.cat([each.grad.flatten() for each in loop.stage.parameters() if each.grad is not None])

    shared = torch.stack([gradient(World(rank, 3)) for rank in range(3)]).mean(dim=0)
    torch.testing.assert_close(shared, gradient(World()), rtol=1e-4, atol=1e-6)


def test_validation_comes_in_the_same_order_each_time(cache) -> None:
    data = BatchSource(cache, cloning(), Wanted())
    np.testing.assert_array_equal(samples(list(data.validate())), samples(list(data.validate())))


def test_who_stops_taking_batches_leaves_no_thread(cache) -> None:
    batches = BatchSource(cache, cloning(batch_size=4, prefetch_factor=1), Wanted()).train(0)
    next(batches)
    batches.close()


def test_what_goes_wrong_in_the_thread_is_raised_where_batches_are_taken(cache) -> None:
    data = BatchSource(cache, cloning(), Wanted())
    data.train_rows = np.array([10**9])
    data.val_rows = np.array([10**9])
    with pytest.raises(IndexError):
        list(data.validate())


def test_a_dataset_without_samples_is_refused_with_what_is_missing(cache) -> None:
    with pytest.raises(InvalidInputError, match=r"no sample to train with.*none with 30 in a row"):
        BatchSource(cache, visual(n_stack=30), Wanted())


def test_the_layout_of_the_drawn_races_is_the_agents(cache) -> None:
    assert cache.floats.shape[1] == LAYOUT.size
    assert cache.races[0].interval_ms == INTERVAL_MS


def test_a_rest_is_left_out_and_counted_so(cache) -> None:
    for size, batches in ((29, 4), (40, 3), (50, 2), (116, 1), (200, 1), (78, 1), (77, 2)):
        data = BatchSource(cache, cloning(batch_size=size), Wanted())
        assert len(data.train_rows) == 116
        assert len(list(data.train(0))) == data.train_batches == batches


def test_more_workers_than_a_batch_can_feed_are_refused(cache) -> None:
    with pytest.raises(InvalidInputError, match="batches of 7 of 116 samples are too few for 2 workers"):
        BatchSource(cache, cloning(batch_size=7), Wanted(), world=World(0, 2))


def test_fewer_samples_to_measure_on_than_workers_are_refused() -> None:
    """A worker without any would wait for ever for the others' sums, or add up other names."""
    races = RaceCache.of([drawn_race("map0", "race"), drawn_race("map1", "race", rows=3)])
    config = cloning(val_track_ids=("map1",))
    for size in (1, 3):
        shares = [BatchSource(races, config, CLONED, world=World(rank, size)) for rank in range(size)]
        assert all(list(share.validate()) for share in shares)
    with pytest.raises(InvalidInputError, match="3 samples to measure on are too few for 4 workers"):
        BatchSource(races, config, CLONED, world=World(0, 4))


def test_the_next_tick_is_the_action_at_the_next_picture(cache) -> None:
    stage = cloner_stage(bc_target="next_tick")
    data = BatchSource(cache, cloning(bc_target="next_tick"), stage.wanted)
    batches = list(data.validate())
    action = cache.labels(np.arange(len(cache)))[:, 0]
    told = np.concatenate([batch.labels.numpy() for batch in batches])
    np.testing.assert_array_equal(told, action[data.val_rows + 1][:, None])
    last_rows = {race.end_row - 1 for race in cache.races}
    assert not last_rows & {*data.train_rows.tolist(), *data.val_rows.tolist()}  # no picture comes after those
    counts = class_counts(data, stage.wanted, stage.classes)
    np.testing.assert_array_equal(counts[0], np.bincount(action[data.train_rows + 1], minlength=12))
