"""What the sweeps of commands share: what they write, episodes, power laws and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarobot.envs import Tasks, TaskVectorEnv, silence_mujoco
from metarobot.files import write_json
from metarobot.named_files import write_file
from metarobot.reporting.style import with_palette

ResultT = TypeVar("ResultT")


def run_sweep(
    command: Any,
    sweep: Callable[[Any], ResultT],
    summarise: Callable[[ResultT], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    draw: Callable[[ResultT, Path], None],
    name: str,
) -> None:
    """Run a sweep of one family, and write its picture and its numbers.

    Args:
        command: The options, a dataclass with a folder ``out``.
        sweep: Runs the commands that the options ask for.
        summarise: Says in plain numbers what the sweep found.
        table: Returns a summary as lines of text.
        draw: Draws what the sweep found.
        name: What its files are called, without suffix.
    """
    silence_mujoco()
    result = sweep(command)
    summary = summarise(result)
    print(table(summary))
    command.out.mkdir(parents=True, exist_ok=True)
    draw(result, command.out / f"{name}.png")
    write_json(command.out / f"{name}.json", summary)


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
