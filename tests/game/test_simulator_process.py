"""The simulator as a process of its own, started, hung, killed and started again as a collector would."""

import os
import signal

import psutil
import pytest

from tmrl_ray.config.game import GameSettings, Patience
from tmrl_ray.errors import GameGoneError, GameHungError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.launch import simulator_launch
from tmrl_ray.game.supervisor import GameSupervisor

GAS = Inputs(accelerate=True)


def drive(game, until_ms):
    game.load_map("oval")
    moment = game.start_race()
    while moment.race_time_ms < until_ms:
        moment = game.step(GAS)
    return moment


@pytest.mark.slow
def test_a_simulator_that_hangs_and_one_that_dies_are_replaced(tmp_path):
    launch = simulator_launch(None, "--fault", "hang@1000")
    settings = GameSettings(frame_size=(16, 16))
    with GameSupervisor(launch, settings, patience=Patience(answer_s=5), state_dir=tmp_path) as supervisor:
        hanging = drive(supervisor.game(), 950)
        assert hanging.state.position.any() and hanging.frame.std() > 1
        first = supervisor._process.record.process.pid
        with pytest.raises(GameHungError) as hung:
            supervisor.game().step(GAS)
        supervisor.lost(hung.value)
        assert not psutil.pid_exists(first)

        again = drive(supervisor.game(), 950)
        assert again.state == hanging.state, "the same inputs lead to the same state in another process"
        os.kill(supervisor._process.record.process.pid, signal.SIGKILL)
        with pytest.raises(GameGoneError):
            supervisor.game().step(GAS)
    assert list(tmp_path.glob("*.game.json")) == []
    assert supervisor.losses == 1
