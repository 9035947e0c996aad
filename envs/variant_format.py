"""The format of a variant: a document of plain values, as in TOML or JSON, read and written.

KEYS is the format: the reader allows these keys and no others, and the documentation is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from metarobot.envs.checked_numbers import after_number
from metarobot.envs.checked_table import CheckedTable
from metarobot.envs.disturbances import Change, Disturbances, Push
from metarobot.envs.registration import FAMILIES, find_family, short_names
from metarobot.envs.task_parameter import TaskParameter, without_gaps
from metarobot.envs.tasks import TaskDistribution
from metarobot.envs.vector_env import TaskVectorEnv

MAX_FORCE_N = 1000.0
"""Strongest push allowed."""

KEYS: dict[str, tuple[str, str]] = {
    "family": ("text", "the task family: `grip`, or its id `metarobot/Grip-v0`"),
    "description": ("text", "what is special about it, in one line"),
    "name": ("text", "letters, digits, `-` and `_`; if not given, the file's name"),
    "fixed.PARAMETER": ("its unit", "the task parameter has this value in every task"),
    "ranges.PARAMETER.train": ("[low, high]", "range of the task parameter"),
    "ranges.PARAMETER.gaps": (
        "[[low, high], ...]",
        "parts of `train` held out of it: the interpolation split; none if not given",
    ),
    "ranges.PARAMETER.extrapolation": (
        "[[low, high], ...]",
        "ranges outside `train`: the extrapolation split; none if not given",
    ),
    "disturbances.action_delay_steps": (
        "control steps",
        "a command acts that much later; until the first one does, zeros act",
    ),
    "disturbances.observation_dropout": (
        "probability",
        "in a control step, the observation is lost, and the last one is seen again",
    ),
    "disturbances.sensor_noise.UNIT": (
        "UNIT",
        "standard deviation of the noise on every observation element of that unit",
    ),
    "disturbances.push.force_n": ("N", "horizontal force, in a random direction each time"),
    "disturbances.push.duration_s": ("s", "how long it lasts"),
    "disturbances.push.probability": ("probability", "a push begins in a control step"),
    "disturbances.push.at_s": ("[s, ...]", "or: pushes begin at these times of every episode"),
    "disturbances.push.at_steps": ("[control steps, ...]", "or: after so many control steps"),
    "change.at_s": ("s", "when the physics changes, until the next reset"),
    "change.at_step": ("control steps", "or: after so many control steps"),
    "change.values.PARAMETER": ("its unit", "the task parameter becomes this"),
    "change.factors.PARAMETER": ("1", "or: the task's own value is multiplied by this"),
}
"""Every key: the unit or form of its value, and what it means."""

_GREATEST_FACTOR = 1000.0


def names_in(table: str = "") -> list[str]:
    """Return the keys that KEYS allows in a table, such as ``disturbances.push``."""
    prefix = f"{table}." if table else ""
    below = (key.removeprefix(prefix) for key in KEYS if key.startswith(prefix))
    return list(dict.fromkeys(key.partition(".")[0] for key in below))


def read_family(document: CheckedTable) -> str:
    """Return the id of the family that a document names."""
    ids = short_names()
    way_out = ", or one of yours once --module names its module (in Python: import it)"
    name = document.choice("family", list(ids), also=FAMILIES, way_out=way_out)
    return ids.get(name, name)


def read_distribution(document: CheckedTable, env_id: str) -> TaskDistribution:
    """Return the family's task distribution with the document's ranges and fixed values."""
    family = find_family(env_id).distribution
    ranges = document.table("ranges", family.names, "task parameter")
    fixed = document.table("fixed", family.names, "task parameter")
    return TaskDistribution(
        tuple(_read_parameter(parameter, ranges, fixed) for parameter in family.parameters)
    )


def _read_parameter(
    parameter: TaskParameter, ranges: CheckedTable, fixed: CheckedTable
) -> TaskParameter:
    name = parameter.name
    if name in fixed and name in ranges:
        fixed.refuse(name, f"is given by ranges.{name} too")
    if name in fixed:
        value = _read_value(fixed, parameter)
        point = {"nominal": value, "train": (value, value)}
        return replace(parameter, **point, gaps=(), extrapolation=(), choices=())
    if name in ranges:
        if parameter.choices:
            ranges.refuse(name, f"has only the values {_listed(parameter.choices)}: fix one")
        return _read_ranges(parameter, ranges.table(name, names_in("ranges.PARAMETER")))
    return parameter


def _read_ranges(parameter: TaskParameter, table: CheckedTable) -> TaskParameter:
    allowed, unit = parameter.allowed, parameter.unit
    train = low, high = table.interval("train", allowed, unit)
    gaps = table.intervals("gaps", allowed, unit)
    extrapolation = table.intervals("extrapolation", allowed, unit)
    for gap in gaps:
        if not low <= gap[0] < gap[1] <= high:
            table.refuse("gaps", f"a gap must lie inside train {list(train)}", list(gap))
    for beyond in extrapolation:
        if not (beyond[1] <= low or beyond[0] >= high):
            table.refuse("extrapolation", f"must lie outside train {list(train)}", list(beyond))
    if not without_gaps(train, gaps):
        table.refuse("gaps", f"the gaps leave nothing of train {list(train)}")
    nominal = float(np.clip(parameter.nominal, low, high))
    return replace(parameter, nominal=nominal, train=train, gaps=gaps, extrapolation=extrapolation)


def read_disturbances(
    document: CheckedTable, env_id: str, distribution: TaskDistribution
) -> Disturbances:
    """Return the document's disturbances, with times in control steps."""
    table = document.table("disturbances", names_in("disturbances"))
    family = find_family(env_id)
    spans: dict[str, float] = {}  # widest element of each unit
    for element in family.observation_elements:
        spans[element.unit] = max(spans.get(element.unit, 0.0), element.high - element.low)
    noise = table.table("sensor_noise", list(spans), "unit")
    dropout = "observation_dropout"
    return Disturbances(
        action_delay_steps=table.integer("action_delay_steps", 0, family.default_horizon - 1, 0),
        observation_dropout=table.number(dropout, 0.0, 1.0) if dropout in table else 0.0,
        sensor_noise=tuple((unit, noise.number(unit, 0.0, spans[unit], unit)) for unit in noise),
        push=_read_push(table, family) if "push" in table else None,
        change=_read_change(document, family, distribution) if "change" in document else None,
    )


