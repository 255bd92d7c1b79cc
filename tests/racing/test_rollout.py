"""One race over the seam of a game: what the steps hold, and the ways in which it ends."""

import numpy as np
import pytest

from tests.racing.fake_game import FakeGame, line_from, straight_line
from tmrl_ray.config.race import CutOffSettings, ObservationSettings
from tmrl_ray.errors import GameLostError
from tmrl_ray.racing.actions import BRAKE, COAST, FORWARD, FORWARD_LEFT
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import Term
from tmrl_ray.racing.rollout import Decision, rollout

LAYOUT = ObservationLayout()


class Script:
    """Plays the given actions, then the last one for ever; remembers what it saw."""

    def __init__(self, *actions: int) -> None:
        self.actions = list(actions)
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    def act(self, frame, floats):
        self.seen.append((frame, floats))
        action = self.actions.pop(0) if len(self.actions) > 1 else self.actions[0]
        return Decision(action, greedy=action != BRAKE, q_values=np.full(12, action, dtype=np.float32))


def race_of(policy, length_m=60.0, lost_at_ms=None, **settings):
    line = line_from(straight_line(length_m))
    return rollout(FakeGame(line, lost_at_ms=lost_at_ms), policy, line, **settings)


def test_a_race_to_the_finish():
    policy = Script(FORWARD)
    race = race_of(policy)
    steps = list(race)
    # s = v^2 / 2a: 60 m at 20 m/s2 takes 2.45 s; the toy adds the speed first, so a tick less
    assert race.end.race_time_ms == 2450
    assert (race.end.how, race.end.cut_off, race.end.lost) == ("finish", None, None)
    assert race.end.finish_time_ms == 2450
    assert race.end.split_times_ms == (2450,)
    assert race.end.steps == len(steps) == len(policy.seen) == 49
    assert race.end.metres == pytest.approx(60.0)
    assert race.end.furthest_share == 1.0
    assert race.end.furthest_zone == race.episode.line.last_zone
    assert race.end.wall_s > 0


def test_steps_hold_what_was_seen_and_what_it_led_to():
    policy = Script(FORWARD, BRAKE, COAST)
    steps = list(race_of(policy))
    assert [step.race_time_ms for step in steps] == list(range(0, 50 * len(steps), 50))
    for step, (frame, floats) in zip(steps, policy.seen, strict=True):
        assert step.frame is frame
        assert step.floats is floats
    assert [step.decision.action for step in steps[:3]] == [FORWARD, BRAKE, COAST]
    assert [step.decision.greedy for step in steps[:3]] == [True, False, True]
    assert steps[1].decision.q_values.tolist() == [BRAKE] * 12
    assert len({id(step.floats) for step in steps}) == len(steps)
    keys = [step.floats[LAYOUT.previous_actions][-4:].tolist() for step in steps[:4]]
    assert keys == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_terms_add_up_to_the_race():
    race = race_of(Script(FORWARD))
    terms = np.array([step.terms for step in race])
    assert terms[:, Term.ELAPSED_MS].sum() == race.end.race_time_ms
    assert terms[:-1, Term.ELAPSED_MS].tolist() == [50] * (len(terms) - 1)
    assert terms[:, Term.ADVANCED_M].sum() == pytest.approx(60.0, abs=1e-3)
    assert terms[0, Term.SPEED_GAIN_MPS] == pytest.approx(1.0)


def test_the_last_step_lasts_only_up_to_the_finish():
    race = race_of(Script(FORWARD), length_m=59.0)
    terms = np.array([step.terms for step in race])
    assert race.end.race_time_ms == 2430
    assert terms[-1, Term.ELAPSED_MS] == 30
    assert terms[:, Term.FINISHED].nonzero()[0].tolist() == [len(terms) - 1]


def test_the_last_observation_is_that_of_the_end():
    race = race_of(Script(FORWARD))
    steps = list(race)
    assert race.end.floats[LAYOUT.metres_left] == 0
    assert race.end.floats[LAYOUT.velocity][2] > steps[-1].floats[LAYOUT.velocity][2]
    assert race.end.frame[0, 0] == race.end.race_time_ms // 50


def test_a_car_that_stands_is_given_up_after_two_seconds():
    race = race_of(Script(BRAKE))
    steps = list(race)
    assert (race.end.how, race.end.cut_off, race.end.race_time_ms) == ("cut_off", "stuck", 2000)
    assert len(steps) == 40
    assert race.end.finish_time_ms is None
    assert race.end.split_times_ms == ()


