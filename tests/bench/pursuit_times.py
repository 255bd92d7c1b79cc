"""Drives every track with the pursuit driver and prints the file of its times.

python tests/bench/pursuit_times.py > tmrl_ray/racing/data/pursuit_times.yaml
"""

from __future__ import annotations

from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.car_limits import measure_limits
from tmrl_ray.racing.drivers import PursuitDriver
from tmrl_ray.racing.driving_line import centre_line
from tmrl_ray.racing.speed_profile import speed_profile
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track, track_names
from tmrl_ray.simulator.tuning import CarTuning

HEADING = """\
# Times of the pursuit driver on the middle of the road, in seconds. Later drivers are measured against them.
# Made by tests/bench/pursuit_times.py; tests/racing/test_pursuit_times.py drives them again.
times_s:"""


def main() -> None:
    limits = measure_limits(CarTuning())
    game = EmbeddedGame(GameSettings(frame_size=None))
    print(HEADING)
    for name in track_names():
        line = centre_line(load_track(name))
        driver = PursuitDriver(line, speed_profile(line, limits), limits)
        game.load_map(name)
        moment = game.start_race()
        while not moment.finished:
            moment = game.step(driver.choose(moment))
        print(f"  {name}: {moment.race_time_ms / 1000:.2f}")


if __name__ == "__main__":
    main()
