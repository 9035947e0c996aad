"""What Carry has to offer before anything is trained: every input shaper on many tasks.

A shaper is a motion made for an assumed length of the rod, or for a band of lengths around it: a
sharp one takes the swing out of one rod, a robust one takes out most of it for many.  The best
shaper for all tasks is about what a policy can reach that knows nothing of the task; the best
shaper for each task is a lower bound on the oracle; what lies between is the headroom that
adaptation can win.  No learning, a few minutes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from commands import takes_options
from input_shaping import shaped_speeds
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, StrMethodFormatter
from sweeps import correlations, draw_level, elasticities, run, run_sweep, write_figure

from metarobot.envs import Tasks, find_family, make_env
from metarobot.envs.carry import GOAL_DISTANCE_M, SPEED_MAX_M_PER_S
from metarobot.reporting.style import ALGORITHM_COLOURS
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.provenance import choose_num_threads

ENV_ID = "metarobot/Carry-v0"
ROBUSTNESS = (1.0, 1.3, 1.7)
"""Ratio of the longest rod that a shaper is made for to the one in the middle; 1.7 spans
the whole range trained on."""
_RODS_IN_A_BAND = 7
_GREATEST_OVER_LONGEST = 1.2
"""A shaper is best that assumes a rod a little longer: a wide swing is slower, and the arm gives
way."""
_NAMES = ("rod_length_m", "load_mass_kg")
_SHOWN_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)  # of the rod's length: the tasks in the picture


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """Run input shapers on many Carry tasks of the training split."""

    num_tasks: int = 120
    """Tasks drawn from the training split."""
    num_lengths: int = 17
    """Lengths that a shaper assumes, evenly spaced in their logarithm."""
    num_starts: int = 3
    """Episodes per task and shaper, with goals from near to far."""
    seed: int = 100
    """Seed of the tasks and starts."""
    out: Path = Path("docs/results")
    """Folder for carry_sweep.json and carry_sweep.png."""

    def __post_init__(self) -> None:
        """Refuse sizes that show nothing."""
        if self.num_tasks < 3 or self.num_lengths < 2 or self.num_starts < 1 or self.seed < 0:
            raise ValueError(
                "--num-tasks must be at least 3, --num-lengths 2, --num-starts 1 and --seed 0"
            )


class Sweep(NamedTuple):
    """What every shaper reached in every task, averaged over starts."""

    tasks: Tasks  # N
    length_m: np.ndarray  # (L,), assumed
    returns: np.ndarray  # (N, R, L), by robustness and length
    success: np.ndarray  # (N, R, L)
    random_returns: np.ndarray  # (N,), of uniformly random actions


def sweep(command: SweepCommand) -> Sweep:
    """Run every shaper on every task, all tasks at once, shaper by shaper."""
    num_envs = command.num_tasks * command.num_starts
    env = make_env(ENV_ID, num_envs, num_threads=choose_num_threads())
    rng = numpy_generator(command.seed, 0, Phase.EVALUATION_TASKS)
    tasks = env.distribution.sample(rng, command.num_tasks)
    env.set_tasks(tasks)
    # All tasks have the same starts, so that a shaper is made once for each.
    start = rng.random((command.num_starts, env.start_size))
    start[:, -1] = (np.arange(command.num_starts) + 0.5) / command.num_starts
    everywhere = np.tile(start, (command.num_tasks, 1))
    low, high = find_family(ENV_ID).distribution["rod_length_m"].train
    length_m = np.geomspace(low, _GREATEST_OVER_LONGEST * high, command.num_lengths)

    def per_task(values: np.ndarray) -> np.ndarray:
        return values.reshape(command.num_tasks, command.num_starts).mean(axis=1)

    def outcome(length: float, robustness: float) -> np.ndarray:
        actions = [shaper(length, robustness, row[-1], env.control_dt_s) for row in start]
        actions = np.tile(np.stack(actions, axis=1), (1, command.num_tasks))
        return np.stack([per_task(each) for each in run(env, actions[:, :, None], everywhere)])

    outcomes = np.array([[outcome(x, robustness) for x in length_m] for robustness in ROBUSTNESS])
    returns, success = outcomes.transpose(2, 3, 0, 1)
    random_actions = rng.uniform(-1.0, 1.0, (env.horizon, num_envs, 1))
    random_returns = per_task(run(env, random_actions, everywhere)[0])
    env.close()
    return Sweep(tasks, length_m, returns, success, random_returns)


def shaper(
    length_m: float, robustness: float, goal_uniform: float, control_dt_s: float
) -> np.ndarray:
    """Return the actions of a shaper, (T,), for rods around a length and the goal of a start."""
    num_rods = _RODS_IN_A_BAND if robustness > 1 else 1
    rods = length_m * np.geomspace(1 / robustness, robustness, num_rods)
    near, far = GOAL_DISTANCE_M
    distance_m = near + (far - near) * goal_uniform
    speeds = shaped_speeds(rods, distance_m, control_dt_s)
    return np.append(2 * speeds / SPEED_MAX_M_PER_S - 1, -1.0)


def summarise(result: Sweep) -> dict[str, Any]:
    """Return what the sweep says about the family, in plain numbers."""
    num_tasks, num_lengths = len(result.tasks), len(result.length_m)
    returns = result.returns.reshape(num_tasks, -1)  # (N, R * L)
    success = result.success.reshape(num_tasks, -1)
    rows, best_each = np.arange(num_tasks), returns.argmax(axis=1)
    best_all = int(returns.mean(axis=0).argmax())
    each, for_all = float(returns[rows, best_each].mean()), float(returns[:, best_all].mean())
    random_return = float(result.random_returns.mean())
    log_best = np.log(result.length_m[best_each % num_lengths])
    return {
        "family": ENV_ID,
        "num_tasks": num_tasks,
        "num_shapers": returns.shape[1],
        "random_return": random_return,
        "best_for_all": {
            "robustness": ROBUSTNESS[best_all // num_lengths],
            "length_m": float(result.length_m[best_all % num_lengths]),
            "return": for_all,
            "success": float(success[:, best_all].mean()),
        },
        "best_for_each": {
            "length_m": np.exp([log_best.min(), log_best.max()]).tolist(),
            "return": each,
            "success": float(success[rows, best_each].mean()),
        },
        "headroom": each - for_all,
        "headroom_over_random": (each - for_all) / (each - random_return),
        "correlation_of_log_best_length": correlations(log_best, result.tasks, _NAMES),
        "elasticity_of_best_length": elasticities(log_best, result.tasks, _NAMES),
        "robustness": ROBUSTNESS,
        "length_m": result.length_m.tolist(),
        "mean_return": result.returns.mean(axis=0).tolist(),
        "mean_success": result.success.mean(axis=0).tolist(),
    }


def draw(result: Sweep, path: Path) -> None:
    """Draw the return over the length assumed: sharp shapers on a few tasks, and means."""
    summary = summarise(result)
    figure = Figure(figsize=(9, 5.0), layout="constrained")
    axes = figure.add_subplot()
    _draw_tasks(axes, result)
    colour = ALGORITHM_COLOURS["domain_randomisation"]
    for robustness, mean, style in zip(
        ROBUSTNESS, result.returns.mean(axis=0), ("-", "--", ":"), strict=True
    ):
        band = f", lengths x {1 / robustness:.2g} to {robustness:.2g}" if robustness > 1 else ""
        label = f"mean over all tasks{band}"
        axes.plot(result.length_m, mean, style, color=colour, lw=2.4, label=label)
    draw_level(axes, summary["best_for_all"]["return"], "best for all", colour)
    colour = ALGORITHM_COLOURS["oracle"]
    draw_level(axes, summary["best_for_each"]["return"], "best for each task", colour)
    colour = ALGORITHM_COLOURS["random"]
    draw_level(axes, summary["random_return"], "random speeds", colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter("")
    axes.set_xlim(result.length_m[0], result.length_m[-1])
    axes.set_xlabel("length of the rod that the shaper assumes, m")
    axes.set_ylabel("return")
    axes.set_title("Carry: what every input shaper is worth", loc="left", fontsize=11)
    lines, names = axes.get_legend_handles_labels()
    figure.legend(lines, names, fontsize=8.5, frameon=False, ncols=3, loc="outside lower left")
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)


def _draw_tasks(axes: Axes, result: Sweep) -> None:
    """Draw the return of sharp shapers in tasks from the shortest rod to the longest."""
    rod_m = result.tasks["rod_length_m"]
    order = np.argsort(rod_m, kind="stable")
    shown = order[[round(q * (len(order) - 1)) for q in _SHOWN_QUANTILES]]
    colours = colormaps["viridis"](np.linspace(0.88, 0.05, len(shown)))
    for task, colour in zip(shown, colours, strict=True):
        returns = result.returns[task, 0]
        axes.plot(
            result.length_m, returns, color=colour, lw=1.4, label=f"rod of {rod_m[task]:.2f} m"
        )
        axes.plot(result.length_m[returns.argmax()], returns.max(), "o", color=colour, ms=5)


def table(summary: dict[str, Any]) -> str:
    """Return the summary as lines of text."""
    each, for_all = summary["best_for_each"], summary["best_for_all"]
    low, high = each["length_m"]
    lines = [
        f"{'shaper':<34} {'length, m':>14} {'return':>8} {'success':>8}",
        f"{'uniformly random speeds':<34} {'':>14} {summary['random_return']:>8.2f}",
        f"{'best for all':<34} {for_all['length_m']:>14.3f} "
        f"{for_all['return']:>8.2f} {for_all['success']:>8.2f}",
        f"{'best for each task':<34} {f'{low:.2f} .. {high:.2f}':>14} "
        f"{each['return']:>8.2f} {each['success']:>8.2f}",
        f"headroom {summary['headroom']:.2f}, "
        f"{summary['headroom_over_random']:.2f} of what is between random and the best for each",
    ]
    for name, power in summary["elasticity_of_best_length"].items():
        correlation = summary["correlation_of_log_best_length"][name]
        lines.append(
            f"best length ~ {name}^{power:.2f}, correlation of logarithms {correlation:.2f}"
        )
    return "\n".join(lines)


@takes_options(SweepCommand, "sweep_shapers.py")
def main(command: SweepCommand) -> None:
    """Run the sweep."""
    run_sweep(command, sweep, summarise, table, draw, "carry_sweep")


if __name__ == "__main__":
    sys.exit(main())
