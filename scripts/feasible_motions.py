"""Whether every task of Carry can be solved at all: the best motion that a search finds for each.

The search knows the task and the start, so what it reaches no policy has to find out. It covers
the ends of all splits, with the nearest and the farthest goal.  A motion that succeeds proves that
its task can be solved.  That none is found proves nothing, but the cost has about one optimum.

The search is the cross-entropy method: draw motions from a Gaussian, keep those that earned most,
fit the Gaussian to them.  It begins with the input shaper for the rod.  No learning, minutes.

Source: Rubinstein 1999, "The cross-entropy method for combinatorial and continuous optimization".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from commands import takes_options
from input_shaping import shaped_speeds
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sweeps import run, run_sweep, write_figure

from metarobot.envs import Tasks, make_env
from metarobot.envs.carry import (
    DISTRIBUTION,
    GOAL_DISTANCE_M,
    MOVE_STEPS,
    SPEED_MAX_M_PER_S,
)
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.provenance import choose_num_threads

ENV_ID = "metarobot/Carry-v0"
FIRST_STD_M_PER_S = 0.15
"""Spread of the speeds that the search begins with."""
KEPT_SHARE = 0.25
"""Share of the motions of a round that the next round is drawn around."""
DECIMALS = 3
"""Of the speeds in m/s, as they are written down and judged."""
WIDEST_START = (1 - 1e-9, 1 - 1e-9)
"""Uniforms of the load that swings most at the start."""
GOALS = ("near", "far")
_GOAL_UNIFORMS = (0.0, 1 - 1e-9)
_COLOURS = ("#7a7a7a", "#56b4e9", "#0072b2", "#007f5f")  # by the time given
_FAILED_COLOUR = "#c65400"


@dataclass(frozen=True, kw_only=True)
class SearchCommand:
    """Search the best motions of Carry for known tasks at the ends of all splits."""

    move_steps: tuple[int, ...] = (10, MOVE_STEPS)
    """Control steps that the move may take; the last ones' motions are written down."""
    num_rounds: int = 16
    """Rounds of the search."""
    num_motions: int = 32
    """Motions in a round, for each task."""
    seed: int = 100
    """Seed of the search."""
    out: Path = Path("docs/results")
    """Folder for carry_motions.json and carry_motions.png."""

    def __post_init__(self) -> None:
        """Refuse sizes with which nothing can be found."""
        if not self.move_steps or min(self.move_steps) < 2:
            raise ValueError("--move-steps must be numbers of at least 2")
        if self.num_rounds < 1 or self.num_motions < 10 or self.seed < 0:
            raise ValueError("--num-rounds must be at least 1, --num-motions 10 and --seed 0")


class Corners(NamedTuple):
    """Known tasks and starts, goal by goal, rod by rod, load by load: N = G * L * M."""

    rod_m: np.ndarray  # (L,)
    tasks: Tasks  # N
    goal_uniform: np.ndarray  # (N,)

    @property
    def start(self) -> np.ndarray:
        """Uniforms of the starts, (N, S)."""
        swing = np.tile(WIDEST_START, (len(self.goal_uniform), 1))
        return np.column_stack([swing, self.goal_uniform])

    def by_rod(self, values: np.ndarray) -> np.ndarray:
        """Return values (N,) as (G, L, M)."""
        return values.reshape(len(GOALS), len(self.rod_m), -1)


class Found(NamedTuple):
    """The best motions for one time given."""

    move_steps: int
    speeds: np.ndarray  # (N, move_steps), m/s
    returns: np.ndarray  # (N,)
    success: np.ndarray  # (N,)


def corners() -> Corners:
    """Return the ends of all splits, with the loads whose swing dies out first and last."""
    rods, masses, dampings = (_ends(name) for name in DISTRIBUTION.names)
    loads = [(masses[0], dampings[-1]), (masses[-1], dampings[0])]
    rows = [(rod, *load, goal) for goal in _GOAL_UNIFORMS for rod in rods for load in loads]
    *columns, goal = np.array(rows).T
    tasks = Tasks(dict(zip(DISTRIBUTION.names, columns, strict=True)))
    return Corners(rods, tasks, goal)


def _ends(name: str) -> np.ndarray:
    """Return the ends of a parameter's intervals in all splits, and its nominal value."""
    parameter = DISTRIBUTION[name]
    intervals = [pair for split in DISTRIBUTION.splits for pair in parameter.intervals(split)]
    return np.unique([parameter.nominal, *np.ravel(intervals)])


def search(command: SearchCommand) -> tuple[Corners, list[Found]]:
    """Search the best motions for every corner and every time given."""
    where = corners()
    return where, [best_motions(where, command, steps) for steps in command.move_steps]


def best_motions(where: Corners, command: SearchCommand, move_steps: int) -> Found:
    """Search by the cross-entropy method, all corners at once."""
    num_tasks, num_motions = len(where.tasks), command.num_motions
    env = make_env(
        ENV_ID,
        num_tasks * num_motions,
        num_threads=choose_num_threads(),
        horizon=move_steps + 1,
    )
    env.set_tasks(where.tasks)
    start = np.repeat(where.start, num_motions, axis=0)
    mean = shapers(where, move_steps, env.control_dt_s)
    std = np.full_like(mean, FIRST_STD_M_PER_S)
    best = Found(move_steps, mean, np.full(num_tasks, -np.inf), np.zeros(num_tasks, bool))
    for round_number in range(command.num_rounds):
        noise = _noise(command, round_number, mean.shape)
        motions = np.clip(mean[:, None] + std[:, None] * noise, 0.0, SPEED_MAX_M_PER_S)
        motions = motions.round(DECIMALS)  # (N, motions, steps)
        outcome = run(env, as_actions(motions.reshape(-1, move_steps)), start)
        returns, success = (values.reshape(num_tasks, num_motions) for values in outcome)
        order = np.argsort(-returns, axis=1)
        first = np.arange(num_tasks), order[:, 0]
        best = Found(move_steps, motions[first], returns[first], success[first])
        kept = order[:, : round(KEPT_SHARE * num_motions)]
        elite = np.take_along_axis(motions, kept[:, :, None], axis=1)
        mean, std = elite.mean(axis=1), elite.std(axis=1)
    env.close()
    return best


