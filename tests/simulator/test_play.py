"""Playing in a window, with SDL's dummy display and keys that the test presses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.simulator.flat_track import flat_track
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.scripts import parse_script
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.play import Player, PlaySettings, play

pygame = pytest.importorskip("pygame", reason="the extra 'play' is not installed")

SIZE = (96, 72)


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")


@pytest.fixture
def player() -> Iterator[Player]:
    player = Player(pygame, flat_track((9.0,)), PlaySettings(size=SIZE))
    yield player
    player.close()


def press(key: int, *, up: bool = False) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYUP if up else pygame.KEYDOWN, key=key))


def skip_countdown(player: Player) -> None:
    while player.race.race_time_ms < 0:
        player.race.tick()


def test_pictures_follow_the_clock_on_the_wall(player: Player) -> None:
    shown = []
    for picture in player.pictures():
        shown.append((player.race.race_time_ms, picture.copy()))
        if len(shown) == 13:
            press(pygame.K_ESCAPE)
    assert len(shown) == 13
    assert shown[0][1].shape == (72, 96, 4)
    assert 30 <= shown[-1][0] - shown[0][0] <= 12 * 80  # at 60 pictures a second 200 ms; a busy machine takes longer


def test_keys_drive_restart_and_change_the_camera(player: Player) -> None:
    skip_countdown(player)
    press(pygame.K_UP)
    press(pygame.K_a)
    press(pygame.K_c)
    for count, _ in enumerate(player.pictures()):
        if count == 4:
            assert (player.race.inputs.accelerate, player.race.inputs.left, player.race.inputs.right) == (
                True,
                True,
                False,
            )
            assert player.camera == 3
            press(pygame.K_a, up=True)
            press(pygame.K_DOWN)
        if count == 8:
            assert (player.race.inputs.left, player.race.inputs.brake) == (False, True)
            pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
        if count == 12:
            assert not any(player.race.inputs[:4])
            press(pygame.K_r)
        if count == 13:
            assert player.race.race_time_ms < -2000
            pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert count == 13


def test_enter_respawns_behind_the_last_gate(player: Player) -> None:
    skip_countdown(player)
    race = player.race
    press(pygame.K_UP)
    for _ in player.pictures():
        for _ in range(30):
            race.tick()
        if race.finished:
            break
    press(pygame.K_RETURN)
    next(player.pictures())
    assert race.car[cs.POSITION + 2] == pytest.approx(11.0, abs=0.5)
    assert np.abs(race.car[cs.VELOCITY : cs.VELOCITY + 3]).max() < 3


def test_instruments_tell_speed_gear_time_and_finish(player: Player) -> None:
    assert "-2.60 s   checkpoint 0/1" in player.instruments()[1]
    player.race.car[cs.VELOCITY + 2] = 50.0
    player.race.car[cs.GEAR] = 3
    assert player.instruments()[0].split() == ["180", "km/h", "gear", "3"]
    player.race.end()
    assert any(line.startswith("FINISH") for line in player.instruments())


def test_the_fastest_race_and_the_video_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PlaySettings(size=SIZE, script=tmp_path / "inputs.txt", video=tmp_path / "race.mp4")
    original = Player.pictures

    def impatient(player: Player) -> Iterator[np.ndarray]:
        """Hold the accelerator and let time pass faster until the finish."""
        skip_countdown(player)
        press(pygame.K_UP)
        for count, picture in enumerate(original(player)):
            for _ in range(5 if count else 0):
                player._tick()
            if player.finish_times_s:
                press(pygame.K_ESCAPE)
            yield picture

    monkeypatch.setattr(Player, "pictures", impatient)
    played = play(flat_track((9.0,)), settings)
    times = played.finish_times_s
    assert sorted(played.written) == [settings.script, settings.video]
    assert len(times) == 1
    assert 0.5 < times[0] < 5
    timeline = parse_script(settings.script.read_text())
    assert timeline.at(500).accelerate
    with av.open(str(settings.video)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5


def test_no_script_is_written_where_nothing_was_pressed(tmp_path: Path) -> None:
    settings = PlaySettings(size=SIZE, script=tmp_path / "inputs.txt")
    player = Player(pygame, flat_track((9.0,)), settings)
    player.close()
    assert player.written == []
    assert list(tmp_path.iterdir()) == []


def test_files_are_checked_before_the_window_opens(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"ends in \.mp4"):
        play(flat_track(), PlaySettings(size=SIZE, video=tmp_path / "race.avi"))


def test_missing_pygame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'tmrl_ray\[play\]'"):
        play(flat_track(), PlaySettings())


def test_no_display_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(InvalidInputError, match="No window can be opened"):
        play(flat_track(), PlaySettings(size=SIZE))
