"""PointNavigation: move a point to a hidden goal in the plane, as in the meta-RL literature.

The smallest task of the literature: the state is a position, the action a velocity, and only the
reward depends on the goal.  The policy must find the goal by exploring, and go there.

Source: Finn et al. 2017, arXiv:1703.03400, section 5.3; ``point_env_randgoal.py`` of its code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarobot.envs.family import ObservationElement
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

MAX_STEP_M = 0.1
"""Way along each axis in a control step at an action of 1."""
START_SPREAD_M = 0.005
"""Greatest initial offset from the origin, along each axis."""
REACHED_M = 0.01
"""An episode ends where the goal is nearer than this along both axes."""
GOAL_TOLERANCE_M = 0.05
"""Success needs a distance below this at the end."""


def _goal(axis: str, nominal: float) -> TaskParameter:
    return TaskParameter(
        name=f"goal_{axis}_m",
        unit="m",
        description=f"goal, {axis}",
        nominal=nominal,
        train=(-0.5, 0.5),
        extrapolation=((-0.7, -0.5), (0.5, 0.7)),
        allowed=(-1.0, 1.0),
    )


DISTRIBUTION = TaskDistribution((_goal("x", 0.4), _goal("y", 0.2)))


class PointNavigationVectorEnv(TaskVectorEnv):
    """The point's family as one batch.

    Action: 2 elements, the velocity along x and y, 0.1 m per control step at 1.

    Reward, per control step: minus the distance between point and goal in m.

    End: the goal is less than 1 cm away along both axes.

    Success: the point ends within 5 cm of the goal.

    Observation:

    {observation_table}
    """

    family = "PointNavigation"
    scene_path = Path(__file__).parent / "point_navigation.xml"
    distribution = DISTRIBUTION
    heat_map_axes = ("goal_x_m", "goal_y_m")
    observation_elements = (
        ObservationElement("position, x", "m", -1.0, 1.0, "joint x"),
        ObservationElement("position, y", "m", -1.0, 1.0, "joint y"),
    )
    action_elements = ("velocity x", "velocity y")
    default_horizon = 100
    timestep_s = 0.1
    substeps = 1
    start_size = 2

    def _bind(self) -> None:
        self._goal_marker = self.batch.bind("mocap_pos")[:, 0]

    def _apply_tasks(self, tasks: Tasks) -> None:
        self._goal = np.stack([tasks["goal_x_m"], tasks["goal_y_m"]], axis=1)

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        self._qpos[ids] = START_SPREAD_M * (2 * start - 1)
        self._goal_marker[ids, :2] = self._goal[ids]

    def _command(self, actions: np.ndarray) -> None:
        """Set the velocity directly: no force acts on the point, so it keeps this velocity."""
        self._qvel[:] = MAX_STEP_M / self.control_dt_s * actions

    def _observe(self) -> np.ndarray:
        return self._qpos.copy()

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance_m = np.hypot(*(self._qpos - self._goal).T)
        return -distance_m, distance_m < GOAL_TOLERANCE_M

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return how far the point is from its goal."""
        distance_m = np.hypot(*(self._qpos[sim] - self._goal[sim]))
        return "point at the goal" if success else f"point {100 * distance_m:.0f} cm off"

    def _find_finished(self) -> np.ndarray:
        return np.abs(self._qpos - self._goal).max(axis=1) < REACHED_M
