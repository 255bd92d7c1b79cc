from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.experiments.kept import keep, keep_stage, keep_training
from tmrl_ray.cli import run
from tmrl_ray.errors import ConfigError
from tmrl_ray.experiments.arms import Arm, Workshop
from tmrl_ray.experiments.catalogue import Catalogue
from tmrl_ray.experiments.claims import CLAIMS, Finding, Study, findings

FOLDER = Path(__file__).parents[2] / "configs" / "experiments"
SEEDS = (1, 2, 3)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(Catalogue(FOLDER), "simulator", results=tmp_path / "runs", races=tmp_path / "races")


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.read(FOLDER / CLAIMS)


def found(study: Study, workshop: Workshop, *ids: str) -> list[Finding]:
    return findings(study, study.chosen(ids), workshop, SEEDS)


def test_every_arm_of_the_study_has_settings_that_fit(study: Study, workshop: Workshop) -> None:
    arms = study.arms_of(study.claims, SEEDS)
    assert {arm.name for arm in arms if arm.seed == 1} == {arm.name for arm in arms if arm.seed == 3}
    for arm in arms[: len(arms) // len(SEEDS)]:
        workshop.config(arm)
    protocols = {claim.id.split()[0] for claim in study.claims}
    assert protocols == {"P4", "P5", "P6", "P7", "P8", "P9", "P10", "P13"}


def test_arms_are_paired_by_seed(study: Study, workshop: Workshop) -> None:
    for seed, shift in zip(SEEDS, (0.0, 10.0, 20.0), strict=True):
        keep_stage(workshop, Arm("bc/v1.1", seed), best_epoch=10 + seed, val_loss=(1.0 + shift, 1.25 * (1.0 + shift)))
    loss, epoch = found(study, workshop, "P5 loss", "P5 epoch")
    assert loss.right.values == pytest.approx([0.25, 0.25, 0.25])
    assert (loss.verdict, epoch.verdict) == ("holds", "holds")
    assert epoch.right.by_seed == {1: 11.0, 2: 12.0, 3: 13.0}
    last, *_ = found(study, workshop, "P4")
    assert (last.verdict, last.legacy_verdict) == ("no result", None)


@pytest.mark.parametrize(
    ("losses", "verdict"), [((1.01, 1.01, 1.01), "does not hold"), ((1.01, 1.05, 1.09), "open"), ((1.5,), "open")]
)
def test_a_claim_that_does_not_reproduce_is_told(
    study: Study, workshop: Workshop, losses: tuple[float, ...], verdict: str
) -> None:
    for seed, last in enumerate(losses, start=1):
        keep_stage(workshop, Arm("bc/v1.1", seed), val_loss=(1.0, last))
    assert found(study, workshop, "P5 loss")[0].verdict == verdict


def test_defects_stand_beside_what_is_right(study: Study, workshop: Workshop) -> None:
    for name, legacy, accuracy in (
        ("bc/v2_next_tick", False, 0.5),
        ("bc/v2_next_tick", True, 0.4),
        ("bc/v2_next_tick_stack3", False, 0.53),
        ("bc/v2_next_tick_stack3", True, 0.4),
    ):
        for seed in SEEDS:
            keep_stage(workshop, Arm(name, seed, legacy), val_acc=(accuracy, 0.0))
    (finding,) = found(study, workshop, "P9 accuracy")
    assert finding.legacy is not None
    assert finding.right.mean == pytest.approx(0.03)
    assert finding.legacy.mean == pytest.approx(0.0)
    assert (finding.verdict, finding.legacy_verdict) == ("holds", "holds")
    assert finding.right.more == 1.0
    assert finding.legacy.more == 0.5


def test_maps_widen_an_interval_that_seeds_make_narrow(study: Study, workshop: Workshop) -> None:
    """The gain is 3 pp on one map and none on the other, which has as many samples, with every seed."""
    for name, accuracies in (("bc/v2_next_tick", (0.5, 0.5)), ("bc/v2_next_tick_stack3", (0.53, 0.5))):
        maps = {f"map-{at}": {"samples": 7.0, "val_acc": each} for at, each in enumerate(accuracies)}
        for seed in SEEDS:
            keep_stage(workshop, Arm(name, seed), val_acc=(sum(accuracies) / 2, 0.0), maps=maps)
    (finding,) = found(study, workshop, "P9 accuracy")
    assert finding.right.over_seeds == pytest.approx((0.015, 0.015))
    assert finding.right.over_maps == finding.right.interval == pytest.approx((0.0, 0.03))
    assert finding.verdict == "open"
    assert finding.right.by_map[1] == pytest.approx({"map-0": 0.03, "map-1": 0.0})
    assert finding.right.interquartile_mean == pytest.approx(0.015)  # of 0, 0, 0, 3, 3 and 3 pp
    assert finding.right.more == pytest.approx(0.75)  # all pairs on one map, half of them on the other


def test_maps_count_by_their_samples(study: Study, workshop: Workshop) -> None:
    """30 samples without a gain and 10 with 4 pp: drawn once each, 1 pp."""
    for name, gain in (("bc/v2_next_tick", 0.0), ("bc/v2_next_tick_stack3", 0.04)):
        maps = {
            "large": {"samples": 30.0, "val_acc": 0.5},
            "small": {"samples": 10.0, "val_acc": 0.5 + gain},
            "odd": {"samples": 5.0, "val_acc": None},
        }
        for seed in SEEDS:
            keep_stage(workshop, Arm(name, seed), val_acc=(0.5 + gain / 4, 0.0), maps=maps)
    (finding,) = found(study, workshop, "P9 accuracy")
    assert finding.right.over_maps == pytest.approx((0.0, 0.04))
    assert finding.right.mean == pytest.approx(0.01)


def test_a_difference_from_nothing_counts_and_a_share_of_nothing_does_not(study: Study, workshop: Workshop) -> None:
    for name, accuracy in (("bc/v2_next_tick", 0.0), ("bc/v2_next_tick_stack3", 0.03)):
        maps = {f"map-{at}": {"samples": 7.0, "val_acc": accuracy} for at in range(2)}
        for seed in SEEDS:
            keep_stage(workshop, Arm(name, seed), val_acc=(accuracy, 0.0), val_loss=(0.0, accuracy), maps=maps)
    gain, loss = found(study, workshop, "P9 accuracy", "P9 loss")
    assert (gain.right.over_seeds, gain.right.over_maps) == ((0.03, 0.03), (0.03, 0.03))
    assert (loss.right.by_seed, loss.verdict) == ({}, "no result")


def test_figures_of_trainings_and_of_races(study: Study, workshop: Workshop) -> None:
    losses = (("from cloning", 3.0), ("from scratch", 2.0), ("from cloning legacy", 900.0))
    for seed in SEEDS:
        for name, loss in losses:
            rows = [{"other": 1.0}, {"learner/loss": loss}, {"learner/loss": 7.0}]
            keep_training(workshop, study.arms[name].arm(seed), rows)
        for name in ("network", "network without history"):
            keep_stage(workshop, study.arms[name].arm(seed), val_acc=(0.5, 0.5))
    (start,) = found(study, workshop, "P13 start")
    assert (start.right.by_seed, start.legacy and start.legacy.by_seed) == (
        dict.fromkeys(SEEDS, 1.5),
        dict.fromkeys(SEEDS, 450.0),
    )
    assert (start.verdict, start.legacy_verdict) == ("holds", "holds")
    seen, _, unseen, _ = found(study, workshop, "P10 finishes", "P10 drives")
    assert (seen.claim.id, unseen.claim.id) == ("P10 finishes train", "P10 finishes held-out")
    assert seen.right.by_seed == unseen.right.by_seed == dict.fromkeys(SEEDS, 0.0)
    assert (seen.right.over_maps, unseen.right.over_maps) == (None, (0.0, 0.0))


def test_recovery_is_half_as_long(study: Study, workshop: Workshop) -> None:
    finished = "evaluation/finish_rate/loop"
    for name, rates in (("recovery", (0.0, 0.0, 0.0, 1.0)), ("recovery with values first", (0.0, 0.5, 0.0, 1.0))):
        keep_training(workshop, study.arms[name].arm(2), [{finished: rate} for rate in rates])
    (recovery,) = found(study, workshop, "P13 recovery")
    assert recovery.right.by_seed == {2: 0.5}
    assert (recovery.verdict, recovery.legacy_verdict) == ("open", "no result")


def test_only_finished_arms_count(study: Study, workshop: Workshop) -> None:
    keep(workshop, Arm("bc/v1.1", 1), ended="stopped")
    assert found(study, workshop, "P5 loss")[0].verdict == "no result"
    keep_stage(workshop, Arm("bc/v1.1", 2), val_acc=(0.5, 0.5))
    with pytest.raises(ConfigError, match=r"has no figure last\.val_loss"):
        found(study, workshop, "P5 loss")


def test_mistakes_in_the_claims_are_told(tmp_path: Path, study: Study) -> None:
    with pytest.raises(ConfigError, match="no claim is called P99, only P4 last epoch"):
        study.chosen(["P99"])
    file = tmp_path / CLAIMS
    file.write_text((FOLDER / CLAIMS).read_text().replace("  linear 01:", "  linear:"))
    with pytest.raises(ConfigError, match="there is no arm 'linear 01'"):
        Study.read(file)
    claim = "{id: P5, says: x, source: y, how: value, expects: {}, right: {of: {arm: a, figure: best_epoch}}"
    file.write_text(f"arms: {{a: {{experiment: bc/v1}}}}\nclaims: [{claim}, legacy_expects: {{at_least: 1.0}}}}]\n")
    with pytest.raises(ConfigError, match="P5: legacy_expects means nothing without legacy"):
        Study.read(file)


def test_the_table_is_rebuilt_from_what_is_kept(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in SEEDS:
        keep_stage(workshop, Arm("bc/v1.1", seed), best_epoch=40, val_loss=(1.0, 1.1))
    places = ["--folder", str(FOLDER), "--results", str(tmp_path / "runs"), "--data", str(tmp_path / "races")]
    for legacy in (False, True):
        for seed in SEEDS:
            keep_stage(workshop, Arm("bc/v2_next_tick", seed, legacy), val_acc=(0.5, 0.0))
            keep_stage(workshop, Arm("bc/v2_next_tick_stack3", seed, legacy), val_acc=(0.53, 0.0))
    command = ["experiment", "study", "P5 loss", "P5 epoch", "P9 accuracy", "--scale", "simulator", *places, "--table"]
    assert run([*command, "--csv", str(tmp_path / "values.csv")]) == 0
    told = capsys.readouterr().out
    assert "+10.0 % [+10.0 %, +10.0 %], n=3" in told
    assert "not reproduced:\n  P5 epoch: the best epoch comes early" in told
    legacy_row = next(line for line in told.splitlines() if line.split()[:1] == ["legacy"])
    assert legacy_row.split("  ")[-1] == "does not hold"
    assert "-1.0 pp to +1.0 pp" in legacy_row
    assert "not reproduced with the defects:\n  P9 accuracy: three pictures" in told
    assert "still to be run" not in told
    rows = list(csv.reader((tmp_path / "values.csv").open()))
    assert rows[:2] == [
        ["claim", "setting", "seed", "map", "value"],
        ["P5 loss", "right", "1", "", str(0.10000000000000009)],
    ]
    assert run([*command, "--json"]) == 0
    loss, epoch, pictures = json.loads(capsys.readouterr().out)
    assert [each["verdict"] for each in (loss, epoch, pictures)] == ["holds", "does not hold", "holds"]
    assert [each["legacy_verdict"] for each in (loss, pictures)] == [None, "does not hold"]
    assert pictures["legacy_expects"] == {"at_least": -0.01, "at_most": 0.01}
    assert pictures["right"]["probability_of_more"] == 1.0
    assert run([*command, "--seeds", "1,x"]) == 2
    assert run([*command, "--seeds", "1,2,3,4"]) == 0
    assert "5 of 20 arms and seeds are still to be run" in capsys.readouterr().out
