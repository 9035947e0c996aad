"""Reach with a hidden goal, which shows only in the reward.

The arm and its controller are those of Reach as built; the goal is the task.  The policy sees its
tool and the time, never the goal: it has to search in its adaptation episodes and
remember.
"""

from __future__ import annotations

import numpy as np

from metarobot.envs.family import ObservationElement
from metarobot.envs.reach import DISTRIBUTION as REACH
from metarobot.envs.reach import START_SPREAD_RAD, ReachVectorEnv
from metarobot.envs.tasks import Interval, TaskDistribution, TaskParameter, Tasks


def _goal(axis: str, far_m: float, gap_m: Interval, beyond_m: float) -> TaskParameter:
    """One coordinate of the goal: up to far_m on both sides, both gaps held out."""
    near, end = gap_m
    return TaskParameter(
        name=f"goal_{axis}_m",
        unit="m",
        description=f"goal - home of the tool, {axis}",
        nominal=0.0,
        train=(-far_m, far_m),
        gaps=((-end, -near), (near, end)),
        extrapolation=((-beyond_m, -far_m), (far_m, beyond_m)),
        allowed=(-0.3, 0.3),
    )


DISTRIBUTION = TaskDistribution(
    (
        _goal("x", 0.18, (0.07, 0.11), 0.22),
        _goal("y", 0.22, (0.09, 0.14), 0.28),
        _goal("z", 0.10, (0.04, 0.06), 0.13),
    )
)


class ReachHiddenGoalVectorEnv(ReachVectorEnv):
    """Reach with a hidden goal, as one batch.

    Action, reward and success are those of :class:`ReachVectorEnv`.

    Observation:

    {observation_table}
    """

    family = "ReachHiddenGoal"
    distribution = DISTRIBUTION
    heat_map_axes = ("goal_x_m", "goal_y_m")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("tool, x", "m", 0.1, 0.8, "tool_position"),
        ObservationElement("tool, y", "m", -0.5, 0.5, "tool_position"),
        ObservationElement("tool, z", "m", 0.0, 0.8, "tool_position"),
    )
    start_size = 7

    def _apply_tasks(self, tasks: Tasks) -> None:
        super()._apply_tasks(REACH.nominal(len(tasks)))
        self._goal_offset = np.stack([tasks[f"goal_{axis}_m"] for axis in "xyz"], axis=1)

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Draw a posture near home, and put the task's goal in its place."""
        self._qpos[ids[:, None], self._joints] += (2 * start - 1) * START_SPREAD_RAD
        self._goal[ids] = self._home_tool + self._goal_offset[ids]
        self._rest_setpoint(ids)

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._elapsed[:, None] / self.horizon, self._tool], axis=1)
