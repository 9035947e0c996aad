"""Panda: carry a tool of unknown mass through a fast motion, at drives of unknown gains.

A Franka Emika Panda repeats one motion of 0.56 s, near its limits of speed and acceleration.  Its
drives follow set-points as a joint impedance does: late, and with an error that depends on the
tool, the friction, the gains of the drives and the delay of the commands.  The policy sees the
errors of the joints and corrects the set-points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarobot.envs.family import ActionScale, ObservationElement, RepeatedMotion
from metarobot.envs.physics import (
    set_body_mass,
    set_command_delay,
    set_drive_strength,
    set_joint_losses,
    set_mass_centre,
)
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

JOINTS = tuple(f"joint{index}" for index in range(1, 8))
STIFFNESS = tuple(f"stiffness{index}" for index in range(1, 8))
DAMPING = tuple(f"damping{index}" for index in range(1, 8))

START_RAD = (-0.35, -0.15, 0.0, -2.2, 0.0, 2.05, 0.4)
END_RAD = (0.29, 0.2, 0.18, -1.75, -0.18, 1.95, -0.2)
"""Joints at the ends of the motion, which has least jerk (Flash and Hogan 1985)."""
START_SPREAD_RAD = 0.003
"""Greatest initial offset of each joint: the motion repeats almost exactly."""
MAX_CORRECTION_RAD = 0.2
"""Correction of a set-point at an action of 1."""
FRICTION_NM = (0.273, 0.436, 0.320, 0.640, 0.420, 0.152, 0.282)
"""Dry friction of each joint as identified by Gaz et al. 2019: half the height of its sigmoid."""

ERROR_SCALE_RAD = 0.01
"""Error that costs 1 in all control steps together."""
ERROR_TOLERANCE_RAD = 0.005

NUM_DOTS = 9
"""Places of the path that are drawn."""
LOAD_DENSITY_KG_PER_M3 = 4500
"""Density of the tool's load as drawn; affects pictures only."""

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="tool_mass_kg",
            unit="kg",
            description="tool mass",
            nominal=0.8,
            train=(0.2, 2.0),
            gaps=((0.6, 0.8), (1.3, 1.6)),
            extrapolation=((2.0, 3.0),),
            allowed=(0.01, 4.0),
        ),
        TaskParameter(
            name="mass_centre_x_m",
            unit="m",
            description="centre of mass of the tool, x of the flange",
            nominal=0.0,
            train=(-0.06, 0.06),
            gaps=((-0.04, -0.02), (0.02, 0.04)),
            extrapolation=((-0.08, -0.06), (0.06, 0.08)),
            allowed=(-0.15, 0.15),
        ),
        TaskParameter(
            name="mass_centre_y_m",
            unit="m",
            description="centre of mass of the tool, y of the flange",
            nominal=0.0,
            train=(-0.06, 0.06),
            gaps=((-0.04, -0.02), (0.02, 0.04)),
            extrapolation=((-0.08, -0.06), (0.06, 0.08)),
            allowed=(-0.15, 0.15),
        ),
        TaskParameter(
            name="mass_centre_z_m",
            unit="m",
            description="centre of mass of the tool, distance from the flange",
            nominal=0.08,
            train=(0.03, 0.15),
            gaps=((0.05, 0.07), (0.11, 0.13)),
            extrapolation=((0.15, 0.18),),
            allowed=(0.0, 0.25),
        ),
        TaskParameter(
            name="joint_friction_ratio",
            unit="1",
            description="dry friction of the joints over that identified",
            nominal=1.0,
            train=(0.5, 4.0),
            gaps=((1.2, 1.7), (2.7, 3.2)),
            extrapolation=((4.0, 6.0),),
            allowed=(0.0, 15.0),
        ),
        TaskParameter(
            name="drive_stiffness_ratio",
            unit="1",
            description="stiffness of the drives over the nominal",
            nominal=1.0,
            train=(0.7, 1.3),
            gaps=((0.82, 0.92), (1.08, 1.18)),
            extrapolation=((0.5, 0.7), (1.3, 1.5)),
            allowed=(0.3, 2.0),
        ),
        TaskParameter(
            name="drive_damping_ratio",
            unit="1",
            description="damping of the drives over the nominal",
            nominal=1.0,
            train=(0.7, 1.3),
            gaps=((0.82, 0.92), (1.08, 1.18)),
            extrapolation=((0.5, 0.7), (1.3, 1.5)),
            allowed=(0.3, 2.0),
        ),
        TaskParameter(
            name="command_delay_s",
            unit="s",
            description="delay of the commands",
            nominal=0.012,
            train=(0.004, 0.024),
            gaps=((0.007, 0.01), (0.016, 0.019)),
            extrapolation=((0.024, 0.036),),
            allowed=(0.004, 0.08),
        ),
    )
)


def motion_rad(elapsed: np.ndarray, horizon: int) -> np.ndarray:
    """Return the joints wanted after control steps (...) out of those of the motion, (..., 7)."""
    share = np.clip(elapsed / horizon, 0.0, 1.0)[..., None]
    way = share**3 * (10 - 15 * share + 6 * share**2)  # from 0 to 1
    return START_RAD + way * (np.array(END_RAD) - START_RAD)


