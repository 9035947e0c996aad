"""What Grip has to offer before anything is trained: every constant command on many tasks.

The best command for all tasks is what a policy can reach that knows nothing of the task; the best
command for each task is a lower bound on the oracle; what lies between is the headroom that
adaptation can win.  The sweep also shows whether the outcome is smooth and monotone in the
command, and which task parameter the best command depends on.  No learning, about a minute.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from commands import takes_options
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from sweeps import correlations, draw_level, elasticities, run, run_sweep, write_figure

from metarobot.envs import Tasks, make_env
from metarobot.envs.grip import (
    CRUSH_PENALTY,
    FORCE_MAX_N,
    FORCE_MIN_N,
    SLIP_LOST_M,
    SLIP_PENALTY,
    crush,
    squeeze_force,
)
from metarobot.reporting.style import ALGORITHM_COLOURS
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.provenance import choose_num_threads

ENV_ID = "metarobot/Grip-v0"
SLIP_NOISE_M = 1e-3
"""A block that slips farther than this under a larger force breaks monotonicity."""
_SHOWN_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)  # of the best force: the tasks in the picture


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """Run constant squeezing forces on many Grip tasks of the training split."""

    num_tasks: int = 200
    """Tasks drawn from the training split."""
    num_forces: int = 41
    """Constant commands, from the smallest force to the largest, evenly spaced in its logarithm."""
    num_starts: int = 2
    """Episodes per task and command."""
    seed: int = 0
    """Seed of the tasks and starts."""
    out: Path = Path("docs/results")
    """Folder for grip_sweep.json and grip_sweep.png."""

    def __post_init__(self) -> None:
        """Refuse sizes that show nothing."""
        if self.num_tasks < 3 or self.num_forces < 2 or self.num_starts < 1 or self.seed < 0:
            raise ValueError(
                "--num-tasks must be at least 3, --num-forces 2, --num-starts 1 and --seed 0"
            )


class Sweep(NamedTuple):
    """What every constant command reached in every task, averaged over starts."""

    tasks: Tasks  # N
    force_n: np.ndarray  # (F,)
    returns: np.ndarray  # (N, F)
    success: np.ndarray  # (N, F)
    slip_m: np.ndarray  # (N, F), at the end
    random_returns: np.ndarray  # (N,), of uniformly random actions


def sweep(command: SweepCommand) -> Sweep:
    """Run every command on every task, all tasks at once, command by command."""
    num_envs = command.num_tasks * command.num_starts
    env = make_env(ENV_ID, num_envs, num_threads=choose_num_threads())
    rng = numpy_generator(command.seed, 0, Phase.EVALUATION_TASKS)
    tasks = env.distribution.sample(rng, command.num_tasks)
    env.set_tasks(tasks)
    start = rng.random((num_envs, env.start_size))
    actions = np.linspace(-1.0, 1.0, command.num_forces)
    force_n = squeeze_force(actions)

    def per_task(values: np.ndarray) -> np.ndarray:
        return values.reshape(command.num_tasks, command.num_starts).mean(axis=1)

    outcomes = [run(env, np.full((env.horizon, num_envs, 1), a), start) for a in actions]
    returns = np.stack([per_task(outcome[0]) for outcome in outcomes], axis=1)
    success = np.stack([per_task(outcome[1]) for outcome in outcomes], axis=1)
    crush_cost = CRUSH_PENALTY * crush(force_n[None], tasks["block_mass_kg"][:, None])
    # The return of a constant command is minus its crush minus its slip, and the first is known.
    slip_m = (-returns - crush_cost) * SLIP_LOST_M / SLIP_PENALTY
    random_actions = rng.uniform(-1.0, 1.0, (env.horizon, num_envs, 1))
    random_returns = per_task(run(env, random_actions, start)[0])
    env.close()
    return Sweep(tasks, force_n, returns, success, slip_m, random_returns)


def summarise(result: Sweep) -> dict[str, Any]:
    """Return what the sweep says about the family, in plain numbers."""
    rows = np.arange(len(result.tasks))
    best_all = int(result.returns.mean(axis=0).argmax())
    best_each = result.returns.argmax(axis=1)  # (N,)
    best_each_return = float(result.returns[rows, best_each].mean())
    best_all_return = float(result.returns[:, best_all].mean())
    random_return = float(result.random_returns.mean())
    log_best = np.log(result.force_n[best_each])
    names = result.tasks.names
    more_slip = np.diff(result.slip_m, axis=1)
    return {
        "family": ENV_ID,
        "num_tasks": len(result.tasks),
        "num_forces": len(result.force_n),
        "random_return": random_return,
        "best_for_all": {
            "force_n": float(result.force_n[best_all]),
            "return": best_all_return,
            "success": float(result.success[:, best_all].mean()),
        },
        "best_for_each": {
            "force_n": result.force_n[[best_each.min(), best_each.max()]].tolist(),
            "return": best_each_return,
            "success": float(result.success[rows, best_each].mean()),
        },
        "headroom": best_each_return - best_all_return,
        "headroom_over_random": (best_each_return - best_all_return)
        / (best_each_return - random_return),
        "correlation_of_log_best_force": correlations(log_best, result.tasks, names),
        "elasticity_of_best_force": elasticities(log_best, result.tasks, names),
        "slip_monotone_share": float((more_slip <= SLIP_NOISE_M).mean()),
        "greatest_slip_increase_m": float(max(more_slip.max(), 0.0)),
        "force_n": result.force_n.tolist(),
        "mean_return": result.returns.mean(axis=0).tolist(),
        "mean_success": result.success.mean(axis=0).tolist(),
        "mean_slip_m": result.slip_m.mean(axis=0).tolist(),
    }


def draw(result: Sweep, path: Path) -> None:
    """Draw return over force for a handful of tasks, and the mean over all tasks."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.add_subplot()
    _draw_tasks(axes, result)
    mean = result.returns.mean(axis=0)
    for_all = int(mean.argmax())
    colour = ALGORITHM_COLOURS["domain_randomisation"]
    axes.plot(result.force_n, mean, color=colour, lw=2.8, label="mean over all tasks")
    axes.axvline(result.force_n[for_all], color=colour, lw=1.0, ls="--")
    force = f"{result.force_n[for_all]:.1f} N"
    draw_level(axes, mean[for_all], f"the best force\nfor all, {force}", colour)
    each = result.returns.max(axis=1).mean()
    draw_level(axes, each, "the best force\nfor each task", ALGORITHM_COLOURS["oracle"])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlim(result.force_n[0], result.force_n[-1])
    axes.set_ylim(-2 * SLIP_PENALTY, 0.1 * SLIP_PENALTY)
    axes.set_xlabel("constant squeezing force per finger, N")
    axes.set_ylabel("return")
    axes.set_title("Grip: what every constant command is worth", loc="left", fontsize=11)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)


