"""Measure predictions of remaining life on machines never seen, for docs/remaining-life.md.

Writes docs/results/remaining_life.json and docs/remaining-life.png.  Recording the fleet takes most
of the time; `--cache` keeps what it has shown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from life_curves import draw_lives

from metarobot.files import rounded, write_json
from metarobot.remaining_life import (
    Fleet,
    Outcome,
    calibrate_on,
    fit_health_index,
    life_learners,
    measure,
    ratio_of,
    read_lives,
    rows_of,
    watch_fleet,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True, kw_only=True)
class RemainingLifeCommand:
    """Measure predictions of remaining life, for docs/remaining-life.md."""

    num_train: int = 240
    """Machines that learners are trained on."""
    num_calibration: int = 60
    """Machines that intervals are calibrated on."""
    num_test: int = 200
    """Machines that are predicted; none of them in the others."""
    seed: int = 0
    """Of the machines; 100 to choose settings with."""
    num_seeds: int = 3
    """Trainings of every network."""
    cache: Path = Path("runs/remaining-life")
    """Folder that keeps the indicators of all checks."""
    out: Path = DOCS / "results/remaining_life.json"
    """File of the figures."""
    picture: Path = DOCS / "remaining-life.png"
    """Remaining life of a few test machines."""
    num_threads: int = 0
    """Native threads; 0 takes every processor."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, train, predict, write."""
    command = tyro.cli(RemainingLifeCommand, args=arguments)
    torch.set_num_threads(1)  # the networks are small
    known, test = _watch(command)
    train = known.rows(slice(command.num_train))
    health = fit_health_index(train)
    training = read_lives(train, health)
    calibration = read_lives(known.rows(slice(command.num_train, None)), health)
    lives = read_lives(test, health)
    found, drawn = {}, {}
    for name in life_learners(0):
        outcomes: list[Outcome] = []
        for seed in range(command.num_seeds):
            learner = life_learners(seed)[name](training)
            factors = calibrate_on(learner, calibration)
            outcomes.append(measure(learner, factors, lives))
            drawn.setdefault(name, (learner, factors))
            if "curve" in name:  # a curve has no seed
                break
        found[name] = outcomes
        print(f"{name}: {rows_of(name, outcomes)[11]}", flush=True)
    rows = [row for name, outcomes in found.items() for row in rows_of(name, outcomes)]
    write_json(command.out, rounded(rows))
    _compare(found)
    draw_lives(lives, drawn, command.picture)
    return 0


def _watch(command: RemainingLifeCommand) -> tuple[Fleet, Fleet]:
    """Return the machines to learn from and those to predict."""
    watch = partial(
        watch_fleet, seed=command.seed, cache=command.cache, num_threads=command.num_threads
    )
    known = watch(command.num_train + command.num_calibration, "train")
    return known, watch(command.num_test, "test")


def _compare(found: dict[str, list[Outcome]]) -> None:
    """Print RMSE of MAML after 30 % of life over that of every other learner."""
    for parts in ("first", "second", "both"):
        for name in found:
            ratio, low, high = ratio_of(found["MAML"], found[name], parts, 0.3)
            print(f"MAML over {name}, {parts}: {ratio:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    sys.exit(main())
