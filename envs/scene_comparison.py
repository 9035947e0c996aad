"""A user's scene beside the family's own: the same options, and elements of the same kinds."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from metarobot.envs.scene import SceneError
from metarobot.envs.task_parameter import nearest_name

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "body": ("nbody", ("body_mocapid",)),
    "joint": ("njnt", ("jnt_type",)),
    "geom": ("ngeom", ()),
    "site": ("nsite", ()),
    "camera": ("ncam", ()),
    "tendon": ("ntendon", ()),
    "actuator": (
        "nactuator",
        (
            *("actuator_trntype", "actuator_dyntype", "actuator_gaintype"),
            *("actuator_biastype", "actuator_actnum", "actuator_ctrlnum"),
        ),
    ),
    "sensor": ("nsensor", ("sensor_type", "sensor_dim", "sensor_objtype", "sensor_reftype")),
    "key": ("nkey", ()),
}
"""Kinds of elements: how many there are, and what must not differ between namesakes."""
_SAME_OPTIONS = ("timestep", "gravity", "disableactuator")


def compare_scenes(family: str, by_number: Sequence[str], model: Any, shipped: Any) -> None:
    """Refuse a scene whose options or elements are of another kind than the family's own.

    Args:
        family: The family's name.
        by_number: Kinds of elements that the family finds by their number.
        model: The compiled scene of the user.
        shipped: The family's own.

    Raises:
        SceneError: They differ in what the family's code takes for granted.
    """
    _compare_options(family, model, shipped)
    for kind in _KINDS:
        _compare_namesakes(family, kind, model, shipped)
    for kind in by_number:
        _compare_order(family, kind, model, shipped)


def element_names(model: Any, kind: str) -> list[str]:
    """Return the names of a kind's elements in their order, empty for those without."""
    access = getattr(model, kind)
    return [access(index).name for index in range(getattr(model, _KINDS[kind][0]))]


def _compare_options(family: str, model: Any, shipped: Any) -> None:
    """Refuse other options than those that the family's code takes for granted."""
    for name in _SAME_OPTIONS:
        given, needed = getattr(model.opt, name), getattr(shipped.opt, name)
        if not np.array_equal(given, needed):
            raise SceneError(f"option {name} is {given}, {family} needs {needed}")
    for flags, field in (
        (_mj.mjtDisableBit, "disableflags"),
        (_mj.mjtEnableBit, "enableflags"),
    ):
        given, needed = getattr(model.opt, field), getattr(shipped.opt, field)
        for flag in flags.__members__.values():
            if (given ^ needed) & flag.value:
                enabled = bool(needed & flag.value) == (field == "enableflags")
                name, value = flag.name.split("_", 1)[1].lower(), "enable" if enabled else "disable"
                raise SceneError(f'{family} needs <option> <flag {name}="{value}"/>')


def _compare_namesakes(family: str, kind: str, model: Any, shipped: Any) -> None:
    """Refuse an element that is of another kind than its namesake in the family's own scene."""
    given, needed = element_names(model, kind), element_names(shipped, kind)
    for name in filter(None, needed):
        if name not in given:
            continue
        for field in _KINDS[kind][1]:
            has = int(getattr(model, field)[given.index(name)])
            needs = int(getattr(shipped, field)[needed.index(name)])
            if field == "body_mocapid":
                has, needs = has >= 0, needs >= 0
            if has != needs:
                raise SceneError(
                    f"{kind} {name!r} is of another kind than in {family}'s own scene: "
                    f"{field} is {has}, not {needs}"
                )


def _compare_order(family: str, kind: str, model: Any, shipped: Any) -> None:
    """Refuse other elements, or in another order, than those in the family's own scene."""
    given, needed = element_names(model, kind), element_names(shipped, kind)
    if given != needed:
        raise SceneError(
            f"{family} needs exactly these {kind}s in this order: {', '.join(needed)}; "
            f"got {', '.join(given) or 'none'}"
        )


def missing_name(family: str, model: Any, shipped: Any, complaint: str) -> str:
    """Translate MuJoCo's complaint about a name into what is missing and what there is."""
    match = re.fullmatch(r"Invalid name '(.*)'\. Valid names: (\[.*\])", complaint, re.DOTALL)
    if match is None:
        return f"{family} cannot run in it: no {complaint}"
    name, valid = match[1], ast.literal_eval(match[2])
    kinds = [
        kind
        for kind in _KINDS
        if name in element_names(shipped, kind)
        and sorted(filter(None, element_names(model, kind))) == sorted(valid)
    ]
    kind = kinds[0] if kinds else "element"
    there = ", ".join(valid) or "none"
    return f"{family} needs the {kind} {name!r}; there is {there}{nearest_name(name, valid)}"