def _draw_tasks(axes: Axes, result: Sweep) -> None:
    """Draw the return over the force for tasks from the smallest best force to the largest."""
    best = result.returns.argmax(axis=1)
    order = np.argsort(result.force_n[best], kind="stable")
    shown = order[[round(q * (len(order) - 1)) for q in _SHOWN_QUANTILES]]
    colours = colormaps["viridis"](np.linspace(0.88, 0.05, len(shown)))
    mass, friction = result.tasks["block_mass_kg"], result.tasks["pad_friction"]
    for task, colour in zip(shown, colours, strict=True):
        label = f"{mass[task]:.2f} kg, friction {friction[task]:.2f}"
        axes.plot(result.force_n, result.returns[task], color=colour, lw=1.4, label=label)
        axes.plot(result.force_n[best[task]], result.returns[task].max(), "o", color=colour, ms=5)


def table(summary: dict[str, Any]) -> str:
    """Return the summary as lines of text."""
    each, for_all = summary["best_for_each"], summary["best_for_all"]
    low, high = each["force_n"]
    lines = [
        f"{'command':<34} {'force, N':>14} {'return':>8} {'success':>8}",
        f"{'uniformly random':<34} {f'{FORCE_MIN_N:g} .. {FORCE_MAX_N:g}':>14} "
        f"{summary['random_return']:>8.2f}",
        f"{'best constant for all':<34} {for_all['force_n']:>14.2f} "
        f"{for_all['return']:>8.2f} {for_all['success']:>8.2f}",
        f"{'best constant for each task':<34} {f'{low:.2f} .. {high:.2f}':>14} "
        f"{each['return']:>8.2f} {each['success']:>8.2f}",
        f"headroom {summary['headroom']:.2f}, "
        f"{summary['headroom_over_random']:.2f} of what is between random and the best for each",
    ]
    for name, correlation in summary["correlation_of_log_best_force"].items():
        power = summary["elasticity_of_best_force"][name]
        lines.append(
            f"best force ~ {name}^{power:.2f}, correlation of logarithms {correlation:.2f}"
        )
    lines.append(
        f"slip falls with the force in {summary['slip_monotone_share']:.1%} of steps, "
        f"greatest rise {1000 * summary['greatest_slip_increase_m']:.1f} mm"
    )
    return "\n".join(lines)


@takes_options(SweepCommand, "sweep_commands.py")
def main(command: SweepCommand) -> None:
    """Run the sweep."""
    run_sweep(command, sweep, summarise, table, draw, "grip_sweep")


if __name__ == "__main__":
    sys.exit(main())
