"""What Insert has to offer before anything is trained: every constant aim on many tasks.

An aim is where the peg goes down, and its lean: the set-point moves there as fast as it may, and
stays on the drawn path otherwise.  The best aim for all tasks is what a policy can reach that knows
nothing of the task and does not search; the best aim for each task is a lower bound on the oracle;
what lies between is the headroom that adaptation can win.  No learning, about two minutes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from commands import takes_options
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sweeps import draw_level, run, run_sweep, write_figure

from metarobot.envs import Tasks, make_env
from metarobot.envs.insert import LATERAL_M_PER_S, LEAN_RAD_PER_S
from metarobot.reporting.style import ALGORITHM_COLOURS
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.provenance import choose_num_threads

ENV_ID = "metarobot/Insert-v0"
OFFSET_M, LEAN_RAD = 0.016, 0.12
"""Greatest aim along x and y, and greatest lean; all are swept from minus to plus this."""
_SHOWN_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)  # of the hole's x: the tasks in the picture


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """Run constant aims on many Insert tasks of the training split."""

    num_tasks: int = 100
    """Tasks drawn from the training split."""
    num_offsets: int = 9
    """Aims along x, and along y, evenly spaced."""
    num_leans: int = 5
    """Leans, evenly spaced."""
    seed: int = 0
    """Seed of the tasks and starts."""
    out: Path = Path("docs/results")
    """Folder for insert_sweep.json and insert_sweep.png."""

    def __post_init__(self) -> None:
        """Refuse sizes that show nothing."""
        if self.num_tasks < 3 or self.num_offsets < 2 or self.num_leans < 2 or self.seed < 0:
            raise ValueError(
                "--num-tasks must be at least 3, --num-offsets and --num-leans 2 and --seed 0"
            )


class Sweep(NamedTuple):
    """What every aim reached in every task, in one episode each."""

    tasks: Tasks  # N
    aims: np.ndarray  # (F, 3), x (m), y (m) and lean (rad)
    returns: np.ndarray  # (N, F)
    success: np.ndarray  # (N, F)
    random_returns: np.ndarray  # (N,), of uniformly random actions


def aim_actions(aim: np.ndarray, horizon: int, control_dt_s: float) -> np.ndarray:
    """Return the actions (T, 4) that bring the set-point to an aim (3,) and keep it there."""
    rates = np.array([LATERAL_M_PER_S, LATERAL_M_PER_S, LEAN_RAD_PER_S])
    steps = aim / (rates * control_dt_s)  # control steps at full speed
    begun = np.arange(horizon)[:, None]
    share = np.clip(np.abs(steps) - begun, 0.0, 1.0) * np.sign(steps)
    return np.insert(share, 2, 0.0, axis=1)  # the feed stays as drawn


def sweep(command: SweepCommand) -> Sweep:
    """Run every aim on every task, all tasks at once, aim by aim."""
    env = make_env(ENV_ID, command.num_tasks, num_threads=choose_num_threads())
    rng = numpy_generator(command.seed, 0, Phase.EVALUATION_TASKS)
    tasks = env.distribution.sample(rng, command.num_tasks)
    env.set_tasks(tasks)
    start = rng.random((command.num_tasks, env.start_size))
    offsets = np.linspace(-OFFSET_M, OFFSET_M, command.num_offsets)
    leans = np.linspace(-LEAN_RAD, LEAN_RAD, command.num_leans)
    aims = np.array(list(product(offsets, offsets, leans)))
    outcomes = []
    for aim in aims:
        actions = aim_actions(aim, env.horizon, env.control_dt_s)
        outcomes.append(run(env, np.repeat(actions[:, None], command.num_tasks, axis=1), start))
    returns, success = (np.stack(values, axis=1) for values in zip(*outcomes, strict=True))
    shape = (env.horizon, command.num_tasks, len(env.action_elements))
    random_actions = rng.uniform(-1.0, 1.0, shape)
    random_returns = run(env, random_actions, start)[0]
    env.close()
    return Sweep(tasks, aims, returns, success, random_returns)


def summarise(result: Sweep) -> dict[str, Any]:
    """Return what the sweep says about the family, in plain numbers."""
    rows = np.arange(len(result.tasks))
    best_all = int(result.returns.mean(axis=0).argmax())
    best_each = result.returns.argmax(axis=1)  # (N,)
    each_return = float(result.returns[rows, best_each].mean())
    all_return = float(result.returns[:, best_all].mean())
    random_return = float(result.random_returns.mean())
    best = result.aims[best_each].T
    names = ("offset_x_m", "offset_y_m", "lean_rad")
    return {
        "family": ENV_ID,
        "num_tasks": len(result.tasks),
        "num_aims": len(result.aims),
        "random_return": random_return,
        "best_for_all": {
            "aim": result.aims[best_all].tolist(),
            "return": all_return,
            "success": float(result.success[:, best_all].mean()),
        },
        "best_for_each": {
            "return": each_return,
            "success": float(result.success[rows, best_each].mean()),
        },
        "headroom": each_return - all_return,
        "headroom_over_random": (each_return - all_return) / (each_return - random_return),
        "correlation_of_best_aim": {
            name: float(np.corrcoef(aim, result.tasks[name])[0, 1])
            for name, aim in zip(names, best, strict=True)
        },
    }


def draw(result: Sweep, path: Path) -> None:
    """Draw return over the aim's x for a handful of tasks, and the mean over all tasks."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.add_subplot()
    _draw_tasks(axes, result)
    mean = result.returns.mean(axis=0)
    colour = ALGORITHM_COLOURS["domain_randomisation"]
    x_mm, best = _best_by_x(result.aims, mean)
    axes.plot(x_mm, best, color=colour, lw=2.8, label="mean over all tasks")
    draw_level(axes, mean.max(), "the best aim\nfor all", colour)
    each = result.returns.max(axis=1).mean()
    draw_level(axes, each, "the best aim\nfor each task", ALGORITHM_COLOURS["oracle"])
    axes.set_xlabel("aim along x, mm, with the best y and lean for what is drawn")
    axes.set_ylabel("return")
    axes.set_title("Insert: what every constant aim is worth", loc="left", fontsize=11)
    axes.set_xlim(x_mm[0], x_mm[-1])
    axes.set_ylim(bottom=1.3 * result.returns.min())
    axes.legend(fontsize=8.5, frameon=False, loc="lower center", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)


