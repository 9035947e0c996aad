"""What the sweeps of commands share: the command line, episodes, power laws and pictures."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarobot.cli.parsing import parse
from metarobot.envs import Tasks, TaskVectorEnv, silence_mujoco
from metarobot.files import write_json
from metarobot.named_files import write_file
from metarobot.reporting.style import with_palette


class SweepScript(NamedTuple):
    """A sweep of one family, as a script."""

    program: str
    """File name of the script."""
    command: type[Any]
    """Its options, a dataclass with a folder ``out``."""
    sweep: Callable[[Any], Any]
    """Runs the commands that the options ask for."""
    summarise: Callable[[Any], dict[str, Any]]
    """Says in plain numbers what a sweep found."""
    table: Callable[[dict[str, Any]], str]
    """Returns a summary as lines of text."""
    draw: Callable[[Any, Path], None]
    """Draws what a sweep found."""
    name: str
    """What its files are called, without suffix."""


def run_script(script: SweepScript, argv: Sequence[str] | None) -> int:
    """Run a sweep, and write its picture and its numbers; return 0, or 2 on bad input."""
    try:
        command = parse(script.command, sys.argv[1:] if argv is None else argv, script.program)
    except ValueError as error:
        print(f"{script.program}: error: {error}", file=sys.stderr)
        return 2
    silence_mujoco()
    result = script.sweep(command)
    summary = script.summarise(result)
    print(script.table(summary))
    command.out.mkdir(parents=True, exist_ok=True)
    script.draw(result, command.out / f"{script.name}.png")
    write_json(command.out / f"{script.name}.json", summary)
    return 0


def run(
    env: TaskVectorEnv, actions: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Run one episode in every simulation.

    Args:
        env: The simulations.
        actions: (T, num_envs, A).
        start: Uniforms that place the starts, (num_envs, S).

    Returns:
        Returns (num_envs,) and success at the end, (num_envs,).

    Raises:
        RuntimeError: A simulation became unstable.
    """
    env.reset(options={"start": start})
    returns, success = np.zeros(env.num_envs), np.zeros(env.num_envs, bool)
    for step_actions in actions:
        _, rewards, _, _, info = env.step(step_actions)
        if info["sim_unstable"].any():
            raise RuntimeError(f"{info['sim_unstable'].sum()} simulations became unstable")
        returns += rewards
        success = info["is_success"]
    return returns, success


def correlations(log_best: np.ndarray, tasks: Tasks, names: tuple[str, ...]) -> dict[str, float]:
    """Return the correlation of the logarithms of the best command and of each parameter."""
    return {n: float(np.corrcoef(log_best, np.log(tasks[n]))[0, 1]) for n in names}


def elasticities(log_best: np.ndarray, tasks: Tasks, names: tuple[str, ...]) -> dict[str, float]:
    """Fit log c* = a + Σ k_p log p: the best command grows as the k_p-th power of parameter p."""
    columns = [np.log(tasks[name]) for name in names]
    design = np.stack([*columns, np.ones_like(log_best)], axis=1)
    coefficients = np.linalg.lstsq(design, log_best, rcond=None)[0]
    return dict(zip(names, map(float, coefficients), strict=False))


def draw_level(axes: Axes, level: float, label: str, colour: str) -> None:
    """Draw a mean return as a level, named outside on the right."""
    axes.axhline(level, color=colour, lw=1.0, ls="--")
    axes.annotate(
        f"{label}: {level:.2f}",
        (1.01, level),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontsize=9,
        color=colour,
        annotation_clip=False,
    )


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes whenever it is drawn."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_file(path, with_palette(content.getvalue()))
