"""`metarobot render`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.options import RenderCommand
from metarobot.cli.parsing import parse, parse_grid, parse_task
from metarobot.console import print_line
from metarobot.io import require_writable
from metarobot.machine import require_opengl
from metarobot.reporting.films import GridSize, render_adaptation, render_grid
from metarobot.reporting.style import after_episodes
from metarobot.reporting.video import VideoError, require_film_name
from metarobot.training.load import choose_variant, find_scene, load_run


def run(arguments: list[str], prog: str) -> int:
    """Film an adaptation, or a grid of them."""
    command = parse(RenderCommand, arguments, prog)
    task, grid = parse_task(command.task), parse_grid(command.grid, command.grid_parameters)
    require_film_name(command.out)
    console = prepare()
    if command.out.parent.exists():  # else it is made
        require_writable(command.out)
    try:
        _film_run(command, task, grid, console)
    except VideoError as error:
        raise ValueError(str(error)) from error
    print_line(console, f"video: {command.out}")
    return OK


def _film_run(
    command: RenderCommand,
    task: Mapping[str, float] | None,
    grid: GridSize | None,
    console: Console,
) -> None:
    """Film a run, and say what is seen."""
    run = find_scene(load_run(command.run, best=command.best), command.scene)
    variant = choose_variant(run, command.variant)
    require_opengl()
    announce_learner(run, command.config.algorithm, console)
    if grid is None:
        shown = render_adaptation(run, command.out, command.config, task, variant)
        _say_returns(console, shown.task, shown.returns)
        return
    filmed = render_grid(run, command.out, grid, command.config, task, variant)
    for number, value in filmed.returns.items():
        succeed = f"{filmed.successes[number]} of {filmed.num_tasks} tasks succeed"
        print_line(console, f"{after_episodes(number)}: {succeed}, mean return {value:z.2f}")


def _say_returns(console: Console, task: Mapping[str, float], returns: Sequence[float]) -> None:
    values = ", ".join(f"{name} {value:.3g}" for name, value in task.items())
    change = " -> ".join(f"{value:z.2f}" for value in returns)
    print_line(console, f"{values}: return {change}")
