"""Grip: squeeze a block, lift it, hold it.

The arm carries out a fixed lift; the policy commands the gripper's squeezing force.  Too little and
the block slips out of the fingers, too much and it is crushed: light blocks are fragile.  The best
force is about m (g + a) / (2 mu), and it must be chosen before any slip can be felt: the gripper
feels neither the weight nor the slip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarobot.envs.family import ActionScale, ObservationElement
from metarobot.envs.physics import set_body_mass, set_sliding_friction
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

GRAVITY_M_PER_S2 = 9.81
FORCE_MIN_N, FORCE_MAX_N = 0.3, 60.0
"""Squeezing force per finger at action -1 and +1; logarithmic in between."""
FORCE = ActionScale("squeezing force", "N", FORCE_MIN_N, FORCE_MAX_N, log=True)

CLOSE_STEPS = 3
"""Control steps for which the fingers close before the lift begins."""
LIFT_STEPS = 7
"""Control steps of the lift itself; the rest of the episode holds."""
LIFT_HEIGHT_M = 0.15

START_SPREAD_M = 0.004
"""Greatest initial offset of the block from the middle of the fingers, along each axis."""
START_YAW_RAD = 0.1

BEARABLE_WEIGHTS = 1.75
"""A block bears a squeeze of this many times its own weight undamaged: light blocks are fragile."""
CRUSH_PENALTY = 1.0
"""Cost of squeezing one e-fold beyond the bearable force for a whole episode."""
SLIP_PENALTY = 3.0
"""Cost of an episode that leaves the block behind."""
SLIP_LOST_M = 0.10
"""Slip at which the block counts as left behind."""

SLIP_TOLERANCE_M = 0.02
CRUSH_TOLERANCE = 1.0
"""Upper limits of slip and of mean crush for success."""

SOUND_RGBA = np.array([0.96, 0.48, 0.14, 1.0])
CRUSHED_RGBA = np.array([0.30, 0.03, 0.10, 1.0])
"""Colour of the block before and after it is crushed, in pictures only."""

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="block_mass_kg",
            unit="kg",
            description="block mass",
            nominal=0.3,
            train=(0.08, 1.2),
            gaps=((0.11, 0.15), (0.65, 0.88)),
            extrapolation=((0.05, 0.08), (1.2, 1.8)),
            allowed=(0.01, 3.0),
            log_uniform=True,
        ),
        TaskParameter(
            name="pad_friction",
            unit="1",
            description="friction between finger pad and block",
            nominal=0.5,
            train=(0.25, 1.0),
            gaps=((0.35, 0.42), (0.65, 0.75)),
            extrapolation=((0.18, 0.25), (1.0, 1.3)),
            allowed=(0.05, 2.0),
            log_uniform=True,
        ),
    )
)

_PROGRESS = np.linspace(0.0, 1.0, LIFT_STEPS + 1)
_LIFT_M = LIFT_HEIGHT_M * (10 * _PROGRESS**3 - 15 * _PROGRESS**4 + 6 * _PROGRESS**5)
"""Minimum-jerk lift (Flash and Hogan 1985), sampled at control steps."""


def lift_velocity(step: np.ndarray, control_dt_s: float) -> np.ndarray:
    """Return the commanded lift velocity in m/s during control step ``step``, any shape."""
    velocities = np.append(np.diff(_LIFT_M) / control_dt_s, 0.0)
    lifting = (step >= CLOSE_STEPS) & (step < CLOSE_STEPS + LIFT_STEPS)
    return velocities[np.where(lifting, step - CLOSE_STEPS, LIFT_STEPS)]


def crush(force_n: np.ndarray, mass_kg: np.ndarray) -> np.ndarray:
    """Return the squared number of e-folds by which a squeeze exceeds the bearable force."""
    bearable_n = BEARABLE_WEIGHTS * mass_kg * GRAVITY_M_PER_S2
    return np.maximum(0.0, np.log(force_n / bearable_n)) ** 2


class GripVectorEnv(TaskVectorEnv):
    """The Grip family as one batch.

    Action: 1 element, the logarithm of the squeezing force per finger, 0.3 N at -1 to 60 N at +1.

    Reward, per control step: minus the crush of this step, as a share of the episode, minus the
    growth of the slip in this step; a block left behind costs ``SLIP_PENALTY``.

    Success: at the end the block has slipped by less than 2 cm and is not crushed.

    Observation:

    {observation_table}
    """

    family = "Grip"
    scene_path = Path(__file__).parent / "grip.xml"
    elements_by_number = ()
    distribution = DISTRIBUTION
    heat_map_axes = ("block_mass_kg", "pad_friction")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("commanded lift", "m", 0.0, 0.2, "integral of the lift velocity"),
        ObservationElement("finger opening", "m", 0.0, 0.04, "joint finger_left"),
        ObservationElement("finger velocity", "m/s", -0.3, 0.3, "joint finger_left"),
        ObservationElement("force commanded last, as an action", "1", -1.0, 1.0, "last action"),
    )
    action_elements = ("logarithm of the squeezing force",)
    action_scales = (FORCE,)
    default_horizon = 16
    timestep_s = 0.004
    substeps = 15
    start_size = 3
    push_body = "block"

    def _bind(self) -> None:
        self._z = self.model.actuator("z").id
        self._grip = self.model.actuator("grip").id
        self._finger = self.model.joint("finger_left").qposadr[0]
        self._finger_dof = self.model.joint("finger_left").dofadr[0]
        self._block = self.model.joint("block").qposadr[0]
        self._tool_z = self._sensor("tool_position")[:, 2]
        self._block_z = self._sensor("block_position")[:, 2]
        self._last_action = np.full(self.num_envs, -1.0)
        self._slip = np.zeros(self.num_envs)  # m
        self._total_crush = np.zeros(self.num_envs)  # summed over steps

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "block", tasks["block_mass_kg"])
        set_sliding_friction(self.batch, ("pad_left", "pad_right"), tasks["pad_friction"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Place the block near the middle of the open fingers, slightly turned."""
        offset = (2 * start[:, :2] - 1) * START_SPREAD_M
        half_yaw = (2 * start[:, 2] - 1) * START_YAW_RAD / 2
        position, turn = self._block + np.arange(2), self._block + np.array([3, 6])
        self._qpos[ids[:, None], position] += offset
        self._qpos[ids[:, None], turn] = np.stack([np.cos(half_yaw), np.sin(half_yaw)], axis=1)
        self._last_action[ids] = -1.0
        self._slip[ids] = 0.0
        self._total_crush[ids] = 0.0

    def _command(self, actions: np.ndarray) -> None:
        self._ctrl[:, self._grip] = FORCE.value(actions[:, 0])
        self._ctrl[:, self._z] = lift_velocity(self._elapsed, self.control_dt_s)
        self._last_action = actions[:, 0]

    def _observe(self) -> np.ndarray:
        lifted = np.interp(self._elapsed, CLOSE_STEPS + np.arange(LIFT_STEPS + 1), _LIFT_M)
        return np.stack(
            [
                self._elapsed / self.horizon,
                lifted,
                self._qpos[:, self._finger],
                self._qvel[:, self._finger_dof],
                self._last_action,
            ],
            axis=1,
        )

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slip = np.clip(self._tool_z - self._block_z, 0.0, SLIP_LOST_M)
        step_crush = crush(FORCE.value(actions[:, 0]), self.tasks["block_mass_kg"])
        rewards = -CRUSH_PENALTY * step_crush / self.horizon
        rewards -= SLIP_PENALTY * (slip - self._slip) / SLIP_LOST_M
        self._slip = slip
        self._total_crush += step_crush
        mean_crush = self._total_crush / np.maximum(self._elapsed, 1)
        return rewards, (slip < SLIP_TOLERANCE_M) & (mean_crush < CRUSH_TOLERANCE)

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return whether the block is held, slips or is crushed."""
        if success:
            return "block held"
        return "block slips" if self._slip[sim] >= SLIP_TOLERANCE_M else "block crushed"

    def _paint(self, sim: int, model: Any) -> None:
        """Darken the block with the crush; it is darkest at the tolerance."""
        damage = min(1.0, self._total_crush[sim] / (CRUSH_TOLERANCE * self.horizon))
        model.geom("block").rgba = (1 - damage) * SOUND_RGBA + damage * CRUSHED_RGBA
