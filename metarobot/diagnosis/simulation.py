"""The health check of R machines, carried out as one native batch."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from metarobot.diagnosis.arm_model import ACCELEROMETER, compile_arm, home_rad
from metarobot.diagnosis.channels import JOINTS
from metarobot.diagnosis.condition import Condition
from metarobot.diagnosis.drives import Drives
from metarobot.diagnosis.health_check import NUM_SAMPLES, health_check
from metarobot.diagnosis.mechanics import apply_condition, rest_loose_parts, set_friction
from metarobot.diagnosis.sensors import Sensors

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_SPEEDS_CURRENT: int = _mj.mjtStage.mjSTAGE_VEL.value
"""After a step, positions and speeds are those of its end, torques and accelerations of its start:
just what is recorded of one sample."""


_BRAKES_NM = 1e4
_SETTLING_STEPS = 25  # 0.1 s: what hangs against an end stop sinks in as far as it carries it


class Simulation:
    """R machines on the marks of the health check.

    Args:
        condition: What they are like, faults included.
        keys: Key of each recording's noise, (R,) uint64.
        num_threads: Native threads; 0 takes every processor.  Results do not depend on it.
    """

    def __init__(self, condition: Condition, keys: np.ndarray, num_threads: int = 0) -> None:
        model = compile_arm()
        self.batch = Batch(model, len(keys), num_threads, persistent=True)
        self._motors = np.array([model.joint(joint).dofadr[0] for joint in JOINTS])
        limit_nm = model.jnt_actfrcrange[[model.joint(joint).id for joint in JOINTS], 1]
        self._drives = Drives(condition, model.dof_armature[self._motors], limit_nm)
        self._sensors = Sensors(condition, keys)
        apply_condition(self.batch, condition)
        self._position, self._velocity = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._applied = self.batch.bind("qfrc_applied")
        self._constraint = self.batch.bind("qfrc_constraint")
        sensor = model.sensor(ACCELEROMETER).adr[0]
        self._acceleration = self.batch.bind("sensordata")[:, sensor : sensor + 3]
        self._stand_still(condition)

    def run(self) -> np.ndarray:
        """Carry out the health check; return its recordings, (R, C, T) float32."""
        samples = [self._sample(sample).astype(np.float32) for sample in range(NUM_SAMPLES)]
        return np.ascontiguousarray(np.stack(samples).transpose(1, 2, 0))

    def _stand_still(self, condition: Condition) -> None:
        """Put the motors on the marks; their brakes hold them until what is loose lies at rest."""
        self.batch.reset()
        self._position[:, self._motors] = home_rad()
        for _ in range(3):  # what gives way changes the posture, and so the weight that it carries
            self.batch.forward(stage=_SPEEDS_CURRENT)
            rest_loose_parts(self.batch, condition)
        set_friction(self.batch, np.full_like(condition.friction_nm, _BRAKES_NM))
        self.batch.step(nstep=_SETTLING_STEPS, stage=_SPEEDS_CURRENT)
        set_friction(self.batch, condition.friction_nm)
        self._position[:, self._motors] = home_rad()
        self._velocity[:] = 0.0
        self.batch.forward(stage=_SPEEDS_CURRENT)

    def _sample(self, sample: int) -> np.ndarray:
        """Read the motors, command the drives, let the time pass: one sample, (R, C)."""
        drives, motors = self._drives, self._motors
        angle, velocity = self._position[:, motors], self._velocity[:, motors]
        read_angle, read_velocity = self._sensors.read_motors(angle, velocity, sample)
        command_nm = drives.command(health_check(), sample, read_angle, read_velocity)
        rotor_nm = drives.at_rotor(command_nm, angle)
        if drives.dragging:
            set_friction(self.batch, drives.friction(angle))
        self._applied[:, motors] = rotor_nm
        self.batch.step(nstep=1, stage=_SPEEDS_CURRENT)
        dry_nm = self._constraint[:, motors]
        link_nm = drives.at_link(rotor_nm, dry_nm, velocity, self._velocity[:, motors])
        read_nm, read_acceleration = self._sensors.read_link(link_nm, self._acceleration, sample)
        channels = (read_angle, read_velocity, command_nm, read_nm, read_acceleration)
        return np.concatenate(channels, axis=1)
