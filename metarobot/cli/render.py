"""`metarobot render`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.parsing import OutsideOptions, RunArgument, parse, parse_task
from metarobot.console import print_line
from metarobot.io import require_writable
from metarobot.machine import require_opengl
from metarobot.reporting.films import GridSize, RenderConfig, render_adaptation, render_grid
from metarobot.reporting.style import after_episodes
from metarobot.reporting.video import VideoError, require_film_name
from metarobot.training.load import TrainedRun, choose_variant, find_scene, load_run


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """Film a task before and after adaptation, side by side; or many tasks, as a grid."""

    run: RunArgument
    """Run folder, or the name of a run of the package."""
    best: bool = False
    """Show the policy with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Film a variant of the family: a .toml file, or the name of one that `metarobot list` names.
    A run trained on a variant is filmed on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    out: Path = Path("adaptation.mp4")
    """Film to write, ending in .mp4, .webp or .gif."""
    task: tuple[str, ...] = ()
    """Task to film, as NAME=VALUE ..., all else nominal; drawn from the split if not given. With
    --grid: the parameters that are the same in all tasks."""
    grid: str | None = None
    """Film a grid of tasks instead, columns x rows, such as 3x3: from the lowest to the highest
    value of two task parameters, training range and beyond."""
    grid_parameters: tuple[str, ...] = ()
    """Task parameters of the columns and the rows of --grid; those of the heat map if not given."""
    config: RenderConfig = field(default_factory=RenderConfig)
    """What is filmed."""

    def __post_init__(self) -> None:
        """Refuse parameters of no grid."""
        if self.grid_parameters and not self.grid:
            raise ValueError("--grid-parameters goes with --grid, such as --grid 3x3")


def run(arguments: list[str], prog: str) -> int:
    """Film an adaptation, or a grid of them."""
    options = parse(Options, arguments, prog)
    task, grid = parse_task(options.task), parse_grid(options.grid, options.grid_parameters)
    require_film_name(options.out)
    console = prepare()
    if options.out.parent.exists():  # else it is made
        require_writable(options.out)
    found = find_scene(load_run(options.run, best=options.best), options.scene)
    require_opengl()
    announce_learner(found, options.config.algorithm, console)
    try:
        lines = _film(found, options, task, grid)
    except VideoError as error:
        raise ValueError(str(error)) from error
    for line in (*lines, f"video: {options.out}"):
        print_line(console, line)
    return OK


def _film(
    run: TrainedRun, options: Options, task: dict[str, float] | None, grid: GridSize | None
) -> list[str]:
    """Film, and say what is seen."""
    variant = choose_variant(run, options.variant)
    if grid is None:
        shown = render_adaptation(run, options.out, options.config, task, variant)
        values = ", ".join(f"{name} {value:.3g}" for name, value in shown.task.items())
        return [f"{values}: return {' -> '.join(f'{value:z.2f}' for value in shown.returns)}"]
    filmed = render_grid(run, options.out, grid, options.config, task, variant)
    return [
        f"{after_episodes(number)}: {filmed.successes[number]} of {filmed.num_tasks} tasks "
        f"succeed, mean return {value:z.2f}"
        for number, value in filmed.returns.items()
    ]


def parse_grid(size: str | None, parameters: Sequence[str]) -> GridSize | None:
    """Parse COLUMNSxROWS; None if it was not given.

    Raises:
        ValueError: It has another form, or is too large.
    """
    if size is None:
        return None
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", size, re.ASCII)
    if not found:
        raise ValueError(f"--grid takes COLUMNSxROWS such as 3x3, got {size!r}")
    columns, rows = map(int, found.groups())
    return GridSize(columns=columns, rows=rows, parameters=tuple(parameters))
