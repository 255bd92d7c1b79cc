from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.kept import keep
from tmrl_ray.config.pretrain import BCConfig
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ConfigError, RunError
from tmrl_ray.experiments.arms import Arm, Workshop
from tmrl_ray.experiments.catalogue import Catalogue
from tmrl_ray.runs.run_files import CONFIG_FILE, LOCK_FILE, RunStatus

FOLDER = Path(__file__).parents[2] / "configs" / "experiments"
HELD_OUT = tuple(f"generated-held-out-{number:02d}" for number in range(10))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(Catalogue(FOLDER), "simulator", results=tmp_path / "runs", races=tmp_path / "races")


def record(workshop: Workshop, name: str) -> None:
    """Make folders as if the races were recorded."""
    for track in [f"generated-train-{number:02d}" for number in range(40)] + list(HELD_OUT):
        for race in ("one", "two"):
            (workshop.races / name / track / race).mkdir(parents=True)


def test_everything_that_is_needed_comes_first(workshop: Workshop) -> None:
    steps = workshop.steps(Arm("rl/vis_bc_pretrained", 7))
    assert [step.words[:2] for step in steps] == [
        ("record", "--tracks"),
        ("pretrain", "visual"),
        ("pretrain", "bc"),
        ("train", "-c"),
    ]
    assert [step.arm.name for step in steps if step.arm] == ["vis/v1", "bc/v1.1", "rl/vis_bc_pretrained"]
    assert all("--serial" in step.words for step in steps)


def test_what_is_there_is_not_made_again(workshop: Workshop) -> None:
    record(workshop, "fps10")
    keep(workshop, Arm("vis/v1", 7))
    (step,) = workshop.steps(Arm("bc/v1", 7))
    assert step.words[:2] == ("pretrain", "bc")
    assert len(workshop.steps(Arm("bc/v1", 8))) == 2
    keep(workshop, Arm("bc/v1", 7), ended="stopped")
    (step,) = workshop.steps(Arm("bc/v1", 7))
    assert step.words[-1] == "--resume"
    (workshop.folder(Arm("bc/v1", 7)) / "status.json").unlink()
    keep(workshop, Arm("bc/v1", 9))
    assert workshop.steps(Arm("bc/v1", 9)) == []  # nobody asks for what a finished one needed


def test_an_arm_says_where_everything_is(workshop: Workshop) -> None:
    config = workshop.config(Arm("bc/v2_multi_offset", 7, legacy=True, label="wide", changes=("dropout=0.5",)))
    assert isinstance(config, BCConfig)
    assert (config.run.folder, config.run.name) == (workshop.results / "bc/v2_multi_offset+legacy+wide", "seed-7")
    assert config.encoder_init_path == workshop.results / "vis/v2+legacy/seed-7"
    assert config.data_dir == workshop.races / "fps10"
    assert config.val_track_ids == HELD_OUT
    assert config.rl_config_path == workshop.results / "agents/baseline.yaml"
    assert (config.seed, config.dropout, config.legacy_first_head) == (7, 0.5, True)
    driven = workshop.config(Arm("rl/baseline", 7, legacy=True))
    assert isinstance(driven, RunConfig)
    assert driven.training.seed == 7
    assert driven.run.folder == workshop.results / "rl/baseline"  # it has no defect, so it is the same run


def test_an_arm_may_learn_from_other_races(workshop: Workshop) -> None:
    arm = Arm("bc/v2", 7, label="fps50", races="fps50")
    config = workshop.config(arm)
    assert isinstance(config, BCConfig)
    assert (config.data_dir, config.val_track_ids) == (workshop.races / "fps50", HELD_OUT[:5])
    assert config.run.folder == workshop.results / "bc/v2+fps50"
    record, seen, _, cloned = workshop.steps(arm)
    assert [record.what, seen.arm] == [f"the races {workshop.races / 'fps10'}", Arm("vis/v2", 7)]  # as it always has
    assert cloned.words[:2] == ("pretrain", "bc")
    with pytest.raises(ConfigError, match="a label"):
        Arm("bc/v2", 7, races="fps50")
    with pytest.raises(ConfigError, match="has no races 'fps51'"):
        workshop.steps(Arm("bc/v2", 7, label="fps51", races="fps51"))
    with pytest.raises(ConfigError, match="rl/baseline learns from no races"):
        workshop.steps(Arm("rl/baseline", 7, label="fps50", races="fps50"))


def test_what_is_changed_to_nothing_is_not_needed(workshop: Workshop) -> None:
    steps = workshop.steps(Arm("bc/v1.1", 7, label="scratch", changes=("encoder_init_path=null",)))
    assert [step.words[0] for step in steps] == ["record", "pretrain"]
    config = workshop.config(steps[-1].arm or Arm("bc/v1.1", 7))
    assert isinstance(config, BCConfig)
    assert config.encoder_init_path is None


def test_its_command_finds_what_it_reads(workshop: Workshop) -> None:
    arm = Arm("bc/v5_multi_offset", 7)
    workshop.prepare(arm)
    config = workshop.config(arm)
    assert isinstance(config, BCConfig)
    assert config.rl_config_path is not None
    from tmrl_ray.config.loading import load_config, load_settings

    agent = load_config(config.rl_config_path)
    assert (agent.observation.previous_actions, agent.game.frame_size) == (25, (48, 48))
    (step,) = [step for step in workshop.steps(arm) if step.arm == arm]
    assert load_settings(BCConfig, Path(step.words[step.words.index("-c") + 1])) == config


def test_one_goes_on_from_a_copy_of_another_run(workshop: Workshop) -> None:
    arm, former = Arm("rl/enc_ah_freeze_resume", 7), Arm("rl/enc_ah_freeze", 7)
    source = keep(workshop, former)
    (source / LOCK_FILE).touch()
    (source / "state").write_text("newest")
    step = workshop.steps(arm)[-1]
    assert step.words[-1] == "--resume"
    workshop.prepare(arm)
    folder = workshop.folder(arm)
    assert (folder / "state").read_text() == "newest"
    assert not (folder / LOCK_FILE).exists()
    assert (RunStatus.read(source).ended, RunStatus.read(folder).ended) == ("finished", None)
    (folder / "state").write_text("newer")
    workshop.prepare(arm)  # after an interruption
    assert (folder / "state").read_text() == "newer"
    assert workshop.steps(arm)[-1].words == step.words


def test_results_of_other_settings_are_never_mixed(workshop: Workshop) -> None:
    folder = keep(workshop, Arm("vis/v1", 7))
    text = (folder / CONFIG_FILE).read_text()
    (folder / CONFIG_FILE).write_text(text.replace("epochs: 15", "epochs: 14"))
    with pytest.raises(RunError, match="was begun with other settings: epochs was 14, is 15"):
        workshop.steps(Arm("vis/v1", 7))
    with pytest.raises(RunError, match="begun with other settings"):
        workshop.steps(Arm("bc/v1", 7))
    for label, changes in ((None, ("epochs=3",)), ("nothing", ())):
        with pytest.raises(ConfigError, match="a label"):
            Arm("vis/v1", 7, label=label, changes=changes)


def test_the_source_s_races_come_from_the_real_game(tmp_path: Path) -> None:
    workshop = Workshop(Catalogue(FOLDER), None, results=tmp_path, races=tmp_path)
    with pytest.raises(ConfigError, match="learns from the races in .*fps10") as error:
        workshop.steps(Arm("vis/v1", 7))
    assert "--scale simulator" in str(error.value)
    (tmp_path / "source/fps10").mkdir(parents=True)
    assert len(workshop.steps(Arm("vis/v1", 7))) == 1