def test_falling_back_is_no_progress():
    """Forwards for 1 s, then the car stands: given up 2 s after its last new zone."""
    race = race_of(Script(*[FORWARD] * 20, BRAKE), cut_offs=CutOffSettings(no_progress_ms=500))
    steps = list(race)
    furthest = max(step.zone for step in steps)
    reached = next(step.race_time_ms for step in steps if step.zone == furthest)
    assert race.end.race_time_ms == reached + 500


def test_a_race_that_lasts_too_long_is_given_up():
    race = race_of(Script(*[FORWARD] * 3, COAST), cut_offs=CutOffSettings(race_ms=3000, no_progress_ms=3000))
    list(race)
    assert (race.end.how, race.end.cut_off, race.end.race_time_ms) == ("cut_off", "time", 3000)


def test_a_lost_game_leaves_the_steps_before():
    race = race_of(Script(FORWARD), lost_at_ms=500)
    steps = list(race)
    assert (race.end.how, race.end.cut_off) == ("lost", None)
    assert isinstance(race.end.lost, GameLostError)
    assert len(steps) == race.end.steps == 10
    assert race.end.race_time_ms == 500
    assert race.end.floats[LAYOUT.velocity][2] == pytest.approx(10.0)
    assert race.end.finish_time_ms is None


def test_a_game_that_is_lost_at_the_start_raises():
    race = race_of(Script(FORWARD))
    race._game.start_race = lambda state: (_ for _ in ()).throw(GameLostError("gone"))
    with pytest.raises(GameLostError, match="gone"):
        next(race)


def test_the_end_is_known_only_at_the_end():
    race = race_of(Script(FORWARD))
    next(race)
    with pytest.raises(RuntimeError, match="has not ended, it is at step 1"):
        _ = race.end


def test_nothing_happens_before_the_first_step():
    line = line_from(straight_line(60.0))
    game = FakeGame(line)
    race = rollout(game, Script(FORWARD), line)
    assert game.started == 0
    with pytest.raises(RuntimeError, match="not begun"):
        race.save()
    next(race)
    assert game.started == 1


def test_a_driver_sees_the_game_instead():
    class Careful:
        def drive(self, moment, progress):
            assert progress.metres <= moment.state.position[2] - 200 + 0.5
            return Decision(FORWARD if moment.state.velocity[2] < 10 else COAST)

    race = race_of(Careful())
    assert max(step.floats[LAYOUT.velocity][2] for step in race) == pytest.approx(10.5, abs=0.6)
    assert race.end.how == "finish"


def test_a_race_goes_on_from_a_saved_state_as_if_it_had_not_stopped():
    actions = [FORWARD] * 4 + [BRAKE, FORWARD_LEFT, COAST, FORWARD] * 3 + [FORWARD]
    whole = race_of(Script(*actions))
    steps = []
    for step in whole:
        steps.append(step)
        if len(steps) == 7:
            saved = whole.save()
    assert saved.race_time_ms == 350
    assert saved.zone == steps[7].zone
    rest = race_of(Script(*actions[7:]), start=saved)
    for one, other in zip(rest, steps[7:], strict=True):
        assert (one.race_time_ms, one.zone) == (other.race_time_ms, other.zone)
        np.testing.assert_array_equal(one.floats, other.floats)
        np.testing.assert_array_equal(one.terms, other.terms)
    assert rest.end.race_time_ms == whole.end.race_time_ms
    assert (rest.end.started_ms, rest.end.from_start_line) == (350, False)
    assert rest.end.finish_time_ms is None


def test_a_gearbox_that_is_busy_when_saved_counts_on():
    whole = race_of(Script(FORWARD))  # standing start up to 2 m/s: two decisions
    next(whole)
    saved = whole.save()
    rest = race_of(Script(FORWARD), start=saved)
    assert saved.gearbox_count == 1
    assert next(rest).floats[LAYOUT.gearbox_count] == 2


def test_other_layouts():
    layout = ObservationLayout(ObservationSettings(way_points=3, previous_actions=0))
    race = race_of(Script(FORWARD), layout=layout)
    assert {step.floats.shape for step in race} == {(27 + 9 + 16 + 1,)}
    assert race.save().previous_actions == ()
