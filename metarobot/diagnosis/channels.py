"""What a recording holds: its channels with units, in the order in which they are stored."""

from __future__ import annotations

from typing import NamedTuple

SAMPLES_PER_S = 250
NUM_JOINTS = 7
JOINTS = tuple(f"joint{number}" for number in range(1, NUM_JOINTS + 1))

ROTOR_SHARE = (1.0, 1.0, 1.0, 1.0, 0.4, 0.4, 0.4)
"""Size of a joint's gear and motor over that of joint 1: the wrist has smaller ones.  Gains and
faults that are torques are scaled by it."""


class Channel(NamedTuple):
    """One signal of a recording."""

    name: str
    unit: str


_BY_JOINT = {
    "position": "rad",
    "velocity": "rad/s",
    "commanded torque": "N m",
    "delivered torque": "N m",
}

CHANNELS = (
    *(Channel(f"{joint} {what}", unit) for what, unit in _BY_JOINT.items() for joint in JOINTS),
    *(Channel(f"tool acceleration {axis}", "m/s^2") for axis in "xyz"),
)
"""Position: what the encoder on the motor's side of the gear reads.  Velocity: what the motor's own
speed sensor reads.  Commanded torque: what the drive is asked for.  Delivered torque: what the
sensor between gear and link reads.  Acceleration: what an accelerometer at the tool reads, gravity
included, in the tool's frame."""

NUM_CHANNELS = len(CHANNELS)
POSITION = slice(0, 7)
VELOCITY = slice(7, 14)
COMMANDED_TORQUE = slice(14, 21)
DELIVERED_TORQUE = slice(21, 28)
ACCELERATION = slice(28, 31)
