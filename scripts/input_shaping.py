"""Motions that leave a load hanging still if its rod is as long as they assume.

The set-point goes at one speed v_k in each control step.  A change of speed at time t leaves a
swing that turns at ω = sqrt(g / length), so what is left at the end is linear in the speeds:
Σ_k v_k (exp(iω t_k) - exp(iω t_k+1)).  Where it is 0 the swing is taken out.

Source: Singer and Seering 1990, "Preshaping command inputs to reduce system vibration".
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

from metarobot.envs.carry import (
    GRAVITY_M_PER_S2,
    MOVE_STEPS,
    PATH_SCALE_M,
    SPEED_MAX_M_PER_S,
    SWING_SCALE_M_PER_S,
    TIME_COST,
)


def shaped_speeds(
    lengths_m: np.ndarray, distance_m: float, control_dt_s: float, move_steps: int = MOVE_STEPS
) -> np.ndarray:
    """Return the speeds of the move that leave least swing, averaged over rods, (move_steps,).

    Least squares of the swing left, of the distance missed and of the path to go after each step,
    within the greatest speed: what Carry charges for, as far as it is a parabola.

    Args:
        lengths_m: Lengths that the rod may have; one for the sharpest shaper.
        distance_m: Distance to the goal.
        control_dt_s: Duration of a control step.
        move_steps: Control steps of the move.
    """
    swing = _swing_rows(np.atleast_1d(lengths_m), control_dt_s, move_steps) / SWING_SCALE_M_PER_S
    path = np.full((1, move_steps), control_dt_s / PATH_SCALE_M)
    share = np.tri(move_steps) * control_dt_s / distance_m  # of the path, gone after each step
    time = share * np.sqrt(2 * TIME_COST / move_steps)
    wanted = [np.zeros(len(swing)), [distance_m / PATH_SCALE_M], time[-1] / share[-1]]
    rows = np.concatenate([swing, path, time])
    return lsq_linear(rows, np.concatenate(wanted), (0.0, SPEED_MAX_M_PER_S)).x


def _swing_rows(lengths_m: np.ndarray, control_dt_s: float, move_steps: int) -> np.ndarray:
    """Return two rows a length whose squares sum to the mean square of the swing left, m/s."""
    angles = np.sqrt(GRAVITY_M_PER_S2 / lengths_m)[:, None] * control_dt_s
    turned = np.exp(1j * angles * np.arange(move_steps + 1))
    left = (turned[:, :-1] - turned[:, 1:]) / np.sqrt(len(lengths_m))
    return np.concatenate([left.real, left.imag])
