"""Tables and functions inside a tick, made of the four operations only.

The results of ``sin`` or ``exp`` differ between systems in the last bit, and a race is a long time for a bit to grow.
"""

from __future__ import annotations

from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.track import Floats


@inlined
def interpolate(table: Floats, x: float) -> float:
    """Return the piecewise linear value at ``x`` of ``table`` (rows, 2), constant beyond its ends."""
    rows = table.shape[0]
    if x <= table[0, 0]:
        return float(table[0, 1])
    for row in range(1, rows):
        if x < table[row, 0]:
            share = (x - table[row - 1, 0]) / (table[row, 0] - table[row - 1, 0])
            return float(table[row - 1, 1] + (table[row, 1] - table[row - 1, 1]) * share)
    return float(table[rows - 1, 1])


@inlined
def step_value(table: Floats, x: float) -> float:
    """Return the value of the last row of ``table`` (rows, 2) that begins at or before ``x``."""
    value = table[0, 1]
    for row in range(1, table.shape[0]):
        if x < table[row, 0]:
            break
        value = table[row, 1]
    return float(value)


@inlined
def quarter_sine(x: float) -> float:
    """Return sin(x * pi / 2) for x in 0..1 to within 2e-6, by its series."""
    square = x * x
    return x * (
        1.5707963267948966
        - square
        * (
            0.6459640975062462
            - square * (0.07969262624616703 - square * (0.004681754135318687 - square * 0.00016044118478735982))
        )
    )
