"""Classes: what a diagnosis tells apart, and which faults no learner sees in training.

A class is a fault *in a joint*.  An engineer wants to know both: what to order, and where to open
the arm.  So a task can hold one fault in two joints, or two faults in one joint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metarobot.diagnosis import FAULTS, HEALTHY

HELD_OUT_FAULTS = (
    "dragging_brake",
    "backlash",
    "chipped_tooth",
    "encoder_drift",
    "loose_payload",
)
"""Faults that no training and no tuning sees, chosen by their physics before any learner was
measured: one of each kind (loss, gear, teeth, sensor, tool).  Each has relatives in training, but
acts in another way: friction that turns with the rotor, a gap, a pulse, an error that grows, a load
that knocks."""

TUNING_FAULTS = ("lost_lubricant", "loose_belt", "gear_ripple", "encoder_bias", "shifted_payload")
"""Faults to train on that are left out while options are chosen, so that these can be measured on
faults not seen.  One of each kind again."""


class FaultClass(NamedTuple):
    """A fault in a joint."""

    fault: str
    """Name of the fault, or ``healthy``."""
    joint: int
    """1 to 7; 0 where the fault sits in none."""

    def __str__(self) -> str:
        """Return its name, such as ``backlash in joint 3``."""
        words = self.fault.replace("_", " ")
        return f"{words} in joint {self.joint}" if self.joint else words


def classes_of(faults: Iterable[str]) -> tuple[FaultClass, ...]:
    """Return the classes of some faults, in the order of `FAULTS`; ``healthy`` comes first."""
    wanted = set(faults)
    healthy = [FaultClass(HEALTHY, 0)] if HEALTHY in wanted else []
    return (
        *healthy,
        *(
            FaultClass(name, joint)
            for name, fault in FAULTS.items()
            if name in wanted
            for joint in fault.joints or (0,)
        ),
    )


SEEN_FAULTS = tuple(name for name in FAULTS if name not in HELD_OUT_FAULTS)
ALL_CLASSES = classes_of([HEALTHY, *FAULTS])
SEEN_CLASSES = classes_of([HEALTHY, *SEEN_FAULTS])
"""What training sees."""
HELD_OUT_CLASSES = classes_of(HELD_OUT_FAULTS)
