"""Measure predictions of remaining life on machines never seen, for docs/remaining-life.md.

Writes docs/results/remaining_life.json and docs/remaining-life.png.  Recording the fleet takes most
of the time; `--cache` keeps what it has shown.  Two rows are no learners but the posterior of the
simulator itself, which knows all its laws.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from commands import takes_options
from life_curves import draw_lives
from life_floor import Floor, measure_floors

from metarobot.files import rounded, write_json
from metarobot.remaining_life import (
    LIVES_OF_EACH_FAULT,
    UPDATES,
    WITHOUT_SEED,
    Calibration,
    LifeLearner,
    Lives,
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

    num_train: int = 400
    """Machines that learners are trained on."""
    num_calibration: int = 100
    """Machines that intervals are calibrated on."""
    num_test: int = 200
    """Machines that are predicted; none of them in the others."""
    train_seed: int = 100
    """Of the machines to learn from and to calibrate on; settings were chosen among these."""
    test_seed: int = 1
    """Of the machines that are predicted.  Those of seed 0 were measured twice, before settings
    were chosen anew."""
    num_seeds: int = 3
    """Trainings of every network."""
    num_updates: int = UPDATES
    """Meta-updates of each."""
    num_lives: int = LIVES_OF_EACH_FAULT
    """Lives of each fault that the simulator's posterior is drawn from."""
    cache: Path = Path("runs/remaining-life")
    """Folder that keeps the indicators of all checks."""
    out: Path = DOCS / "results/remaining_life.json"
    """File of the figures."""
    picture: Path = DOCS / "remaining-life.png"
    """Remaining life of a few test machines."""
    num_threads: int = 0
    """Native threads; 0 takes every processor."""


Trained = dict[str, list[tuple[LifeLearner, Calibration]]]
"""What came of every seed, by the learner's name."""


@takes_options(RemainingLifeCommand, "remaining_life.py")
def main(command: RemainingLifeCommand) -> None:
    """Learn, then watch machines never seen, predict, and write."""
    torch.set_num_threads(1)  # the networks are small
    watch = partial(watch_fleet, cache=command.cache, num_threads=command.num_threads)
    count = command.num_train + command.num_calibration
    known = watch(count, "train", seed=command.train_seed)
    health = fit_health_index(known.rows(slice(command.num_train)))
    known_lives = read_lives(known, health)
    training = known_lives.rows(slice(command.num_train))
    trained = _learn(training, known_lives.rows(slice(command.num_train, None)), command)
    test = watch(command.num_test, "test", seed=command.test_seed)
    lives = read_lives(test, health)
    found = {name: [measure(*pair, lives) for pair in pairs] for name, pairs in trained.items()}
    floors = measure_floors(
        training, command.train_seed, lives, command.test_seed, command.num_lives
    )
    write_json(command.out, rounded(_rows(found, floors)))
    draw_lives(lives, {name: pairs[0] for name, pairs in trained.items()}, command.picture)


def _learn(training: Lives, calibration: Lives, command: RemainingLifeCommand) -> Trained:
    """Train every learner on some machines, and calibrate it on others."""
    trained: Trained = {}
    for name in life_learners(0):
        for seed in range(1 if name in WITHOUT_SEED else command.num_seeds):
            print(f"training {name}, seed {seed}", flush=True)
            learner = life_learners(seed, command.num_updates)[name](training)
            trained.setdefault(name, []).append((learner, calibrate_on(learner, calibration)))
    return trained


def _rows(found: dict[str, list[Outcome]], floors: dict[str, Floor]) -> list[dict[str, Any]]:
    """Return the rows of all learners and of the posterior, each with RMSE of MAML over its own."""
    found = found | {name: [floor.outcome] for name, floor in floors.items()}
    rows = [row for name, outcomes in found.items() for row in rows_of(name, outcomes)]
    for row in rows:
        own = found[row["learner"]]
        row["maml_over"] = ratio_of(found["MAML"], own, row["parts"], row["seen"])
        if (name := row["learner"]) in floors:
            row |= floors[name].lives_at(row["seen"])
    return rows


if __name__ == "__main__":
    sys.exit(main())
