"""What there is to train on: every task family with its task parameters and observation."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metarobot.envs import FAMILIES, TaskParameter, TaskVectorEnv, find_variant, shipped_variants
from metarobot.envs.tasks import Interval
from metarobot.printable import print_line, printable

_PIPE_WIDTH = 1000  # characters; so wide that no cell is ever cut or wrapped


def print_families(console: Console | None = None) -> None:
    """Print the task families: tables on a terminal, aligned plain columns in a pipe."""
    console = console or make_console()
    for env_id, env_class in FAMILIES.items():
        family = env_class.vector_class
        print_line(console, f"{env_id}  {summary(family)}", style="bold")
        details = f"{family.default_horizon} control steps an episode, {_action_text(family)}"
        print_line(console, details, style="dim")
        console.print(parameter_table(family, console))
        console.print(observation_table(family, console))
        console.print()


def print_variants(console: Console | None = None) -> None:
    """Print the variants that come with the package, one line each."""
    console = console or make_console()
    console.print(variant_table(console))


def variant_table(console: Console) -> Table:
    """Return the variants that come with the package."""
    rows = ((v.name, v.env_id, v.description) for v in map(find_variant, shipped_variants()))
    return _table(("variant", "of", "what is special about it"), rows, console)


def make_console() -> Console:
    """Return a console on standard output that never wraps in a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def summary(family: type[TaskVectorEnv]) -> str:
    """Return the first sentence of a family's module: what the task is."""
    module = __import__(family.__module__, fromlist=["__doc__"])
    first_line = (module.__doc__ or "").strip().partition("\n")[0]
    return first_line.partition(": ")[2] or first_line


def parameter_table(family: type[TaskVectorEnv], console: Console) -> Table:
    """Return the task parameters with their ranges."""
    headings = ("task parameter", "unit", "nominal", "trained on", "held-out gaps")
    headings += ("extrapolation", "scale", "meaning")
    return _table(headings, (_parameter_row(p) for p in family.distribution.parameters), console)


def observation_table(family: type[TaskVectorEnv], console: Console) -> Table:
    """Return the elements of the observation."""
    rows = (
        (str(index), element.quantity, _unit(element.unit), f"{element.low:g} to {element.high:g}")
        for index, element in enumerate(family.observation_elements)
    )
    return _table(("observation", "quantity", "unit", "range"), rows, console)


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


def _table(headings: Iterable[str], rows: Iterable[tuple[str, ...]], console: Console) -> Table:
    """Return a table; outside a terminal without rules, padding or line breaks."""
    if console.is_terminal:
        table = Table(header_style="bold", title_justify="left")
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _action_text(family: type[TaskVectorEnv]) -> str:
    return "action: " + ", ".join(family.action_elements)


def _ranges(pairs: Iterable[Interval]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs) or "-"


def _unit(unit: str) -> str:
    return "-" if unit == "1" else unit
