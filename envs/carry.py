"""Carry: bring a load that hangs from the tool to a goal and stop it there without a swing.

The arm moves sideways; the policy commands how fast its set-point goes.  Every change of speed
makes the load swing, at a frequency of about sqrt(g / length).  A motion that fits this frequency
cancels the swing that it has excited, as input shaping does in cranes (Singer and Seering 1990).
No camera looks at the load while it is carried: the motion must fit a load that the policy knows
only from its adaptation episodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarobot.envs.family import ActionScale, ObservationElement
from metarobot.envs.physics import set_body_mass, set_body_position, set_joint_losses
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

GRAVITY_M_PER_S2 = 9.81
SWINGS = ("swing_x", "swing_y")

SPEED_MAX_M_PER_S = 1.10
"""Speed of the set-point at action +1; it stands still at -1."""
SPEED = ActionScale("speed of the set-point", "m/s", 0.0, SPEED_MAX_M_PER_S)
MOVE_STEPS = 11
"""Control steps of the move: the time available."""

GOAL_DISTANCE_M = (0.40, 0.60)
"""Distance of the goal from the tool's place at the start, drawn uniformly."""
START_SWING_RAD = 0.01
"""Greatest initial angle of the rod about each axis of its joint."""

SWING_SCALE_M_PER_S, PATH_SCALE_M = 0.10, 0.04
"""Residual swing speed of the load and distance of the tool from the goal that each cost 1."""
TIME_COST = 0.1
"""Cost of a set-point that never leaves the start."""
SWING_TOLERANCE_M_PER_S, PATH_TOLERANCE_M = 0.10, 0.03

LOAD_DENSITY_KG_PER_M3 = 4500
"""Density of the load as drawn; affects pictures only."""

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="rod_length_m",
            unit="m",
            description="length of the rod that the load hangs from",
            nominal=0.25,
            train=(0.13, 0.43),
            gaps=((0.165, 0.19), (0.29, 0.33)),
            extrapolation=((0.115, 0.13), (0.43, 0.46)),
            allowed=(0.08, 0.48),
            log_uniform=True,
        ),
        TaskParameter(
            name="load_mass_kg",
            unit="kg",
            description="load mass",
            nominal=0.8,
            train=(0.3, 2.0),
            gaps=((0.45, 0.6), (1.1, 1.4)),
            extrapolation=((0.2, 0.3), (2.0, 2.6)),
            allowed=(0.05, 4.0),
            log_uniform=True,
        ),
        TaskParameter(
            name="swing_damping_nms_per_rad",
            unit="N m s/rad",
            description="damping of the swing",
            nominal=0.005,
            train=(0.002, 0.015),
            allowed=(0.0, 0.1),
        ),
    )
)


def miss_cost(swing_m_per_s: np.ndarray, off_m: np.ndarray) -> np.ndarray:
    """Return the cost of a load that still swings, and of a tool that is off the goal.

    It is a parabola near zero and grows with the logarithm far away, as does the time to wait until
    a swing has died out.  Both arguments are absolute values of quantities that are about linear in
    the commanded speeds, so the cost has one optimum.
    """
    square = (swing_m_per_s / SWING_SCALE_M_PER_S) ** 2 + (off_m / PATH_SCALE_M) ** 2
    return np.log1p(square) / 2


