"""Reach without feedback: hold a heavy payload at a goal that was seen once.

The goal is in view, but the tool is seen only when the episode begins, as behind a screen.  A soft
arm sags under its payload, the more the weaker its drive: the set-point must be ahead of the goal
by a distance that no observation within the episode reveals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarobot.envs.family import ObservationElement
from metarobot.envs.physics import set_body_mass, set_drive_strength
from metarobot.envs.reach import DISTRIBUTION as REACH
from metarobot.envs.reach import DRIVES, MAX_SPEED_M_PER_S, ReachVectorEnv
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks

GOAL_TOLERANCE_M = 0.025

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="payload_kg",
            unit="kg",
            description="payload at the tool",
            nominal=1.0,
            train=(0.1, 3.0),
            gaps=((0.7, 1.1), (2.0, 2.4)),
            extrapolation=((3.0, 4.0),),
            allowed=(0.001, 6.0),
        ),
        REACH["drive_strength"],
    )
)


class ReachFeedForwardVectorEnv(ReachVectorEnv):
    """Reach without feedback, as one batch.

    Action and reward are those of :class:`ReachVectorEnv`; the lead of the set-point over the
    tool is unlimited.

    Success: the tool ends within 2.5 cm of the goal.

    Observation:

    {observation_table}
    """

    family = "ReachFeedForward"
    scene_path = Path(__file__).parent / "reach_soft.xml"
    distribution = DISTRIBUTION
    heat_map_axes = ("payload_kg", "drive_strength")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("goal - tool at the start, x", "m", -0.5, 0.5, "goal, tool_position"),
        ObservationElement("goal - tool at the start, y", "m", -0.5, 0.5, "goal, tool_position"),
        ObservationElement("goal - tool at the start, z", "m", -0.5, 0.5, "goal, tool_position"),
        ObservationElement("set-point - tool at the start, x", "m", -0.5, 0.5, "activation of x"),
        ObservationElement("set-point - tool at the start, y", "m", -0.5, 0.5, "activation of y"),
        ObservationElement("set-point - tool at the start, z", "m", -0.5, 0.5, "activation of z"),
    )
    default_horizon = 30
    goal_tolerance_m = GOAL_TOLERANCE_M

    def _bind(self) -> None:
        super()._bind()
        self._start_tool = np.zeros((self.num_envs, 3))

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "payload", tasks["payload_kg"])
        set_drive_strength(self.batch, DRIVES, tasks["drive_strength"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Draw a posture near home and a goal around it, and take the one look at the tool."""
        super()._start(ids, start)
        self._start_tool[ids] = self._tool[ids]

    def _command(self, actions: np.ndarray) -> None:
        self._ctrl[:, self._axes] = MAX_SPEED_M_PER_S * actions

    def _observe(self) -> np.ndarray:
        elapsed = self._elapsed[:, None] / self.horizon
        goal = self._goal - self._start_tool
        setpoint = self._act[:, self._axes_act] - self._start_tool
        return np.concatenate([elapsed, goal, setpoint], axis=1)