def shapers(where: Corners, move_steps: int, control_dt_s: float) -> np.ndarray:
    """Return the speeds of the input shaper for every corner, (N, move_steps)."""
    near, far = GOAL_DISTANCE_M
    distance_m = near + (far - near) * where.goal_uniform
    rods = zip(where.tasks["rod_length_m"], distance_m, strict=True)
    return np.array([shaped_speeds(rod, goal, control_dt_s, move_steps) for rod, goal in rods])


def as_actions(speeds: np.ndarray) -> np.ndarray:
    """Return the actions (T, N, 1) of speeds (N, move_steps); the last one has no effect."""
    moves = 2 * speeds.T / SPEED_MAX_M_PER_S - 1
    return np.concatenate([moves, np.full_like(moves[:1], -1.0)])[:, :, None]


def _noise(command: SearchCommand, round_number: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the standard normals of a round, (N, motions, steps); the first motion has none."""
    num_tasks, move_steps = shape
    size = (command.num_motions, move_steps)
    noise = np.array(
        [
            numpy_generator(
                command.seed, 0, Phase.GUESSES, adaptation_step=round_number, task=task
            ).standard_normal(size)
            for task in range(num_tasks)
        ]
    )
    noise[:, 0] = 0.0
    return noise


def summarise(result: tuple[Corners, list[Found]]) -> dict[str, Any]:
    """Return what was found in plain numbers, and the motions for the last time given."""
    where, found = result
    return {
        "family": ENV_ID,
        "rod_length_m": where.rod_m.tolist(),
        "goals": GOALS,
        "searches": [_summary(where, each) for each in found],
        "tasks": where.tasks.to_dicts(),
        "start": where.start.tolist(),
        "speeds_m_per_s": found[-1].speeds.tolist(),
    }


def _summary(where: Corners, found: Found) -> dict[str, Any]:
    """Return the worse of both loads, by goal and rod."""
    returns = where.by_rod(found.returns).min(axis=2)
    return {
        "move_steps": found.move_steps,
        "solved": int(found.success.sum()),
        "num_tasks": len(found.success),
        "worst_return": float(returns.min()),
        "returns": returns.round(DECIMALS).tolist(),
        "success": where.by_rod(found.success).all(axis=2).tolist(),
    }


def table(summary: dict[str, Any]) -> str:
    """Return the summary as lines of text."""
    rods = summary["rod_length_m"]
    lines = [f"{'steps':>5} {'goal':>5} " + " ".join(f"{rod:>6.3f}" for rod in rods)]
    for search in summary["searches"]:
        for goal, returns in zip(GOALS, search["returns"], strict=True):
            cells = " ".join(f"{value:>6.2f}" for value in returns)
            lines.append(f"{search['move_steps']:>5} {goal:>5} {cells}")
        lines.append(
            f"{search['solved']} of {search['num_tasks']} tasks solved in "
            f"{search['move_steps']} steps"
        )
    return "\n".join(lines)


def draw(result: tuple[Corners, list[Found]], path: Path) -> None:
    """Draw the return of the best motion over the rod, a panel a goal, a line a time given."""
    summary = summarise(result)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, len(GOALS), sharey=True)
    for goal, axes in enumerate(panels):
        _draw_goal(axes, summary, goal)
    panels[0].set_ylim(top=0.1)  # for both panels, after both are drawn
    panels[0].set_ylabel("return of the best motion")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, fontsize=8.5, frameon=False, ncols=5, loc="outside lower left")
    write_figure(figure, path)


def _draw_goal(axes: Axes, summary: dict[str, Any], goal: int) -> None:
    """Draw the best motions to one goal, and mark those that do not succeed."""
    rod_m = np.array(summary["rod_length_m"])
    axes.axvspan(*DISTRIBUTION["rod_length_m"].train, color="#f2f2f2", label="training range")
    for search_of, colour in zip(summary["searches"], _COLOURS, strict=False):
        returns = np.array(search_of["returns"][goal])
        label = f"{search_of['move_steps']} steps"
        axes.plot(rod_m, returns, "-o", color=colour, lw=1.8, ms=4, label=label)
        failed = ~np.array(search_of["success"][goal])
        axes.plot(rod_m[failed], returns[failed], "x", color=_FAILED_COLOUR, ms=9, mew=2, zorder=3)
    axes.plot([], [], "x", color=_FAILED_COLOUR, ms=9, mew=2, label="no motion found succeeds")
    axes.set_xlabel("length of the rod, m")
    axes.set_title(f"goal at {GOAL_DISTANCE_M[goal]:.1f} m", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


@takes_options(SearchCommand, "feasible_motions.py")
def main(command: SearchCommand) -> None:
    """Run the search."""
    run_sweep(command, search, summarise, table, draw, "carry_motions")


if __name__ == "__main__":
    sys.exit(main())
