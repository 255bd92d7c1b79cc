"""The car against the measured figures of the real one; the road of each manoeuvre is said in ``manoeuvres``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tmrl_ray.simulator import manoeuvres
from tmrl_ray.simulator.calibrate import (
    FIGURES,
    FREE_CONSTANTS,
    YAW_RAD_PER_S,
    Figure,
    fit,
    launch_rmse_kmh,
    misfit,
    nelder_mead,
    report,
)
from tmrl_ray.simulator.tuning import CarTuning

TUNING = CarTuning()
ARRAYS = TUNING.arrays


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_each_measured_figure_is_met(figure: Figure) -> None:
    (row,) = report(TUNING, [figure])
    assert row.within, f"{row.simulated:.3f} {row.unit}, measured {row.measured} +- {row.tolerance:.3f}"


def test_launch_follows_the_measured_curve_over_the_descent_and_the_shift() -> None:
    assert launch_rmse_kmh(ARRAYS) < 1.5


def test_coasting_is_within_six_percent_of_both_measured_values() -> None:
    coasting = manoeuvres.coasting_mps2(ARRAYS, 345.0)
    assert coasting == pytest.approx(-30.6, rel=0.06)
    assert coasting == pytest.approx(-31.6, rel=0.06)


def test_half_a_second_of_brake_takes_the_measured_speed() -> None:
    lost = 145.8 - manoeuvres.braking_kmh(ARRAYS, 145.8, 0.5)
    assert lost == pytest.approx(145.8 - 74.1, rel=0.05)


@pytest.mark.parametrize("speed_kmh", YAW_RAD_PER_S)
def test_steady_turn_is_symmetric(speed_kmh: int) -> None:
    left = manoeuvres.full_lock(ARRAYS, speed_kmh, steer=-1.0)
    right = manoeuvres.full_lock(ARRAYS, speed_kmh, steer=1.0)
    assert left[manoeuvres.TURNING_RATE] == -right[manoeuvres.TURNING_RATE]


def test_full_lock_holds_at_380_kmh_and_not_at_450() -> None:
    assert 380.0 <= manoeuvres.slide_onset_kmh(ARRAYS) <= 450.0


def test_fit_finds_a_constant_that_was_moved() -> None:
    moved = TUNING.replace(engine_drag_per_mps=0.2)
    coasting = [figure for figure in FIGURES if figure.name.startswith("coasting")]
    fitted = fit(moved, names=["engine_drag_per_mps"], figures=coasting, evaluations=40)
    assert misfit(moved, coasting) > 10.0
    assert misfit(fitted, coasting) < 1e-4
    assert fitted.engine_drag_per_mps == pytest.approx(0.314, rel=0.02)


def test_shipped_constants_are_near_a_fit() -> None:
    nearby = {name: getattr(TUNING, name) * 1.1 for name in FREE_CONSTANTS}
    assert misfit(TUNING) < misfit(TUNING.replace(**nearby))


def test_simplex_finds_the_bottom_of_a_narrow_valley() -> None:
    def valley(point: np.ndarray) -> float:
        return float((point[0] - 3.0) ** 2 + 50.0 * (point[1] + 2.0 - 0.5 * point[0]) ** 2)

    found = nelder_mead(valley, np.zeros(2), step=0.5, evaluations=300)
    np.testing.assert_allclose(found, [3.0, -0.5], atol=1e-4)


def test_simplex_keeps_to_its_evaluations() -> None:
    calls = []

    def count(point: np.ndarray) -> float:
        calls.append(point)
        return float((point**2).sum())

    nelder_mead(count, np.full(3, 5.0), step=1.0, evaluations=31)
    assert 31 <= len(calls) <= 31 + 5


def test_tuning_goes_through_json_unchanged() -> None:
    again = CarTuning.model_validate_json(TUNING.model_dump_json())
    assert again == TUNING
    assert again.arrays.tobytes() == ARRAYS.tobytes()


def test_table_with_falling_speeds_is_refused() -> None:
    with pytest.raises(ValidationError, match="rising speeds"):
        CarTuning(grip_cap=((0.0, 80.0), (200.0, 75.0), (100.0, 70.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift_down": (0.9, 0.57, 0.55, 0.6)}, "gear 2 shifts down"),
        ({"adherence_none": 0.8}, "adherence_none = 0.8 must be below"),
        ({"suspension_stop_m": 0.3}, "suspension_stop_m = 0.3 must be below"),
        ({"gear_ratios": (370.0, 220.0)}, "gear_ratios"),
        ({"brake_limit": -1.0}, "brake_limit"),
    ],
)
def test_impossible_cars_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TUNING.replace(**changes)


def test_arrays_keep_the_numbers_of_the_fields() -> None:
    assert float(ARRAYS["brake_base"]) == TUNING.brake_base
    np.testing.assert_array_equal(ARRAYS["steer_force"], TUNING.steer_force)
    assert ARRAYS["materials"][2].tolist() == [0.5, 0.4, 0.05, 0.15, TUNING.grass.bump_m]