def _read_push(disturbances: CheckedTable, family: type[TaskVectorEnv]) -> Push:
    if family.push_body is None:
        disturbances.refuse("push", f"{family.family} declares no body that can be pushed")
    table = disturbances.table("push", names_in("disturbances.push"))
    dt_s, horizon = family.control_step_s(), family.default_horizon
    given = [key for key in ("probability", "at_s", "at_steps") if key in table]
    if len(given) != 1:
        table.refuse((given or ["probability"])[-1], "give one of probability, at_s, at_steps")
    steps: tuple[int, ...] = ()
    if "at_s" in table:
        times = table.numbers("at_s", 0.0, (horizon - 1) * dt_s, "s")
        steps = tuple(round(time / dt_s) for time in times)
    elif "at_steps" in table:
        steps = table.integers("at_steps", 0, horizon - 1)
    duration_s = table.number("duration_s", 1e-3, horizon * dt_s, "s")
    steps = tuple(sorted(steps))
    if any((b - a) * dt_s < duration_s for a, b in pairwise(steps)):
        table.refuse(given[0], f"pushes of {duration_s:g} s must not overlap")
    return Push(
        force_n=table.number("force_n", 0.0, MAX_FORCE_N, "N"),
        duration_s=duration_s,
        probability=table.number("probability", 0.0, 1.0) if "probability" in table else 0.0,
        at_steps=steps,
    )


