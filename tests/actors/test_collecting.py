"""Collectors, buffer, weights and evaluator together, with the simulator and a real network, in one process."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save

from actors.buffer_rings import BufferSetup
from actors.collector import Collector
from actors.collector_life import Ports
from actors.courses import Course, Driving
from actors.draw_messages import Drawn, DrawRequest
from actors.evaluator import Evaluator
from actors.game_keeper import InProcessGame
from actors.race_archive import RaceArchive
from actors.replay_buffer import ReplayBuffer
from actors.weight_store import Weights, WeightStore
from tests.actors.buffers import settings_of
from tests.actors.fakes import Clock, answered
from tmrl_ray.config.collector import CollectorSettings, StartSettings
from tmrl_ray.config.evaluation import EvaluationSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.race import CutOffSettings, MapEntry
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.columns import Layout
from tmrl_ray.iqn.network import NetworkIO, build_network
from tmrl_ray.iqn.policy import IQNPolicy
from tmrl_ray.racing.actions import ACTION_COUNT
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track

SIZE = (48, 40)
OBSERVATION = ObservationLayout()
FORMAT = ChunkFormat(Layout.of((40, 48), OBSERVATION), history=1, look_ahead=3)
NETWORK = NetworkSettings(frame_stack=2, float_hidden=13, head_hidden=11, quantile_embedding=7)
SCALE = normalisation_of(OBSERVATION, decision_period_ms=50, spacing_m=0.5)
IO = NetworkIO(SIZE, SCALE.mean, SCALE.std, ACTION_COUNT)


pytestmark = pytest.mark.usefixtures("one_thread")


class Line:
    """The way to a buffer and a weight store of the same process."""

    compress = False

    def __init__(self, buffer: ReplayBuffer, store: WeightStore) -> None:
        self.buffer = buffer
        self.store = store

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Future[Any]:
        return answered(self.buffer.hand_out_incarnation(collector, layout_hash))

    def append(self, data: np.ndarray) -> Future[Any]:
        return answered(self.buffer.append(data))

    def standing(self, collector: int) -> Future[Any]:
        return answered(self.buffer.standing(collector))

    def fetch_if_newer(self, version: int) -> Future[Any]:
        return answered(self.store.fetch_if_newer(version))

    def acknowledge(self, collector: int, version: int) -> None:
        self.store.acknowledge(collector, version)


def make_policy(seed: int) -> IQNPolicy:
    return IQNPolicy(NETWORK, IO, seed=seed, quantiles=4)


def driving() -> Driving:
    course = Course(MapEntry(name="oval", map="oval"), line_of_track(load_track("oval")))
    return Driving((course,), OBSERVATION, CutOffSettings(race_ms=1500, no_progress_ms=1000), make_policy, FORMAT)


def make_game() -> InProcessGame:
    return InProcessGame(lambda: EmbeddedGame(GameSettings(frame_size=SIZE)))


def weights(version: int, seed: int = 0, network: NetworkSettings = NETWORK) -> Weights:
    state = build_network(network, IO, seed=seed).state_dict()
    return Weights.of(version, save({name: tensor.contiguous() for name, tensor in state.items()}))


def buffer_in(folder: Path) -> ReplayBuffer:
    settings = settings_of(rows=2048, learn_start_rows=11, samples_per_insert=None)
    setup = BufferSetup(
        run="together",
        settings=settings,
        format=FORMAT,
        ring_base=folder,
        directory=folder / "replay",
        seed=5,
        max_draw=512,
        guard_rows=64,
    )
    return ReplayBuffer(setup, clock=Clock())


def collect(folder: Path) -> tuple[str, list[list[int]]]:
    """Drive two collectors in turn, with weights that change; return a digest of the ring and what is drawn."""
    store, buffer = WeightStore(), buffer_in(folder)
    line = Line(buffer, store)
    settings = CollectorSettings(flush_s=None, starts=StartSettings(uniform=1.0))
    collectors = [
        Collector(number, settings, driving(), Ports(make_game(), line, line), run_seed=3) for number in range(2)
    ]
    draws = []
    for round_number in range(3):
        store.publish(weights(round_number + 1, seed=round_number))
        buffer.draw(DrawRequest(1, 1, policy_version=store.version))  # tells the version
        for collector in collectors:
            assert collector.run_once() is not None
        drawn = buffer.draw(DrawRequest(batches=2, batch_size=7))
        assert isinstance(drawn, Drawn)
        draws += drawn.draw.rows.tolist()
    assert store.acknowledged == {0: 3, 1: 3}
    digest = hashlib.sha256()
    for record in buffer.ring.live_chunks():
        chunk = buffer.ring.read_chunk(record)
        digest.update(repr((tuple(chunk.id), record.start, chunk.checksum)).encode())
    buffer.remove()
    return digest.hexdigest(), draws


def test_one_seed_gives_one_ring_and_one_order_of_draws(tmp_path: Path):
    """Row 42 of the fault matrix."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert collect(first) == collect(second)


def test_the_evaluator_drives_the_same_races_with_the_same_weights(tmp_path: Path):
    settings = EvaluationSettings(races=2, every_s=1.0)

    def evaluate() -> list[tuple[int, float]]:
        evaluator = Evaluator(settings, driving(), make_game(), RaceArchive(tmp_path, keep=1), run_seed=3)
        evaluation = evaluator.evaluate(weights(1))
        evaluator.close()
        return [(report.steps, report.metres) for report in evaluation.reports]

    assert evaluate() == evaluate()
    assert (tmp_path / "evaluation-000001.safetensors").stat().st_size == len(weights(1).data)


def test_weights_of_another_network_are_no_weights(tmp_path: Path):
    store, buffer = WeightStore(), buffer_in(tmp_path)
    store.publish(weights(1, network=NETWORK.replace(head_hidden=5)))
    line = Line(buffer, store)
    collector = Collector(0, CollectorSettings(), driving(), Ports(make_game(), line, line), run_seed=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        collector.run_once()
    buffer.remove()
