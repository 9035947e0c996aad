"""The sensors: what they read of the physics, with noise whose every number has an address."""

from __future__ import annotations

import numpy as np

from metarobot.diagnosis.channels import NUM_JOINTS, SAMPLES_PER_S
from metarobot.diagnosis.condition import Condition
from metarobot.envs.counter_based_random import normals, uniforms

_NOISE, _DROPOUT = range(2)  # streams of random numbers
_JOINTS = np.arange(NUM_JOINTS)
_MOTOR_SIDE, _LINK_SIDE = np.arange(2 * NUM_JOINTS), np.arange(2 * NUM_JOINTS, 3 * NUM_JOINTS + 3)


class Sensors:
    """The sensors of R machines.

    Args:
        condition: What the machines are like.
        keys: Key of each recording, (R,) uint64.
    """

    def __init__(self, condition: Condition, keys: np.ndarray) -> None:
        self._condition = condition
        self._keys = keys
        self._dropouts = bool(condition.encoder_dropout.any())
        self._last_rad = np.zeros((len(keys), NUM_JOINTS))
        machines = condition.machines
        own_rad = np.repeat(machines.position_noise_rad[:, None], NUM_JOINTS, axis=1)
        self._motor_noise = np.concatenate([own_rad, condition.velocity_noise_rad_per_s], axis=1)
        acceleration = np.repeat(machines.acceleration_noise_m_per_s2[:, None], 3, axis=1)
        self._link_noise = np.concatenate([machines.torque_noise_nm, acceleration], axis=1)

    def read_motors(
        self, position_rad: np.ndarray, velocity_rad_per_s: np.ndarray, sample: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what encoders and speed sensors read, (R, 7) each."""
        condition, steps = self._condition, np.full(len(self._keys), sample)
        noise = self._motor_noise * normals(self._keys, steps, _NOISE, _MOTOR_SIDE)
        drift_rad = condition.encoder_drift_rad_per_s * (sample / SAMPLES_PER_S)
        read_rad = position_rad + condition.encoder_bias_rad + drift_rad + noise[:, :NUM_JOINTS]
        if self._dropouts and sample:
            lost = uniforms(self._keys, steps, _DROPOUT, _JOINTS) < condition.encoder_dropout
            read_rad = np.where(lost, self._last_rad, read_rad)
        self._last_rad = read_rad
        return read_rad, velocity_rad_per_s + noise[:, NUM_JOINTS:]

    def read_link(
        self, torque_nm: np.ndarray, acceleration_m_per_s2: np.ndarray, sample: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what torque sensors, (R, 7), and accelerometer, (R, 3), read."""
        steps = np.full(len(self._keys), sample)
        noise = self._link_noise * normals(self._keys, steps, _NOISE, _LINK_SIDE)
        shown_nm = self._condition.torque_gain * torque_nm + noise[:, :NUM_JOINTS]
        return shown_nm, acceleration_m_per_s2 + noise[:, NUM_JOINTS:]
