"""Declarations of metrics: names that cannot be mistaken, and a page that lists exactly what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.metrics import Kind, Metric, Registry
from tmrl_ray.runs.metrics_page import metrics_page

ROOT = Path(__file__).parents[2]

CONTRACT = {
    "transitions_ingested": Kind.COUNTER,
    "transitions_sampled": Kind.COUNTER,
    "transitions_dropped{reason}": Kind.COUNTER,
    "duplicate_chunks": Kind.COUNTER,
    "replay_bytes": Kind.SCALAR,
    "replay_occupancy": Kind.SCALAR,
    "samples_per_insert{which}": Kind.SCALAR,
    "limiter_blocked_seconds{side}": Kind.COUNTER,
    "ingest_ms": Kind.HISTOGRAM,
    "sample_wait_ms": Kind.HISTOGRAM,
    "gather_ms": Kind.HISTOGRAM,
    "h2d_ms": Kind.HISTOGRAM,
    "step_ms": Kind.HISTOGRAM,
    "learner_idle_ratio": Kind.SCALAR,
    "torn_rows": Kind.COUNTER,
    "policy_age_updates": Kind.HISTOGRAM,
    "collector_policy_version{collector}": Kind.SCALAR,
    "collector_state{collector,state}": Kind.SCALAR,
    "game_restarts{reason}": Kind.COUNTER,
    "weights_published": Kind.COUNTER,
    "checkpoint_seconds": Kind.SCALAR,
    "checkpoint_bytes": Kind.SCALAR,
    "shm_free_bytes": Kind.SCALAR,
    "spilled_bytes": Kind.SCALAR,
}
"""Names for Prometheus that dashboards and alerts rely on, after ``tmrl_`` and without Prometheus' own endings."""

LEGACY = {
    "Race/race_time_ratio": "race/time_ratio",
    "Race/eval_race_time": "race/time_s",
    "Race/eval_race_finished": "race/finished",
    "Race/eval_race_time_finished": "race/finish_time_s",
    "Race/eval_race_time_robust": "race/robust_finish_time_s",
    "eval_ratio": "race/medal_ratio",
    "Race/split": "race/split_s",
    "RL/mean_action_gap": "race/action_spread",
    "RL/single_zone_reached": "race/furthest_share",
    "RL/avg_Q": "race/value",
    "RL/q_value_0_starting_frame": "race/start_value",
    "Performance/instrumentation": "collector/stage_ms",
    "Performance/tmi_protection_cutoff": "race/ended",
    "Performance/worker_time_in_rollout_percentage": "collector/racing_share",
    "Training/learning_rate": "learner/learning_rate",
    "Training/weight_decay": "learner/weight_decay",
    "Training/batch_size": "learner/batch_size",
    "Training/n_steps": "learner/n_steps",
    "Training/discard_non_greedy_actions_in_nsteps": "learner/cut_at_exploration",
    "Training/loss": "learner/loss",
    "Training/loss_test": "learner/test_loss",
    "Training/train_on_batch_duration": "learner/step_ms",
    "RL/gamma": "learner/discount",
    "RL/epsilon": "exploration/epsilon",
    "RL/epsilon_boltzmann": "exploration/epsilon_boltzmann",
    "RL/tau_epsilon_boltzmann": "exploration/boltzmann_noise",
    "Buffer/size": "experience/rows",
    "Buffer/max_size": "experience/window_rows",
    "Buffer/number_times_single_memory_is_used_before_discard": "experience/samples_per_insert",
    "Buffer/priorities": "experience/priority_",
    "Performance/learner_percentage_waiting_for_workers": "learner/idle_share",
    "Performance/learner_percentage_training": "learner/training_share",
    "Performance/learner_percentage_testing": "learner/testing_share",
    "Performance/transitions_learned_per_second": "learner/samples_per_s",
    "Gradients/norm": "learner/gradient_norm_clipped_",
    "Gradients/norm_before_clip": "learner/gradient_norm_",
    "Gradients/by_layer": "parameter/gradient_",
    "Network/weights": "parameter/{what",
    "Network/optimizer": "parameter/{what",
    "IQN/quantile_std_action": "learner/quantile_std/{action",
    "cumul_number_batches_done": "learner/updates",
    "cumul_number_single_memories_used": "learner/samples",
    "cumul_number_single_memories_should_have_been_used": "limiter/balance",
    "cumul_number_memories_generated": "experience/rows_ingested",
    "cumul_number_target_network_updates": "learner/target_updates",
    "cumul_training_hours": "clock/training_hours",
    "alltime_min_ms": "race/best_time_s",
    "times_summary": "run/times",
}
"""What became of the tags of Linesight and rulka, of which none may get lost."""