class PandaVectorEnv(TaskVectorEnv):
    """The Panda family as one batch.

    Action: 7 elements, the correction of the set-point of each joint, 0.2 rad at 1.  The set-point
    moves steadily to the motion's place at the end of the control step plus its correction.

    Reward, per control step: minus the root mean square of the errors of the joints, in units of
    0.01 rad, divided by the number of control steps.

    Success: the mean of that error over the motion is below 0.005 rad.

    Observation:

    {observation_table}
    """

    family = "Panda"
    scene_path = Path(__file__).parent / "panda.xml"
    elements_by_number = ()
    distribution = DISTRIBUTION
    heat_map_axes = ("tool_mass_kg", "command_delay_s")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        *(
            ObservationElement(f"motion - {joint}", "rad", -0.2, 0.2, f"motion, {joint}")
            for joint in JOINTS
        ),
        *(
            ObservationElement(
                f"speed of motion - {joint}", "rad/s", -1.5, 1.5, f"motion, speed of {joint}"
            )
            for joint in JOINTS
        ),
    )
    action_elements = tuple(f"correction of {joint}" for joint in JOINTS)
    action_scales = tuple(
        ActionScale(f"correction of {joint}", "rad", -MAX_CORRECTION_RAD, MAX_CORRECTION_RAD)
        for joint in JOINTS
    )
    repeated_motion = RepeatedMotion(
        pairs=tuple((1 + joint, joint) for joint in range(len(JOINTS))),
        error_of_action=MAX_CORRECTION_RAD,
        lead_steps=3,
    )
    default_horizon = 28
    timestep_s = 0.004
    substeps = 5
    start_size = 7
    push_body = "tool"

    def _bind(self) -> None:
        self._joints = np.array([self.model.joint(joint).qposadr[0] for joint in JOINTS])
        drives = [[self.model.actuator(name).id for name in n] for n in (STIFFNESS, DAMPING)]
        self._drives = np.array(drives)
        self._set_point = np.zeros((self.num_envs, len(JOINTS)))  # at the end of the step, rad
        self._error_sum = np.zeros(self.num_envs)  # over the control steps so far, rad
        path = []  # of the tip, after each control step
        for steps in range(self.horizon + 1):
            self._qpos[0, self._joints] = motion_rad(np.array(steps), self.horizon)
            self.batch.forward([0])
            path.append(self._sensor("tip_position")[0].copy())
        self._path_m = np.stack(path)  # (T + 1, 3)

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "tool", tasks["tool_mass_kg"])
        centre = [tasks[f"mass_centre_{axis}_m"] for axis in "xyz"]
        set_mass_centre(self.batch, "tool", np.stack(centre, axis=1))
        friction_nm = tasks["joint_friction_ratio"][:, None] * np.array(FRICTION_NM)
        set_joint_losses(self.batch, JOINTS, friction_nm, np.ones(self.num_envs))
        set_drive_strength(self.batch, STIFFNESS, tasks["drive_stiffness_ratio"])
        set_drive_strength(self.batch, DAMPING, tasks["drive_damping_ratio"])
        set_command_delay(self.batch, (*STIFFNESS, *DAMPING), tasks["command_delay_s"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Place the joints near the start of the motion; the drives hold it."""
        self._qpos[ids[:, None], self._joints] += (2 * start - 1) * START_SPREAD_RAD
        self._set_point[ids] = START_RAD
        self._error_sum[ids] = 0.0

    def _command(self, actions: np.ndarray) -> None:
        wanted = motion_rad(self._elapsed + 1, self.horizon) + MAX_CORRECTION_RAD * actions
        speed = (wanted - self._set_point) / self.control_dt_s
        self._ctrl[:, self._drives] = speed[:, None]
        self._set_point = wanted

    def _observe(self) -> np.ndarray:
        share = np.clip(self._elapsed / self.horizon, 0.0, 1.0)[:, None]
        way_rad_per_s = (np.array(END_RAD) - START_RAD) / (self.horizon * self.control_dt_s)
        speed = 30 * (share * (1 - share)) ** 2 * way_rad_per_s - self._qvel[:, self._joints]
        return np.concatenate([share, self._errors_rad(), speed], axis=1)

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error_rad = np.sqrt((self._errors_rad() ** 2).mean(axis=1))
        self._error_sum += error_rad
        success = self._error_sum / self.horizon < ERROR_TOLERANCE_RAD
        return -error_rad / ERROR_SCALE_RAD / self.horizon, success

    def _errors_rad(self) -> np.ndarray:
        """Return the joints wanted minus those measured, rad, (num_envs, 7)."""
        return motion_rad(self._elapsed, self.horizon) - self._qpos[:, self._joints]

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return the mean error of the motion."""
        error_mrad = 1000 * self._error_sum[sim] / max(self._elapsed[sim], 1)
        return f"mean error {error_mrad:.1f} mrad"

    def _paint(self, sim: int, model: Any) -> None:
        """Draw the wanted path of the tip, and the load at its centre of mass by its mass."""
        last = len(self._path_m) - 1
        model.geom("wanted").pos = self._path_m[min(self._elapsed[sim], last)]
        for dot in range(NUM_DOTS):
            model.geom(f"path{dot}").pos = self._path_m[round(dot * last / (NUM_DOTS - 1))]
        tool, load, bracket = model.body("tool"), model.geom("load"), model.geom("bracket")
        x, y, z = load.pos[:] = tool.ipos
        load.size[0] = (3 * tool.mass[0] / LOAD_DENSITY_KG_PER_M3 / (4 * np.pi)) ** (1 / 3)
        # From the tool's axis to the load: the z axis turned by 90 degrees about (-y, x, 0).
        length_m = max(np.hypot(x, y), 1e-6)
        bracket.pos = x / 2, y / 2, z
        bracket.size[1] = length_m / 2
        bracket.quat = np.array([1, -y / length_m, x / length_m, 0]) * np.sqrt(0.5)
