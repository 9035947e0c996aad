"""Remaining life of a small fleet of simulated arms, for a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarobot.diagnosis_runs.results import LifeCurve, LifeResult, LifeScore
from metarobot.diagnosis_runs.training import Progress
from metarobot.remaining_life import (
    CYCLES_BETWEEN_CHECKS,
    Calibration,
    Checks,
    LifeLearner,
    Lives,
    calibrate_on,
    fit_health_index,
    life_learners,
    measure,
    read_lives,
    rows_of,
    watch_fleet,
)
from metarobot.remaining_life.wear import WEARING_FAULTS

META_LEARNER = "MAML"
LEARNERS = (META_LEARNER, "Bayesian curve", "mean life")
"""Who is compared: a meta-learner, the best curve, and the least that anybody knows."""
_LAST_PART = 1
_CURVES = 4


@dataclass(frozen=True, kw_only=True)
class LifePlan:
    """How large the fleet is, and how long networks are trained."""

    num_train: int = 36
    num_calibration: int = 14
    num_test: int = 16
    updates: int = 300
    seed: int = 0


def measure_life(plan: LifePlan, progress: Progress, cache: Path | None = None) -> LifeResult:
    """Watch a fleet, train on machines whose parts are worn out, and predict others."""
    known = plan.num_train + plan.num_calibration
    progress(f"watching {known + plan.num_test} arms wear", 0.0)
    fleet = watch_fleet(known, "train", seed=plan.seed, cache=cache)
    test = watch_fleet(plan.num_test, "test", seed=plan.seed, cache=cache)
    train = fleet.rows(slice(plan.num_train))
    health = fit_health_index(train)
    training, lives = read_lives(train, health), read_lives(test, health)
    held = read_lives(fleet.rows(slice(plan.num_train, None)), health)
    scores, curves = [], ()
    for name in LEARNERS:
        progress(f"remaining life: {name}", 0.5)
        learner = life_learners(plan.seed, plan.updates)[name](training)
        calibration = calibrate_on(learner, held)
        scores += _scores(name, learner, calibration, lives)
        if name == META_LEARNER:
            curves = tuple(_curve(learner, calibration, lives, row) for row in _shown(lives))
    return LifeResult(curves=curves, scores=tuple(scores), num_machines=len(lives))


def _scores(
    name: str, learner: LifeLearner, calibration: Calibration, lives: Lives
) -> list[LifeScore]:
    """Return the scores over all parts of all machines, by share of life seen."""
    rows = rows_of(name, [measure(learner, calibration, lives)])
    return [
        LifeScore(learner=name, seen=row["seen"], rmse=row["rmse"], coverage=row["coverage"])
        for row in rows
        if row["parts"] == "both"
    ]


def _shown(lives: Lives) -> list[int]:
    """Return the first machine of each of a few faults."""
    _, first = np.unique(lives.fault, return_index=True)
    return sorted(int(row) for row in first)[:_CURVES]


def _curve(learner: LifeLearner, calibration: Calibration, lives: Lives, machine: int) -> LifeCurve:
    """Predict at every check of a machine's last part."""
    check = np.arange(lives.num_checks[machine, _LAST_PART])
    here = Checks(np.full_like(check, machine), np.full_like(check, _LAST_PART), check)
    predictions = learner.predict(lives, here)
    low, high = calibration.interval(predictions, here)
    return LifeCurve(
        title=tuple(WEARING_FAULTS)[int(lives.fault[machine])],
        age_cycles=_rounded(check * CYCLES_BETWEEN_CHECKS),
        predicted=_rounded(predictions.cycles),
        low=_rounded(low),
        high=_rounded(high),
        life_cycles=float(lives.life_cycles[machine, _LAST_PART]),
    )


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)