class CarryVectorEnv(TaskVectorEnv):
    """The Carry family as one batch.

    Action: 1 element, the speed of the set-point along the path, 0 at -1 to 1.1 m/s at +1.  The
    set-point stands still in the last control step.

    Reward, in the last control step, which waits until the tool has come to rest: minus the cost
    of the swing that is left and of the distance between tool and goal, and minus 0.1 times the
    mean square of the share of the path that was left to go after each step of the move.

    Success: the load swings by less than 0.10 m/s, within 3 cm of the goal.

    Observation:

    {observation_table}
    """

    family = "Carry"
    scene_path = Path(__file__).parent / "carry.xml"
    distribution = DISTRIBUTION
    push_body = "load"
    heat_map_axes = ("rod_length_m", "load_mass_kg")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("goal - set-point of the tool, y", "m", -0.3, 0.6, "goal, set-point"),
        ObservationElement("speed commanded last, as an action", "1", -1.0, 1.0, "last action"),
    )
    action_elements = ("speed of the set-point",)
    action_scales = (SPEED,)
    default_horizon = MOVE_STEPS + 1
    timestep_s = 0.004
    substeps = 22
    settle_steps = 4
    start_size = 3

    def _bind(self) -> None:
        self._goal = self.batch.bind("mocap_pos")[:, 0]
        self._y = self.model.actuator("y").id
        self._angles = [self.model.joint(joint).qposadr[0] for joint in SWINGS]
        self._distance_m = np.ones(self.num_envs)  # from the start to the goal
        self._time_lost = np.zeros(self.num_envs)  # squared share of the path to go, summed
        self._last_action = np.full(self.num_envs, -1.0)

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "load", tasks["load_mass_kg"])
        set_body_position(self.batch, "load", 2, tasks["rod_length_m"])
        nominal = self.model.joint(SWINGS[0]).damping[0]
        ratio = tasks["swing_damping_nms_per_rad"] / nominal
        set_joint_losses(self.batch, SWINGS, np.zeros((self.num_envs, len(SWINGS))), ratio)

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Let the load hang, almost still, and place the goal along the path."""
        self._qpos[ids[:, None], self._angles] = (2 * start[:, :2] - 1) * START_SWING_RAD
        near, far = GOAL_DISTANCE_M
        self._distance_m[ids] = near + (far - near) * start[:, 2]
        self._goal[ids, 1] = self._act[ids, self._y] + self._distance_m[ids]
        self._time_lost[ids] = 0.0
        self._last_action[ids] = -1.0

    def _command(self, actions: np.ndarray) -> None:
        moving = self._elapsed < self.horizon - 1
        self._ctrl[:, self._y] = np.where(moving, SPEED.value(actions[:, 0]), 0.0)
        self._last_action = actions[:, 0]

    def _observe(self) -> np.ndarray:
        share = self._elapsed / self.horizon
        return np.stack([share, self._to_go_m(), self._last_action], axis=1)

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at_rest = self._elapsed >= self.horizon
        self._time_lost += np.where(at_rest, 0.0, (self._to_go_m() / self._distance_m) ** 2)
        swing_m_per_s = self._swing_m_per_s()
        off_m = np.hypot(*(self._sensor("tool_position") - self._goal)[:, :2].T)  # of the tool
        cost = miss_cost(swing_m_per_s, off_m)
        cost += TIME_COST * self._time_lost / max(self.horizon - 1, 1)
        success = (swing_m_per_s < SWING_TOLERANCE_M_PER_S) & (off_m < PATH_TOLERANCE_M)
        return np.where(at_rest, -cost, 0.0), at_rest & success

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return whether the load is calm, swings, or the tool is off its path."""
        if success:
            return "load calm"
        swing_m_per_s = self._swing_m_per_s()[sim]
        if swing_m_per_s >= SWING_TOLERANCE_M_PER_S:
            return f"load swings at {swing_m_per_s:.2g} m/s"
        return "tool off its path"

    def _to_go_m(self) -> np.ndarray:
        """Return the distance from the set-point to the goal along the path in m, (num_envs,)."""
        return self._goal[:, 1] - self._act[:, self._y]

    def _swing_m_per_s(self) -> np.ndarray:
        """Return the speed of the load at its lowest, which is its energy of swing, (num_envs,).

        E / m = v^2 / 2 + g h, relative to the tool, and sqrt(2 E / m) is v at h = 0.
        """
        hang_m = self._sensor("tool_position") - self._sensor("load_position")
        velocity = self._sensor("load_velocity") - self._sensor("tool_velocity")
        height_m = np.sqrt((hang_m**2).sum(axis=1)) - hang_m[:, 2]
        square = (velocity**2).sum(axis=1) + 2 * GRAVITY_M_PER_S2 * height_m
        return np.sqrt(np.maximum(square, 0.0))  # rounding must not make it negative

    def _paint(self, sim: int, model: Any) -> None:
        """Draw the rod length and the load size of the task."""
        length_m, mass_kg = model.body("load").pos[2], model.body("load").mass[0]
        model.geom("rod").size[1] = model.geom("rod").pos[2] = length_m / 2
        volume_m3 = mass_kg / LOAD_DENSITY_KG_PER_M3
        model.geom("load").size[0] = (volume_m3 * 3 / (4 * np.pi)) ** (1 / 3)