def _best_by_x(aims: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every x swept, mm, and the best return (F,) of all aims at that x."""
    x_m = np.unique(aims[:, 0])
    return 1000 * x_m, np.array([returns[aims[:, 0] == x].max() for x in x_m])


def _draw_tasks(axes: Axes, result: Sweep) -> None:
    """Draw the best return over the aim's x for tasks from the nearest hole to the farthest."""
    offset_m = result.tasks["offset_x_m"]
    order = np.argsort(offset_m, kind="stable")
    shown = order[[round(q * (len(order) - 1)) for q in _SHOWN_QUANTILES]]
    colours = colormaps["viridis"](np.linspace(0.88, 0.05, len(shown)))
    for task, colour in zip(shown, colours, strict=True):
        x_mm, best = _best_by_x(result.aims, result.returns[task])
        label = f"hole {1000 * offset_m[task]:+.0f} mm off along x"
        axes.plot(x_mm, best, color=colour, lw=1.4, label=label)
        axes.plot(x_mm[best.argmax()], best.max(), "o", color=colour, ms=5)


def table(summary: dict[str, Any]) -> str:
    """Return the summary as lines of text."""
    rows = [
        ("uniformly random", summary["random_return"], None),
        *(
            (f"best aim for {who}", summary[f"best_for_{who}"]["return"], f"best_for_{who}")
            for who in ("all", "each")
        ),
    ]
    lines = [f"{'command':<20} {'return':>8} {'success':>8}"]
    for name, value, key in rows:
        success = f"{summary[key]['success']:>8.2f}" if key else ""
        lines.append(f"{name:<20} {value:>8.2f} {success}")
    over = summary["headroom_over_random"]
    lines.append(f"headroom {summary['headroom']:.2f}, {over:.2f} of the best for each - random")
    for name, correlation in summary["correlation_of_best_aim"].items():
        lines.append(f"correlation of the best aim with {name}: {correlation:.2f}")
    return "\n".join(lines)


@takes_options(SweepCommand, "sweep_aims.py")
def main(command: SweepCommand) -> None:
    """Run the sweep."""
    run_sweep(command, sweep, summarise, table, draw, "insert_sweep")


if __name__ == "__main__":
    sys.exit(main())
