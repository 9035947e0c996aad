"""What there is to train on: every task family with its task parameters and observation."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from metarobot.console import make_console, make_table, print_line
from metarobot.envs import (
    FAMILIES,
    TaskError,
    TaskParameter,
    TaskVectorEnv,
    Variant,
    find_family,
    find_variant,
    shipped_variants,
    short_names,
)
from metarobot.envs.checks import nearest_name
from metarobot.envs.tasks import Interval


def find_env_id(name: str) -> str:
    """Return the id of a task family.

    Args:
        name: A preset, such as ``grip``, or the id itself.

    Raises:
        TaskError: There is none.
    """
    ids = short_names()
    if name in FAMILIES:
        return name
    if name not in ids:
        hint = nearest_name(name, [*ids, *FAMILIES])
        raise TaskError(f"no task family {name!r}, allowed: {', '.join(ids)}, or an id{hint}")
    return ids[name]


def print_families(env_ids: Iterable[str] = FAMILIES, console: Console | None = None) -> None:
    """Print task families: tables on a terminal, aligned plain columns in a pipe."""
    console = console or make_console()
    for env_id in env_ids:
        family = find_family(env_id)
        print_line(console, f"{env_id}  {summary(family)}", style="bold")
        print_line(console, f"{episode_text(family)}, {_action_text(family)}", style="dim")
        console.print(parameter_table(family, console))
        console.print(observation_table(family, console))
        console.print()


def print_variants(env_ids: Iterable[str] = FAMILIES, console: Console | None = None) -> None:
    """Print the variants of families that come with the package, one line each."""
    console = console or make_console()
    variants = [v for v in map(find_variant, shipped_variants()) if v.env_id in env_ids]
    if variants:
        console.print(variant_table(variants, console))


def variant_table(variants: Iterable[Variant], console: Console) -> Table:
    """Return variants with what they are of."""
    rows = ((v.name, v.env_id, v.description) for v in variants)
    return make_table(("variant", "of", "what is special about it"), rows, console)


def summary(family: type[TaskVectorEnv]) -> str:
    """Return the first sentence of a family's module: what the task is."""
    module = __import__(family.__module__, fromlist=["__doc__"])
    first_line = (module.__doc__ or "").strip().partition("\n")[0]
    return first_line.partition(": ")[2] or first_line


def episode_text(family: type[TaskVectorEnv]) -> str:
    """Say how long an episode is, in control steps and in seconds."""
    steps, step_s = family.default_horizon, family.control_step_s()
    text = f"{steps} control steps of {step_s:g} s, {steps * step_s:.4g} s an episode"
    if family.settle_steps:
        text += f", then {family.settle_steps * step_s:.4g} s until all is at rest"
    return text


def parameter_table(family: type[TaskVectorEnv], console: Console) -> Table:
    """Return the task parameters with their ranges."""
    headings = ("task parameter", "unit", "nominal", "trained on", "held-out gaps")
    headings += ("extrapolation", "scale", "meaning")
    return make_table(
        headings, (_parameter_row(p) for p in family.distribution.parameters), console
    )


def observation_table(family: type[TaskVectorEnv], console: Console) -> Table:
    """Return the elements of the observation."""
    rows = (
        (str(index), element.quantity, _unit(element.unit), f"{element.low:g} to {element.high:g}")
        for index, element in enumerate(family.observation_elements)
    )
    return make_table(("observation", "quantity", "unit", "range"), rows, console)


def _parameter_row(parameter: TaskParameter) -> tuple[str, ...]:
    return (
        parameter.name,
        _unit(parameter.unit),
        f"{parameter.nominal:g}",
        " or ".join(f"{value:g}" for value in parameter.choices) or _ranges([parameter.train]),
        _ranges(parameter.gaps),
        _ranges(parameter.extrapolation),
        "log" if parameter.log_uniform else "linear",
        parameter.description,
    )


def _action_text(family: type[TaskVectorEnv]) -> str:
    return "action: " + ", ".join(family.action_elements)


def _ranges(pairs: Iterable[Interval]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs) or "-"


def _unit(unit: str) -> str:
    return "-" if unit == "1" else unit
