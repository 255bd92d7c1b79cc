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
from tmrl_ray.experiments.claims import CLAIMS, Estimate, Finding, Study, findings

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


def test_intervals_are_students() -> None:
    """By hand: mean 2, standard deviation 1, and 4.303 / sqrt(3) for two degrees of freedom."""
    estimate = Estimate({5: 1.0, 7: 2.0, 11: 3.0})
    assert estimate.mean == 2.0
    assert estimate.interval == pytest.approx((2 - 2.4843, 2 + 2.4843), abs=1e-3)
    assert Estimate({5: 1.0}).interval is None


def test_arms_are_paired_by_seed(study: Study, workshop: Workshop) -> None:
    for seed, shift in zip(SEEDS, (0.0, 10.0, 20.0), strict=True):
        keep_stage(workshop, Arm("bc/v1.1", seed), best_epoch=10 + seed, val_loss=(1.0 + shift, 1.25 * (1.0 + shift)))
    loss, epoch = found(study, workshop, "P5")
    assert loss.right.values == pytest.approx([0.25, 0.25, 0.25])
    assert (loss.verdict, epoch.verdict) == ("holds", "holds")
    assert epoch.right.by_seed == {1: 11.0, 2: 12.0, 3: 13.0}
    last, _, _ = found(study, workshop, "P4")
    assert last.verdict == "no result"


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
    assert finding.verdict == "holds"


def test_figures_of_trainings_and_of_races(study: Study, workshop: Workshop) -> None:
    for name, loss in (("from cloning", 3.0), ("from scratch", 2.0), ("from cloning legacy", 900.0)):
        keep_training(
            workshop, study.arms[name].arm(2), [{"other": 1.0}, {"learner/loss": loss}, {"learner/loss": 7.0}]
        )
    (start,) = found(study, workshop, "P13")
    assert (start.right.by_seed, start.legacy and start.legacy.by_seed) == ({2: 1.5}, {2: 450.0})
    for name in ("network driving", "network driving without history"):
        keep_stage(workshop, study.arms[name].arm(2), val_acc=(0.5, 0.5))
    (drives,) = found(study, workshop, "P10 drives")
    assert drives.right.by_seed == {2: 0.0}


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


def test_the_table_is_rebuilt_from_what_is_kept(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in SEEDS:
        keep_stage(workshop, Arm("bc/v1.1", seed), best_epoch=40, val_loss=(1.0, 1.1))
    places = ["--folder", str(FOLDER), "--results", str(tmp_path / "runs"), "--data", str(tmp_path / "races")]
    command = ["experiment", "study", "P5", "P8", "--scale", "simulator", *places, "--table"]
    assert run([*command, "--csv", str(tmp_path / "values.csv")]) == 0
    told = capsys.readouterr().out
    assert "+10.0 % [+10.0 %, +10.0 %], n=3" in told
    assert "not reproduced:\n  P5 epoch: the best epoch comes early" in told
    assert "6 of 9 arms and seeds are still to be run" in told
    rows = list(csv.reader((tmp_path / "values.csv").open()))
    assert rows[:2] == [["claim", "setting", "seed", "value"], ["P5 loss", "right", "1", str(0.10000000000000009)]]
    assert run([*command, "--json"]) == 0
    assert [each["verdict"] for each in json.loads(capsys.readouterr().out)][:2] == ["holds", "does not hold"]
    assert run([*command, "--seeds", "1,x"]) == 2