def declared(name: str, **more: object) -> Metric:
    return Metric(**{"name": name, "unit": "", "help": "What.", "rising": "Up.", **more})  # type: ignore[arg-type]


def test_the_page_lists_exactly_what_is_declared() -> None:
    page = (ROOT / "METRICS.md").read_text(encoding="utf-8")
    assert page == metrics_page(), "write it anew: python -m tmrl_ray.runs.metrics_page METRICS.md"
    listed = re.findall(r"^\| `([^`]+)`", page, flags=re.MULTILINE)
    assert sorted(name.replace("\\|", "|") for name in listed) == sorted(metric.name for metric in METRICS.metrics)


def test_the_names_that_dashboards_rely_on_are_declared() -> None:
    told = {}
    for metric in METRICS.metrics:
        labels = ",".join(place.label for place in metric.places)
        told[metric.ray_name.removeprefix("tmrl_") + (f"{{{labels}}}" if labels else "")] = metric.kind
    assert {name: told.get(name) for name in CONTRACT} == CONTRACT


@pytest.mark.parametrize("legacy", LEGACY)
def test_what_linesight_and_rulka_tell_is_told(legacy: str) -> None:
    assert any(metric.name.startswith(LEGACY[legacy]) for metric in METRICS.metrics)


def test_names_of_units_are_in_the_names() -> None:
    endings = {"s": "_s", "ms": "_ms", "bytes": "bytes", "1/s": "_per_s", "h": "_hours"}
    fixed = {metric.name: re.sub(r"/?\{[^}]*\}", "", metric.name) for metric in METRICS.metrics}
    wrong = [
        metric.name
        for metric in METRICS.metrics
        if metric.unit in endings and not fixed[metric.name].endswith((endings[metric.unit], "/seconds"))
    ]
    assert wrong == []


def test_a_name_is_filled_and_found_again() -> None:
    name = METRICS.name("race/finish_time_s/{map}/{kind}", map="A01 Race.Challenge", kind="greedy")
    assert name == "race/finish_time_s/A01_Race.Challenge/greedy"
    found = METRICS.resolve(name)
    assert found.metric.name.startswith("race/finish_time_s/")
    assert found.labels == {"map": "A01_Race.Challenge", "kind": "greedy"}
    assert METRICS.resolve("learner/gradient_norm_clipped_d98").labels == {"quantile": "d98"}
    assert METRICS.resolve("learner/gradient_norm/value_head").labels == {"part": "value_head"}
    assert METRICS.resolve("learner/gradient_norm").labels == {}


@given(text=st.text())
def test_any_label_makes_one_name(text: str) -> None:
    name = METRICS.name("race/metres/{map}/{kind}", map=text, kind="explore")
    assert METRICS.resolve(name).metric.short == "race/metres/{map}/{kind}"
    assert name.count("/") == 3


@pytest.mark.parametrize(
    "name",
    [
        "learner/los",
        "race/metres/loop",
        "race/metres/loop/blind",
        "race/metres/a/b/explore",
        "learner/gradient_norm_q2",
    ],
)
def test_a_name_that_is_not_declared_raises(name: str) -> None:
    with pytest.raises(ValueError, match=f"the metric {name} is not declared"):
        METRICS.resolve(name)


@pytest.mark.parametrize(
    "labels", [{"map": "loop"}, {"map": "loop", "kind": "blind"}, {"map": "a", "kind": "x", "l": 1}]
)
def test_places_are_filled_with_what_belongs_there(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be filled|is not one of"):
        METRICS.name("race/metres/{map}/{kind}", **labels)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([declared("a/b"), declared("a/b", ray="c")], "declared twice"),
        ([declared("a/{b}"), declared("a/c", ray="c")], "a/c may be any of"),
        ([declared("a/x_{b}"), declared("a/x_{c:y|z}_w", ray="c")], "may be any of"),
        ([declared("a/b"), declared("a/c", ray="a_b")], "have the name tmrl_a_b for Ray"),
        ([declared("a/b", rate_of="a/c")], "which is no counter"),
        ([declared("a/b", rate_of="a/c"), declared("a/c")], "which is no counter"),
    ],
)
def test_declarations_that_can_be_mistaken_are_refused(metrics: list[Metric], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Registry(metrics)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "A/b"},
        {"name": "a b"},
        {"name": "a", "help": "no sentence"},
        {"name": "a", "kind": Kind.HISTOGRAM},
        {"name": "a", "bounds": (1.0, 2.0)},
        {"name": "a", "kind": Kind.HISTOGRAM, "bounds": (2.0, 1.0)},
        {"name": "a", "kind": Kind.HISTOGRAM, "bounds": (0.0, 1.0)},
    ],
)
def test_a_wrong_declaration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is no name|sentences|bounds"):
        declared(**wrong)  # type: ignore[arg-type]
