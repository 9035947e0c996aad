"""Reach: bring the tool to a goal in view, with a command frame turned by an unknown yaw.

The policy steers the set-point of a Cartesian impedance controller.  Its command frame is turned
about the vertical against the frame that it observes in, as with a base that was calibrated
wrongly, so the same command moves the tool another way in every task.  Payload, joint losses and
drive strength differ as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from metarobot.envs.family import ActionScale, ObservationElement
from metarobot.envs.physics import set_body_mass, set_drive_strength, set_joint_losses
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

JOINTS = tuple(f"joint{index}" for index in range(1, 8))
AXES = ("x", "y", "z")
DRIVES = (*AXES, "rx", "ry", "rz")
WRIST_FRICTION_RATIO = 0.2
"""Dry friction of joints 5 to 7 over that of joints 1 to 4, about as their torque limits."""

MAX_SPEED_M_PER_S = 0.5
"""Set-point speed along each axis at an action of 1."""
MAX_LEAD_M = 0.08
"""The set-point runs at most this far ahead of the tool, along each axis."""
GOAL_RADIUS_M = (0.10, 0.25)
"""Horizontal distance of the goal from the tool's home, drawn uniformly."""
GOAL_HEIGHT_M = 0.10
"""Greatest height of the goal above or below the tool's home."""
START_SPREAD_RAD = 0.05
"""Greatest initial offset of each joint from its home."""
GOAL_TOLERANCE_M = 0.05

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="frame_yaw_rad",
            unit="rad",
            description="yaw of the command frame",
            nominal=0.0,
            train=(-2.5, 2.5),
            gaps=((-1.5, -1.1), (0.5, 0.9)),
            extrapolation=((-np.pi, -2.5), (2.5, np.pi)),
            allowed=(-np.pi, np.pi),
            circular=True,
        ),
        TaskParameter(
            name="payload_kg",
            unit="kg",
            description="payload at the tool",
            nominal=0.5,
            train=(0.1, 2.0),
            gaps=((0.8, 1.1),),
            extrapolation=((2.0, 3.0),),
            allowed=(0.001, 5.0),
        ),
        TaskParameter(
            name="joint_friction_nm",
            unit="N m",
            description="dry friction of joints 1 to 4",
            nominal=0.3,
            train=(0.0, 1.5),
            gaps=((0.6, 0.8),),
            extrapolation=((1.5, 2.2),),
            allowed=(0.0, 10.0),
        ),
        TaskParameter(
            name="joint_damping_ratio",
            unit="1",
            description="viscous joint damping over the nominal",
            nominal=1.0,
            train=(0.5, 2.0),
            gaps=((1.1, 1.3),),
            extrapolation=((2.0, 3.0),),
            allowed=(0.1, 10.0),
        ),
        TaskParameter(
            name="drive_strength",
            unit="1",
            description="force delivered over force commanded",
            nominal=1.0,
            train=(0.7, 1.1),
            gaps=((0.85, 0.92),),
            extrapolation=((0.55, 0.7), (1.1, 1.2)),
            allowed=(0.2, 2.0),
        ),
    )
)


class ReachVectorEnv(TaskVectorEnv):
    """The Reach family as one batch.

    Action: 3 elements, the velocity of the set-point along x, y, z of the command frame, 0.5 m/s
    at 1.

    Reward, per control step: minus the distance between tool and goal, in units of 0.1 m.

    Success: the tool ends within 5 cm of the goal.

    Observation:

    {observation_table}
    """

    family = "Reach"
    scene_path = Path(__file__).parent / "reach.xml"
    elements_by_number = ()
    distribution = DISTRIBUTION
    heat_map_axes = ("payload_kg", "joint_friction_nm")
    observation_elements = (
        ObservationElement("goal - tool, x", "m", -0.5, 0.5, "goal, tool_position"),
        ObservationElement("goal - tool, y", "m", -0.5, 0.5, "goal, tool_position"),
        ObservationElement("goal - tool, z", "m", -0.5, 0.5, "goal, tool_position"),
        ObservationElement("tool, x", "m", 0.1, 0.8, "tool_position"),
        ObservationElement("tool, y", "m", -0.5, 0.5, "tool_position"),
        ObservationElement("tool, z", "m", 0.0, 0.8, "tool_position"),
    )
    action_elements = ("set-point velocity x", "set-point velocity y", "set-point velocity z")
    action_scales = tuple(
        ActionScale(f"set-point velocity {axis}", "m/s", -MAX_SPEED_M_PER_S, MAX_SPEED_M_PER_S)
        for axis in "xyz"
    )
    default_horizon = 40
    timestep_s = 0.004
    substeps = 12
    start_size = 10
    goal_tolerance_m: ClassVar[float] = GOAL_TOLERANCE_M
    push_body = "end_effector"

    def _bind(self) -> None:
        self._joints = np.array([self.model.joint(joint).qposadr[0] for joint in JOINTS])
        axes = [self.model.actuator(axis) for axis in AXES]
        self._axes = np.array([axis.id for axis in axes])
        self._axes_act = np.array([axis.actadr[0] for axis in axes])
        self._goal = self.batch.bind("mocap_pos")[:, self.model.body("goal").mocapid[0]]
        self._tool = self._sensor("tool_position")
        self.batch.reset(keyframe=self._home)
        self._home_tool = self._tool[0].copy()

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "payload", tasks["payload_kg"])
        wrist = np.array([1.0] * 4 + [WRIST_FRICTION_RATIO] * 3)
        friction_nm = tasks["joint_friction_nm"][:, None] * wrist
        set_joint_losses(self.batch, JOINTS, friction_nm, tasks["joint_damping_ratio"])
        set_drive_strength(self.batch, DRIVES, tasks["drive_strength"])
        self._cos, self._sin = np.cos(tasks["frame_yaw_rad"]), np.sin(tasks["frame_yaw_rad"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Draw a posture near home and a goal around it, the set-point where the tool is."""
        self._qpos[ids[:, None], self._joints] += (2 * start[:, :7] - 1) * START_SPREAD_RAD
        near, far = GOAL_RADIUS_M
        radius, angle = near + (far - near) * start[:, 7], 2 * np.pi * start[:, 8]
        height = (2 * start[:, 9] - 1) * GOAL_HEIGHT_M
        offset = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
        self._goal[ids] = self._home_tool + offset
        self._rest_setpoint(ids)

    def _rest_setpoint(self, ids: np.ndarray) -> None:
        """Bring the set-point of simulations ``ids`` to where their tool is."""
        self.batch.forward(ids)
        self._act[ids[:, None], self._axes_act] = self._tool[ids]

    def _command(self, actions: np.ndarray) -> None:
        x, y, z = actions.T
        velocity = np.stack(
            [self._cos * x - self._sin * y, self._sin * x + self._cos * y, z], axis=1
        )
        self._ctrl[:, self._axes] = MAX_SPEED_M_PER_S * velocity
        self._act[:, self._axes_act] = np.clip(
            self._act[:, self._axes_act], self._tool - MAX_LEAD_M, self._tool + MAX_LEAD_M
        )

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._goal - self._tool, self._tool], axis=1)

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance_m = np.linalg.norm(self._goal - self._tool, axis=1)
        return -distance_m / 0.1, distance_m < self.goal_tolerance_m

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return how far the tool is from its goal."""
        distance_m = np.linalg.norm(self._goal[sim] - self._tool[sim])
        return "tool at the goal" if success else f"tool {100 * distance_m:.0f} cm off"
