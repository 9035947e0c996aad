"""Measure predictions of remaining life on simulated machines, for docs/remaining-life.md.

Writes docs/results/remaining_life.json and docs/remaining-life.png.  Learners are chosen and
trained on one fleet, and measured once on another one, together with references of scikit-learn.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from shared import PENDING, markdown_table, read, takes_options
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from metarobot.diagnosis.life import (
    calibrate,
    fixed_ages,
    predict_with,
    score,
    train,
    with_interval,
)
from metarobot.diagnosis.life_learners import LEARNERS, HealthIndex, fit_health_index
from metarobot.diagnosis.life_table import Columns, LifeTable, read_life_table
from metarobot.diagnosis.wear import wear_table
from metarobot.io import rounded, write_file, write_json
from metarobot.reporting.diagnosis_report import draw_lives
from metarobot.reporting.style import png_bytes

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True, kw_only=True)
class LifeCommand:
    """Measure predictions of remaining life, for docs/remaining-life.md."""

    num_train: int = 600
    """Machines for training and choosing learners."""
    num_test: int = 300
    """Machines to predict."""
    train_seed: int = 100
    test_seed: int = 2
    """Seeds of both fleets; the second fleet was not used in development."""
    seed: int = 0
    """Seed of folds and of parameters."""
    tables: Path = Path("runs/life")
    """Folder that keeps the tables of both fleets."""
    out: Path = DOCS / "results/remaining_life.json"
    """File of the figures."""
    picture: Path = DOCS / "remaining-life.png"
    """Predictions for a few test machines."""


@takes_options(LifeCommand, "life.py")
def main(command: LifeCommand) -> None:
    """Record both fleets, train, predict, and write."""
    torch.set_num_threads(1)  # the networks are small
    known = _fleet(command, "train", command.num_train, command.train_seed)
    test = _fleet(command, "test", command.num_test, command.test_seed)
    run, held_out = train(known, seed=command.seed, progress=lambda text, _: print(text))
    chosen, (health_index, rows) = run.config.learner, fit_health_index(known, command.seed)
    frames = []
    for name, kind in LEARNERS.items():
        learner = run.learner if name == chosen else kind.fit(rows, command.seed)
        factors = calibrate(held_out.query("learner == @name"))
        found = with_interval(predict_with(health_index, learner, test), factors)
        frames.append(found.assign(learner=name))
    for name, (median, mean) in _references(known, test, health_index, command.seed).items():
        frames.append(frames[0].assign(learner=name, median=median, mean=mean, low=np.nan))
    predictions = pd.concat(frames).query("left > 0")
    write_file(
        command.picture, png_bytes(draw_lives(predictions.query("learner == @chosen"), "cycle"))
    )
    scores = score(predictions, fixed_ages(known.end), best=chosen, seed=command.seed)
    scores = scores.assign(chosen=scores["learner"] == chosen, seed=command.seed)
    write_json(command.out, rounded(scores.to_dict("records")))


def _fleet(command: LifeCommand, split: Any, count: int, seed: int) -> LifeTable:
    """Return the table of a fleet; simulate it unless its folder has it."""
    path = command.tables / f"{split}_{count}_{seed}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        wear_table(count, split, seed=seed).to_csv(path, index=False)
    return read_life_table(path, Columns(time="cycle"))


def _references(
    known: LifeTable, test: LifeTable, health_index: HealthIndex, seed: int
) -> dict[str, list[np.ndarray]]:
    """Return medians and means (R,) by regressions on age and all sensors."""

    def inputs(table: LifeTable) -> np.ndarray:
        sensors = health_index.inputs(table)
        recent = pd.DataFrame(sensors).groupby(table.unit).rolling(3, min_periods=1).mean()
        return np.column_stack([table.time, sensors, recent.to_numpy()])

    def boosting(loss: Any) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            loss=loss, max_iter=150, learning_rate=0.05, max_leaf_nodes=15, random_state=seed
        )

    remaining = known.end[known.unit] - known.time
    forest = RandomForestRegressor(100, min_samples_leaf=10, max_features=0.33, random_state=seed)
    models = {
        "random forest, all sensors": [forest, forest],
        "gradient boosting, all sensors": [boosting("absolute_error"), boosting("squared_error")],
    }
    rows, ahead = inputs(known)[remaining > 0], inputs(test)
    return {
        name: [model.fit(rows, remaining[remaining > 0]).predict(ahead) for model in pair]
        for name, pair in models.items()
    }


def table(figure: str) -> str:
    """Return the Markdown table of one figure by learner and age: mae, rmse or coverage."""
    rows = read("remaining_life.json")
    if rows is None:
        return PENDING
    ages = list(dict.fromkeys(row["ages"] for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = f"**{row['learner']}**" if row["chosen"] else row["learner"]
        cells.setdefault(name, {})[row["ages"]] = _cell(row, figure)
    headings = [age if age == "all checks" else f"age {age}" for age in ages]
    shown = [[name, *own.values()] for name, own in cells.items() if any(own.values())]
    return markdown_table(("learner", *headings), shown)


def _cell(row: dict[str, Any], figure: str) -> str:
    if row[figure] is None:
        return ""
    if figure == "coverage":
        return f"{row[figure]:.0%}"
    low, high = row[f"{figure}_ci"]
    return f"{row[figure]:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    sys.exit(main())
