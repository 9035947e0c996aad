"""`metarobot render`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from metarobot.cli.console import OK
from metarobot.cli.parsing import (
    Argument,
    OutsideOptions,
    RunArgument,
    TaskArgument,
    arguments_of,
    parse,
    parse_task,
)
from metarobot.config import RenderConfig
from metarobot.console import make_console, print_line


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """Film a task before and after adaptation, side by side; or many tasks, as a grid."""

    run: RunArgument
    """Run folder, or the name of a run of the package."""
    best: bool = False
    """Show the policy with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Film a variant of the family: a .toml file, or the name of one that `metarobot list
    FAMILY` names. A run trained on a variant is filmed on it if not given; none is the family
    itself."""
    scene: Path | None = None
    """New place of the scene, if the run was trained in one of yours that has moved."""
    out: Path = Path("adaptation.mp4")
    """Film to write, ending in .mp4, .webp or .gif."""
    task: TaskArgument = ()
    """Task to film, as NAME=VALUE ..., all else nominal; drawn from the split if not given. With
    --grid: the parameters that are the same in all tasks."""
    grid: Annotated[str | None, Argument("COLUMNSxROWS")] = None
    """Film a grid of tasks instead, columns x rows, such as 3x3: from the lowest to the highest
    value of two task parameters, training range and beyond."""
    grid_parameters: tuple[str, ...] = ()
    """Task parameters of the columns and the rows of --grid; those of the heat map if not given."""
    config: RenderConfig = field(default_factory=RenderConfig)
    """Settings of the film."""

    def __post_init__(self) -> None:
        """Refuse --grid-parameters without --grid."""
        if self.grid_parameters and not self.grid:
            raise ValueError("--grid-parameters goes with --grid, such as --grid 3x3")


def run(arguments: list[str], prog: str) -> int:
    """Film an adaptation, or a grid of them, and print the returns."""
    options = parse(Options, arguments, prog)
    from metarobot.api import render  # after help, which does not wait for torch
    from metarobot.reporting.style import after_episodes

    task, grid = parse_task(options.task), parse_grid(options.grid)
    film = render(options.run, **arguments_of(options, "run", task=task, grid=grid))
    if grid is None:
        values = ", ".join(f"{name} {value:.3g}" for name, value in film.tasks[0].items())
        returns = " -> ".join(f"{value:z.2f}" for value in film.returns.values())
        lines = [f"{values}: return {returns}", film.report]
    else:
        lines = [
            f"{after_episodes(number)}: {film.successes[number]} of {len(film.tasks)} tasks "
            f"succeed, mean return {value:z.2f}"
            for number, value in film.returns.items()
        ]
    console = make_console()
    for line in (*lines, f"video: {options.out}"):
        print_line(console, line)
    return OK


def parse_grid(size: str | None) -> tuple[int, int] | None:
    """Parse COLUMNSxROWS; None if it was not given."""
    if size is None:
        return None
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", size, re.ASCII)
    if not found:
        raise ValueError(f"--grid takes COLUMNSxROWS such as 3x3, got {size!r}")
    columns, rows = map(int, found.groups())
    return columns, rows
