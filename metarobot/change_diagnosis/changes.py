"""Changes: what can happen to a robot, by family, each in a few severities.

A change is a part of a variant's document (docs/variants.md): a task parameter far beyond the
training range, or a disturbance of commands, sensors or the arm.  What is held out of training was
chosen by its physics, before any learner was measured on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from metarobot.envs import Variant, file_name
from metarobot.envs.checked_numbers import show
from metarobot.few_shot_diagnosis.classes import FaultClass

UNCHANGED = "unchanged"

Document = Mapping[str, Any]


class Change(NamedTuple):
    """Something that happens to a robot."""

    name: str
    """What it is called: letters and ``_``."""
    levels: tuple[Document, ...]
    """Its severities, as documents of variants without the family; robots take turns."""
    held_out: bool = False
    """Whether no learner sees it in training."""

    def variants(self, env_id: str) -> list[Variant | None]:
        """Return a variant of the family for each severity; None is the family as it is."""
        return [
            Variant.from_dict({"family": env_id, **level}, name=self.name) if level else None
            for level in self.levels
        ]


def _disturbed(**disturbances: Any) -> Document:
    return {"disturbances": disturbances}


def _ranging(name: str, low: float, high: float) -> Document:
    return {"ranges": {name: {"train": [low, high]}}}


def _pushed(force_n: float, duration_s: float, **when: Any) -> Document:
    return _disturbed(push={"force_n": force_n, "duration_s": duration_s, **when})


def _changing(at_step: int, **how: Any) -> Document:
    return {"change": {"at_step": at_step, **how}}


_LATE = Change("late_commands", tuple(_disturbed(action_delay_steps=n) for n in (1, 2, 3)))
_LOST = Change(
    "lost_observations",
    tuple(_disturbed(observation_dropout=share) for share in (0.2, 0.35, 0.5)),
    held_out=True,
)

REACH_CHANGES = (
    Change(UNCHANGED, ({},)),
    Change("heavier_payload", (_ranging("payload_kg", 2.5, 4.5),)),
    Change("dry_joints", (_ranging("joint_friction_nm", 2.0, 4.0),)),
    Change("weak_drive", (_ranging("drive_strength", 0.3, 0.55),)),
    _LATE,
    Change("noisy_observations", tuple(_disturbed(sensor_noise={"m": m}) for m in (0.01, 0.02))),
    Change("bumps", tuple(_pushed(n, 0.12, probability=0.06) for n in (30.0, 60.0))),
    Change("load_picked_up", tuple(_changing(n, values={"payload_kg": 4.0}) for n in (10, 20))),
    Change("thick_grease", (_ranging("joint_damping_ratio", 2.5, 5.0),), held_out=True),
    Change(
        "fading_drive",
        tuple(_changing(n, factors={"drive_strength": 0.4}) for n in (10, 20)),
        held_out=True,
    ),
    # The yaw is multiplied: a frame that was nearly right hardly slips.
    Change(
        "slipping_frame",
        tuple(_changing(15, factors={"frame_yaw_rad": factor}) for factor in (0.3, -0.3)),
        held_out=True,
    ),
    _LOST,
    Change(
        "pulling_cable",
        tuple(_pushed(n, 1.92, at_steps=[0]) for n in (15.0, 30.0)),
        held_out=True,
    ),
)

GRIP_CHANGES = (
    Change(UNCHANGED, ({},)),
    Change("heavier_block", (_ranging("block_mass_kg", 1.8, 3.0),)),
    Change("greasy_pads", (_ranging("pad_friction", 0.06, 0.16),)),
    _LATE,
    Change(
        "noisy_opening", tuple(_disturbed(sensor_noise={"m": m}) for m in (0.0005, 0.001, 0.002))
    ),
    Change("knocks", tuple(_pushed(n, 0.12, probability=0.1) for n in (4.0, 8.0))),
    Change(
        "oil_arrives",
        tuple(_changing(n, factors={"pad_friction": 0.3}) for n in (6, 9)),
        held_out=True,
    ),
    Change(
        "load_poured_in",
        tuple(_changing(n, values={"block_mass_kg": 2.5}) for n in (6, 9)),
        held_out=True,
    ),
    Change(
        "noisy_speed",
        tuple(_disturbed(sensor_noise={"m/s": speed}) for speed in (0.01, 0.02, 0.04)),
        held_out=True,
    ),
    _LOST,
    Change(
        "pulling_cable",
        tuple(_pushed(n, 0.96, at_steps=[0]) for n in (2.0, 4.0)),
        held_out=True,
    ),
)

CHANGES = {"metarobot/Reach-v0": REACH_CHANGES, "metarobot/Grip-v0": GRIP_CHANGES}
"""Changes of each family, by its id; the first is none."""


def changes_of(env_id: str) -> tuple[Change, ...]:
    """Return the changes of a family.

    Raises:
        ValueError: None are known for it.
    """
    if env_id not in CHANGES:
        families = " and ".join(sorted(map(file_name, CHANGES)))
        raise ValueError(
            f"changes are known for {families} only, got {show(env_id)}: "
            "leave out what_changed (--what-changed)"
        )
    return CHANGES[env_id]


def classes(changes: tuple[Change, ...]) -> tuple[FaultClass, ...]:
    """Return changes as classes of few-shot tasks: they sit in no joint."""
    return tuple(FaultClass(change.name, 0) for change in changes)
