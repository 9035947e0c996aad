"""Measures predictions of remaining life on machines never seen, by the share of life seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.intervals import Calibration, calibrate
from metarobot.remaining_life.learners import LifeLearner
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.predictions import Checks, Predictions
from metarobot.remaining_life.scores import phm_score, root_mean_square

SEEN = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of a part's life at which its remaining life is predicted."""
PARTS = {"first": (0,), "second": (1,), "both": (0, 1)}
"""Which parts of the machines: the first, without a part before it; the second; all."""
_RESAMPLES = 2000


class Outcome(NamedTuple):
    """What came of the predictions for M machines, their P parts, at each share of life."""

    error_cycles: np.ndarray
    """Predicted less true remaining cycles, (M, P, len(SEEN))."""
    covered: np.ndarray
    """Whether the interval holds the truth, (M, P, len(SEEN))."""


def checks_at(lives: Lives) -> Checks:
    """Return the last check up to each share of every part's life, M x P x len(SEEN) of them."""
    machines, parts = lives.life_cycles.shape
    machine, part, seen = np.indices((machines, parts, len(SEEN))).reshape(3, -1)
    cycle = np.array(SEEN)[seen] * lives.life_cycles[machine, part]
    last = np.floor(cycle / CYCLES_BETWEEN_CHECKS).astype(int)
    return Checks(machine, part, np.minimum(last, lives.num_checks[machine, part] - 1))


def calibrate_on(learner: LifeLearner, lives: Lives) -> Calibration:
    """Calibrate the intervals of a learner on machines that it was not trained on."""
    checks = checks_at(lives)
    remaining = lives.remaining_cycles[tuple(checks)]
    return calibrate(learner.predict(lives, checks), checks, remaining)


def measure(learner: LifeLearner, calibration: Calibration, lives: Lives) -> Outcome:
    """Predict at every share of life, and compare with what came."""
    return outcome_of(learner.predict(lives, checks_at(lives)), calibration, lives)


def outcome_of(predictions: Predictions, calibration: Calibration, lives: Lives) -> Outcome:
    """Compare predictions at `checks_at` with what came."""
    checks = checks_at(lives)
    low, high = calibration.interval(predictions, checks)
    truth = lives.remaining_cycles[tuple(checks)]
    shape = (*lives.life_cycles.shape, len(SEEN))
    covered = (low <= truth) & (truth <= high)
    return Outcome((predictions.cycles - truth).reshape(shape), covered.reshape(shape))


def rows_of(name: str, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the rows of one learner, trained once for each of some seeds.

    Intervals are 95 % bootstrap intervals over machines and seeds; a resample takes a machine with
    all of its parts.
    """
    errors = np.stack([outcome.error_cycles for outcome in outcomes])  # (seeds, M, P, shares)
    covered = np.stack([outcome.covered for outcome in outcomes])
    rows = []
    for parts, numbers in PARTS.items():
        for place, seen in enumerate(SEEN):
            rows.append(
                {"learner": name, "parts": parts, "seen": seen}
                | _score(errors[:, :, list(numbers), place], covered[:, :, list(numbers), place])
                | {"num_machines": errors.shape[1], "num_seeds": len(outcomes)}
            )
    return rows


def _score(error: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """Return each score with its interval, from errors and what was covered, (seeds, M, k) each."""
    squared, scored = (error**2).mean(axis=2), phm_score(error).mean(axis=2)
    share = held.mean(axis=2)
    return {
        "rmse": root_mean_square(error),
        "rmse_ci": _ends(np.sqrt(_resampled(squared))),
        "phm_score": float(scored.mean()),
        "phm_score_ci": _ends(_resampled(scored)),
        "coverage": float(share.mean()),
        "coverage_ci": _ends(_resampled(share)),
    }


def _resampled(values: np.ndarray) -> np.ndarray:
    """Return the means of resamples of seeds and machines, (_RESAMPLES,), from (seeds, M).

    A resample has the same machines for whatever is compared on them.
    """
    seeds, machines = values.shape
    drawn = np.random.default_rng(0).integers(machines, size=(_RESAMPLES, machines))
    seed = np.random.default_rng((1, seeds)).integers(seeds, size=(_RESAMPLES, seeds))
    shares = np.stack([(seed == number).mean(axis=1) for number in range(seeds)], axis=1)
    return np.einsum("bs,sbm->b", shares, values[:, drawn]) / machines


def _ends(resampled: np.ndarray) -> list[float]:
    return [float(end) for end in np.quantile(resampled, (0.025, 0.975))]


def ratio_of(
    one: Sequence[Outcome], other: Sequence[Outcome], parts: str, seen: float
) -> list[float]:
    """Return RMSE of one over that of the other, with its 95 % interval, on the same machines."""
    place, numbers = SEEN.index(seen), list(PARTS[parts])
    squares = []
    for outcomes in (one, other):
        error = np.stack([outcome.error_cycles[:, numbers, place] for outcome in outcomes])
        squares.append((error**2).mean(axis=2))
    first, second = (np.sqrt(_resampled(square)) for square in squares)
    whole = np.sqrt(squares[0].mean() / squares[1].mean())
    return [float(whole), *_ends(first / second)]
