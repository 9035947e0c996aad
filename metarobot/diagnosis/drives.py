"""The drives of the joints: what they command, what comes of it at the rotor and at the link.

Each joint follows the motion by a feed-forward and loops of position and speed at 250 Hz.  They
know only what the sensors read, so a fault of a sensor moves the arm.
"""

from __future__ import annotations

import numpy as np

from metarobot.diagnosis.channels import ROTOR_SHARE, SAMPLES_PER_S
from metarobot.diagnosis.condition import Condition
from metarobot.diagnosis.health_check import Motion

POSITION_GAIN_NM_PER_RAD = 300.0 * np.array(ROTOR_SHARE)
SPEED_GAIN_NMS_PER_RAD = 30.0 * np.array(ROTOR_SHARE)
"""A damping ratio of about 0.7 for the inertia that joint 2 moves at the marks; a motor that play
parts from its link loses four fifths of its speed in a time step, and does not overshoot much."""

GEAR_RATIO = 100
RIPPLES_PER_TURN = 2 * GEAR_RATIO
"""Of the joint: a strain-wave gear meshes twice a turn of its wave generator."""
CHIPS_PER_TURN = 20
"""How often a chipped tooth of an intermediate wheel meshes in a turn of the joint."""
CHIP_WIDTH_RAD = 0.008
"""Angle of the joint from the middle of the chip to its greatest torque."""


class Drives:
    """The drives of R machines.

    Args:
        condition: What the machines are like.
        armature_kg_m2: Inertia of each rotor behind its gear, (7,).
        limit_nm: Greatest torque that each drive can be asked for, (7,).
    """

    def __init__(
        self, condition: Condition, armature_kg_m2: np.ndarray, limit_nm: np.ndarray
    ) -> None:
        self._condition = condition
        self._armature_kg_m2 = armature_kg_m2
        self._limit_nm = limit_nm
        self._chipped = bool(condition.chip_nm.any())
        self.dragging = bool(condition.brake_nm.any())
        """Whether a brake drags in any machine, so that `friction` changes."""

    def command(
        self, motion: Motion, sample: int, position_rad: np.ndarray, velocity_rad_per_s: np.ndarray
    ) -> np.ndarray:
        """Return the commanded torques, (R, 7), from what the sensors read, (R, 7) each."""
        wanted_nm = (
            motion.torque_nm[sample]
            + POSITION_GAIN_NM_PER_RAD * (motion.position_rad[sample] - position_rad)
            + SPEED_GAIN_NMS_PER_RAD * (motion.velocity_rad_per_s[sample] - velocity_rad_per_s)
        )
        return np.clip(wanted_nm, -self._limit_nm, self._limit_nm)

    def at_rotor(self, command_nm: np.ndarray, motor_rad: np.ndarray) -> np.ndarray:
        """Return the torque that acts on each rotor besides friction, (R, 7)."""
        condition = self._condition
        teeth = RIPPLES_PER_TURN * motor_rad + condition.machines.gear_phase_rad
        torque = condition.drive_strength * command_nm + condition.ripple_nm * np.sin(teeth)
        if self._chipped:
            torque += condition.chip_nm * self._chip(motor_rad)
        return torque

    def friction(self, motor_rad: np.ndarray) -> np.ndarray:
        """Return the dry friction of each joint, (R, 7): a warped brake rubs once a rotor turn."""
        condition = self._condition
        turn = GEAR_RATIO * motor_rad + condition.machines.gear_phase_rad
        return condition.friction_nm + condition.brake_nm * (1 + np.cos(turn)) / 2

    def at_link(
        self,
        rotor_nm: np.ndarray,
        dry_nm: np.ndarray,
        velocity_rad_per_s: np.ndarray,
        next_velocity_rad_per_s: np.ndarray,
    ) -> np.ndarray:
        """Return the torque through each gear, (R, 7): what the rotor and its friction leave.

        Args:
            rotor_nm: What acted on the rotor.
            dry_nm: What dry friction did to it, of either sign.
            velocity_rad_per_s: Of the motor before the time step.
            next_velocity_rad_per_s: The same after it.
        """
        gained = (next_velocity_rad_per_s - velocity_rad_per_s) * SAMPLES_PER_S  # rad/s^2
        # MuJoCo's implicit integrator damps by the speed after the time step.
        viscous_nm = self._condition.damping_nms_per_rad * next_velocity_rad_per_s
        return rotor_nm + dry_nm - viscous_nm - self._armature_kg_m2 * gained

    def _chip(self, motor_rad: np.ndarray) -> np.ndarray:
        """Return the torque of a chipped tooth over its greatest: into the gap, and out again."""
        turn = motor_rad + self._condition.machines.gear_phase_rad / CHIPS_PER_TURN
        pitch = 2 * np.pi / CHIPS_PER_TURN
        off = (turn + pitch / 2) % pitch - pitch / 2  # rad from the middle of the chip
        off /= CHIP_WIDTH_RAD
        return -off * np.exp((1 - off**2) / 2)