def _read_change(
    document: CheckedTable, family: type[TaskVectorEnv], distribution: TaskDistribution
) -> Change:
    table = document.table("change", names_in("change"))
    dt_s, last = family.control_step_s(), family.default_horizon - 1
    if ("at_s" in table) == ("at_step" in table):
        table.refuse("at_s", f"give one of at_s and at_step, 1 to {last} control steps")
    if "at_s" in table:
        at_step = round(table.number("at_s", dt_s, last * dt_s, "s") / dt_s)
    else:
        at_step = table.integer("at_step", 1, last)
    values = table.table("values", distribution.names, "task parameter")
    factors = table.table("factors", distribution.names, "task parameter")
    if not {*values, *factors}:
        table.refuse("values", "name a task parameter here, or in change.factors")
    for name in factors:
        if name in values:
            factors.refuse(name, f"is given by change.values.{name} too")
    return Change(
        at_step=at_step,
        values=tuple((n, _read_value(values, distribution[n])) for n in values),
        factors=tuple((n, _read_factor(factors, distribution[n])) for n in factors),
    )


def _read_value(table: CheckedTable, parameter: TaskParameter) -> float:
    value = table.number(parameter.name, *parameter.allowed, parameter.unit)
    if parameter.choices and value not in parameter.choices:
        table.refuse(parameter.name, f"must be one of {_listed(parameter.choices)}")
    return value


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _read_factor(table: CheckedTable, parameter: TaskParameter) -> float:
    """Return a factor that keeps every value of the parameter allowed."""
    factor = table.number(parameter.name, -_GREATEST_FACTOR, _GREATEST_FACTOR)
    ranges = (parameter.train, *parameter.extrapolation)
    for value in (end for pair in ranges for end in pair):
        low, high = parameter.allowed
        if not low <= factor * value <= high:
            unit = after_number(parameter.unit)
            why = f"takes {value:g} to {factor * value:g}, allowed is [{low:g}, {high:g}]{unit}"
            table.refuse(parameter.name, why)
    if parameter.choices and not {factor * c for c in parameter.choices} <= {*parameter.choices}:
        table.refuse(parameter.name, f"leads out of {_listed(parameter.choices)}")
    return factor


def write_document(
    env_id: str, distribution: TaskDistribution, disturbances: Disturbances
) -> dict[str, Any]:
    """Return the document that reads as this variant, without name and description."""
    family = find_family(env_id).distribution
    changed = [p for p in distribution.parameters if p != family[p.name]]
    tables = {
        "fixed": {p.name: p.nominal for p in changed if not p.varies},
        "ranges": {p.name: _write_ranges(p) for p in changed if p.varies},
        "disturbances": _write_disturbances(disturbances),
        "change": _write_change(disturbances.change) if disturbances.change else {},
    }
    return {"family": env_id, **{name: table for name, table in tables.items() if table}}


def _write_ranges(parameter: TaskParameter) -> dict[str, Any]:
    return {
        "train": list(parameter.train),
        "gaps": [list(pair) for pair in parameter.gaps],
        "extrapolation": [list(pair) for pair in parameter.extrapolation],
    }


def _write_disturbances(disturbances: Disturbances) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if disturbances.action_delay_steps:
        table["action_delay_steps"] = disturbances.action_delay_steps
    if disturbances.observation_dropout:
        table["observation_dropout"] = disturbances.observation_dropout
    if disturbances.sensor_noise:
        table["sensor_noise"] = dict(disturbances.sensor_noise)
    if push := disturbances.push:
        table["push"] = {"force_n": push.force_n, "duration_s": push.duration_s}
        steps = {"at_steps": list(push.at_steps)}
        table["push"] |= steps if push.at_steps else {"probability": push.probability}
    return table


def _write_change(change: Change) -> dict[str, Any]:
    return {
        "at_step": change.at_step,
        "values": dict(change.values),
        "factors": dict(change.factors),
    }
