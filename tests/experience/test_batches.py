"""Batches against a plain reference: each sample is looked up among what was sent and worked out again by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.experience.journal import JournalledCollector, SentStep
from tests.experience.races import FORMAT, HISTORY, LOOK_AHEAD, OBSERVATION
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.config.replay import AugmentationSettings, PrioritySettings, ShapingSettings
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.batches import NO_EXPERT, Batch
from tmrl_ray.experience.demonstrations import Demonstrations
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.minirace import MiniRace
from tmrl_ray.experience.ring import TRAIN, Ring
from tmrl_ray.experience.sampling import Draw, Sampler
from tmrl_ray.experience.transitions import TransitionRules, Valuation
from tmrl_ray.racing.actions import MIRRORED
from tmrl_ray.racing.mirror import FloatsMirror
from tmrl_ray.racing.reward import potential, weight_vector

SIZE = RingSize(capacity_rows=709, chunk_rows=13, guard_rows=31)
WEIGHTS = weight_vector(RewardSettings(per_speed=0.02, neo_slide=0.3, close_to_line=-0.07))
MINI_RACE = MiniRace(horizon=11, long=5, maximum=2)
BATCH = 53
SHARE = ScheduleSettings(points=((0, 0.25), (100, 0.0)))
CLOCK = OBSERVATION.clock.start


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    yield made
    made.close()


def fill(sampler: Sampler, races: int = 40, *, number: int = 0, greedy_share: float = 0.7) -> JournalledCollector:
    """Append races of 1 to 60 steps that end in all ways, some in several chunks."""
    collector = JournalledCollector(sampler.ring, number, seed=number, greedy_share=greedy_share)
    rng = np.random.default_rng(number)
    for race in range(races):
        steps = int(rng.integers(1, 60)) if race % 3 else int(rng.integers(1, 6))
        how = ("finish", "cut_off", "lost")[race % 3]
        for chunk in collector.race(steps, how, flushes=frozenset(rng.integers(0, 60, 2).tolist())):
            sampler.append(chunk)
    return collector


def plain_steps(sent: SentStep, clock: int, rules: TransitionRules) -> tuple[int, bool]:
    """Return how far a transition goes, and whether nothing comes after it."""
    race, number = sent
    horizon = None if rules.mini_race is None else rules.mini_race.horizon
    steps = 0
    while True:
        steps += 1
        at_end = number + steps == len(race.steps)
        over = horizon is not None and clock + steps >= horizon
        if over or (at_end and race.end.how == "finish"):
            return steps, True
        if at_end or steps == rules.n_steps:
            return steps, False
        if rules.cut_at_exploration and not race.steps[number + steps].decision.greedy:
            return steps, False


def plain_reward(
    sent: SentStep, steps: int, *, terminal: bool, valuation: Valuation, shaping: ShapingSettings | None
) -> float:
    race, number = sent
    terms = [race.steps[number + each].terms.astype(float) for each in range(steps)]
    reward = sum(valuation.gamma**each * float(term @ valuation.term_weights) for each, term in enumerate(terms))
    if shaping is not None:
        before, after = (
            float(potential(race.floats[at], OBSERVATION, ahead_weight=shaping.ahead_weight))
            for at in (number, number + steps)
        )
        reward += (0.0 if terminal else valuation.gamma**steps * after) - before
    return reward


def plain_stack(sent: SentStep, number: int, frame_stack: int) -> np.ndarray:
    return np.stack([sent.race.frames[max(0, number - ago)] for ago in range(frame_stack - 1, -1, -1)])


def assert_is_what_was_sent(batch: Batch, ring: Ring, sent: dict[float, SentStep], recipe: BatchRecipe) -> None:
    """Compare each sample of a batch that was not augmented with what its collector sent."""
    valuation = VALUATION
    for sample, metres in enumerate(ring.column("metres")[batch.indices.numpy()].tolist()):
        here = sent[metres]
        clock = int(batch.clock[sample])
        steps, terminal = plain_steps(here, clock, recipe.rules)
        there = here.number + steps
        expected, found = here.race.floats[here.number].copy(), batch.floats[sample].numpy()
        expected[CLOCK] = clock
        assert found.tobytes() == expected.tobytes()
        expected, found = here.race.floats[there].copy(), batch.next_floats[sample].numpy()
        expected[CLOCK] = clock + steps if recipe.rules.mini_race else 0
        assert found.tobytes() == expected.tobytes()
        assert batch.frames is not None
        assert batch.next_frames is not None
        assert np.array_equal(batch.frames[sample], plain_stack(here, here.number, recipe.frame_stack))
        assert np.array_equal(batch.next_frames[sample], plain_stack(here, there, recipe.frame_stack))
        assert int(batch.actions[sample]) == here.race.steps[here.number].decision.action
        assert int(batch.policy_versions[sample]) == here.race.version
        discount = 0.0 if terminal else valuation.gamma**steps
        assert float(batch.discounts[sample]) == pytest.approx(discount, abs=1e-7)
        reward = plain_reward(here, steps, terminal=terminal, valuation=valuation, shaping=recipe.shaping)
        assert float(batch.rewards[sample]) == pytest.approx(reward, abs=1e-5)


VALUATION = Valuation(0.97, WEIGHTS)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n_steps=st.integers(1, LOOK_AHEAD),
    cut=st.booleans(),
    mini_race=st.sampled_from([None, MINI_RACE]),
    shaping=st.sampled_from([None, ShapingSettings(), ShapingSettings(ahead_weight=0.3)]),
    frame_stack=st.integers(1, HISTORY + 1),
    priorities=st.sampled_from([None, PrioritySettings()]),
    seed=st.integers(0, 1000),
)
def test_every_sample_is_a_transition_of_one_race_as_it_was_sent(
    tmp_path_factory: pytest.TempPathFactory, n_steps, cut, mini_race, shaping, frame_stack, priorities, seed
) -> None:
    ring = Ring.create(tmp_path_factory.mktemp("ring") / "ring", FORMAT, SIZE, run="test")
    sampler = Sampler(ring, priorities=priorities, seed=seed)
    collector = fill(sampler)
    rules = TransitionRules(n_steps, cut, mini_race)
    recipe = BatchRecipe(BATCH, OBSERVATION, frame_stack=frame_stack, rules=rules, shaping=shaping)
    builder = BatchBuilder(recipe, ring, seed=seed)
    draw = sampler.draw(5, BATCH)
    assert draw is not None
    built = 0
    for batch in builder.batches(draw, VALUATION):
        assert np.array_equal(batch.indices.numpy(), draw.rows[built])
        assert np.array_equal(batch.generations.numpy(), draw.generations[built])
        assert_is_what_was_sent(batch, ring, collector.sent, recipe)
        built += 1
    assert (built, builder.torn_rows) == (5, 0)
    ring.remove()


def made(ring: Ring, recipe: BatchRecipe, *, batches: int = 1, seed: int = 1, augment: bool = True) -> Iterator[Batch]:
    draw = Sampler(ring, seed=seed).draw(batches, recipe.batch_size)
    assert draw is not None
    return BatchBuilder(recipe, ring, seed=seed).batches(draw, VALUATION, augment=augment)


def test_a_batch_is_tensors_of_the_shapes_and_types_that_a_learner_expects(ring: Ring) -> None:
    fill(Sampler(ring))
    (batch,) = made(ring, BatchRecipe(BATCH, OBSERVATION, frame_stack=3))
    assert len(batch) == BATCH
    shapes = {name: (tuple(each.shape), each.dtype) for name, each in vars(batch).items() if each is not None}
    pictures, floats, number = (BATCH, 3, 7, 5), (BATCH, OBSERVATION.size), (BATCH,)
    assert shapes == {
        "frames": (pictures, torch.uint8),
        "next_frames": (pictures, torch.uint8),
        "floats": (floats, torch.float32),
        "next_floats": (floats, torch.float32),
        "actions": (number, torch.int64),
        "rewards": (number, torch.float32),
        "discounts": (number, torch.float32),
        "weights": (number, torch.float32),
        "indices": (number, torch.int64),
        "generations": (number, torch.int64),
        "clock": (number, torch.float32),
        "policy_versions": (number, torch.int64),
    }
    assert (batch.weights == 1).all()


def test_buffers_are_used_again_in_turn(ring: Ring) -> None:
    fill(Sampler(ring))
    pointers = [batch.rewards.data_ptr() for batch in made(ring, BatchRecipe(BATCH, OBSERVATION), batches=7)]
    assert len(set(pointers[:3])) == 3
    assert pointers[3:6] == pointers[:3]


def test_what_was_overwritten_is_replaced_by_other_samples(ring: Ring) -> None:
    sampler = Sampler(ring, seed=3)
    collector = fill(sampler)
    recipe = BatchRecipe(BATCH, OBSERVATION)
    draw = sampler.draw(4, BATCH)
    assert draw is not None
    sent = dict(collector.sent)
    gone, number = np.zeros(1, bool), 0
    while gone.mean() < 0.3:
        number += 1
        sent |= fill(sampler, 3, number=number).sent
        gone = ~ring.intact(draw.rows.ravel().astype(np.int64), draw.generations.ravel())
    assert gone.mean() < 0.9
    builder = BatchBuilder(recipe, ring)
    batches = 0
    for batch in builder.batches(draw, VALUATION):
        batches += 1
        assert ring.intact(batch.indices.numpy(), batch.generations.numpy()).all()
        assert set(batch.indices.tolist()) <= set(draw.rows[batches - 1].tolist())
        assert_is_what_was_sent(batch, ring, sent, recipe)
    assert batches == 4
    assert builder.torn_rows >= gone.sum()
    fill(sampler, 100, number=number + 1)
    assert list(builder.batches(draw, VALUATION)) == []
    assert builder.lost_batches == 4


def test_a_sample_is_torn_as_soon_as_a_row_that_it_looks_back_at_is(ring: Ring) -> None:
    sampler = Sampler(ring)
    collector = fill(sampler)
    index = ring.drawable[TRAIN]
    rows, generations = index.locate(np.arange(index.total))
    looks_back = ring.column("step_in_race")[rows] > 0
    edge = np.zeros(1, bool)
    while not edge.any():
        for chunk in collector.race(5):
            sampler.append(chunk)
        intact = ring.intact(rows, generations)
        edge = looks_back & intact & ~ring.intact(np.maximum(rows - 1, 0), generations)
    chosen = np.append(np.flatnonzero(edge)[0], np.flatnonzero(intact)[-(BATCH - 1) :])
    draw = Draw.of(rows[chosen][None], generations[chosen][None])
    torn = []
    for frame_stack in (1, 2):
        builder = BatchBuilder(BatchRecipe(BATCH, OBSERVATION, frame_stack=frame_stack), ring)
        (batch,) = builder.batches(draw, VALUATION)
        torn.append(builder.torn_rows)
        assert (int(batch.indices[0]) == rows[chosen[0]]) == (frame_stack == 1)
    assert torn == [0, 1]


def test_a_mirrored_sample_is_mirrored_in_all_that_it_has(ring: Ring) -> None:
    fill(Sampler(ring))
    plain, mirror = BatchRecipe(BATCH, OBSERVATION, frame_stack=2), FloatsMirror(OBSERVATION)
    all_mirrored = BatchRecipe(BATCH, OBSERVATION, frame_stack=2, augmentation=AugmentationSettings(mirror_share=1.0))
    (before,), (after,) = made(ring, plain), made(ring, all_mirrored)
    for name in ("frames", "next_frames"):
        assert np.array_equal(getattr(after, name), getattr(before, name).numpy()[..., ::-1])
    for name in ("floats", "next_floats"):
        assert np.array_equal(getattr(after, name), mirror(getattr(before, name).numpy()))
    assert np.array_equal(after.actions, MIRRORED[before.actions.numpy()])
    assert torch.equal(after.rewards, before.rewards)
    (untouched,) = made(ring, all_mirrored, augment=False)
    assert torch.equal(untouched.floats, before.floats)
    half = BatchRecipe(BATCH, OBSERVATION, frame_stack=2, augmentation=AugmentationSettings(mirror_share=0.5))
    (some,) = made(ring, half)
    is_mirrored = np.array([np.array_equal(*pair) for pair in zip(some.floats, after.floats, strict=True)])
    is_plain = np.array([np.array_equal(*pair) for pair in zip(some.floats, before.floats, strict=True)])
    assert (is_mirrored ^ is_plain).all()
    assert 0.2 < is_mirrored.mean() < 0.8


def test_all_pictures_of_a_sample_are_shifted_alike(ring: Ring) -> None:
    fill(Sampler(ring))
    shifted = BatchRecipe(BATCH, OBSERVATION, frame_stack=2, augmentation=AugmentationSettings(shift_pixels=2))
    (before,), (after,) = made(ring, BatchRecipe(BATCH, OBSERVATION, frame_stack=2)), made(ring, shifted)
    offsets = set()
    for sample in range(BATCH):
        pictures = [getattr(before, name)[sample].numpy() for name in ("frames", "next_frames")]
        padded = [np.pad(each, ((0, 0), (2, 2), (2, 2)), mode="edge") for each in pictures]
        fitting = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if all(
                np.array_equal(each[:, down : down + 7, right : right + 5], getattr(after, name)[sample])
                for each, name in zip(padded, ("frames", "next_frames"), strict=True)
            )
        ]
        assert len(fitting) == 1
        offsets.update(fitting)
    assert len(offsets) > 15
    assert torch.equal(after.floats, before.floats)


def test_demonstrations_are_a_share_of_each_batch_with_the_experts_actions(ring: Ring, tmp_path: Path) -> None:
    size = RingSize(capacity_rows=256, chunk_rows=13, guard_rows=0)
    experts = Demonstrations(Ring.create(tmp_path / "experts", FORMAT, size, run="test"), share=SHARE, seed=5)
    recipe = BatchRecipe(BATCH, OBSERVATION, augmentation=AugmentationSettings(mirror_share=0.5))
    builder = BatchBuilder(recipe, ring, experts.ring, seed=2)
    sampler = Sampler(ring)
    fill(sampler)
    assert experts.samples_of(BATCH, env_steps=0) == 0
    expert = JournalledCollector(experts.ring, seed=9, greedy_share=1.0)
    for chunk in expert.race(47) + expert.race(83):
        experts.add(chunk)
    assert [experts.samples_of(BATCH, env_steps=env_steps) for env_steps in (50, 99, 100)] == [7, 1, 0]
    count = experts.samples_of(BATCH, env_steps=0)
    assert count == 13
    draw, demonstrations = sampler.draw(3, BATCH - count), experts.draw(3, count)
    assert draw is not None
    for batch in builder.batches(draw, VALUATION, demonstrations=demonstrations):
        assert batch.expert_actions is not None
        assert (batch.expert_actions[: BATCH - count] == NO_EXPERT).all()
        assert torch.equal(batch.expert_actions[BATCH - count :], batch.actions[BATCH - count :])
        metres = experts.ring.column("metres")[batch.indices[BATCH - count :].numpy()]
        assert all(each in expert.sent for each in metres.tolist())
    whole = sampler.draw(1, BATCH)
    assert whole is not None
    (batch,) = builder.batches(whole, VALUATION)
    assert batch.expert_actions is not None
    assert (batch.expert_actions == NO_EXPERT).all()
    with pytest.raises(InvalidInputError, match="draws of 40 samples for batches of 53"):
        list(builder.batches(draw, VALUATION))


def test_demonstrations_are_never_pushed_out(tmp_path: Path) -> None:
    size = RingSize(capacity_rows=256, chunk_rows=64, guard_rows=0)
    experts = Demonstrations(Ring.create(tmp_path / "experts", FORMAT, size, run="test"), share=SHARE)
    expert, taken = JournalledCollector(experts.ring), []
    for _ in range(2):
        taken += expert.race(101)
    (surplus,) = expert.race(101)
    for chunk in taken:
        experts.add(chunk)
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="202 of 256 decisions are there, and 101 more do not fit"):
            experts.add(surplus)
    assert [record.id for record in experts.ring.live_chunks()] == [chunk.id for chunk in taken]
    assert experts.sampler.drawable_rows == 202
    assert experts.add(taken[0]).core is None  # a duplicate: it is there already
    (small,) = expert.race(54)
    experts.add(small)
    assert experts.sampler.drawable_rows == 256


def test_a_ring_that_does_not_reach_far_enough_is_refused(ring: Ring) -> None:
    with pytest.raises(InvalidInputError, match="need more rows around a row"):
        BatchBuilder(BatchRecipe(BATCH, OBSERVATION, frame_stack=HISTORY + 2), ring)
    with pytest.raises(InvalidInputError, match="need more rows around a row"):
        BatchBuilder(BatchRecipe(BATCH, OBSERVATION, rules=TransitionRules(n_steps=LOOK_AHEAD + 1)), ring)
    with pytest.raises(InvalidInputError, match=r"not \(184,\)"):
        BatchBuilder(BatchRecipe(BATCH), ring)


def test_the_same_seed_and_state_build_the_same_batches(ring: Ring) -> None:
    fill(Sampler(ring))
    augmentation = AugmentationSettings(shift_pixels=1, mirror_share=0.5)
    recipe = BatchRecipe(BATCH, OBSERVATION, rules=TransitionRules(mini_race=MINI_RACE), augmentation=augmentation)
    draw = Sampler(ring, seed=4).draw(2, BATCH)
    assert draw is not None
    first, second = BatchBuilder(recipe, ring, seed=1), BatchBuilder(recipe, ring, seed=2)
    list(first.batches(draw, VALUATION))
    second.load_state_dict(first.state_dict())
    for one, other in zip(first.batches(draw, VALUATION), second.batches(draw, VALUATION), strict=True):
        assert all(torch.equal(tensor, vars(other)[name]) for name, tensor in vars(one).items() if tensor is not None)
