"""Errors in remaining life of the posterior of the simulator itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.diagnosis import MachineSplit, sample_machines
from metarobot.remaining_life import (
    SEEN,
    Lives,
    Outcome,
    Parts,
    Sight,
    SimulatorPosterior,
    checks_at,
    fit_index_sight,
    outcome_of,
    perfect_sight,
    sample_parts,
    uncalibrated,
)

POSTERIOR = "simulator's own posterior"
PERFECT = "simulator's own posterior, perfect sensors"


class Floor(NamedTuple):
    """What came of the posterior's predictions, and on how many different lives they stand."""

    outcome: Outcome
    num_effective: np.ndarray
    """(M, P, len(SEEN))."""

    def lives_at(self, seen: float) -> dict[str, float]:
        """Return how many lives half and 95 % of the predictions stand on at least."""
        found = self.num_effective[:, :, SEEN.index(seen)]
        return {
            "effective_lives": float(np.median(found)),
            "effective_lives_of_95_percent": float(np.quantile(found, 0.05)),
        }


def measure_floors(
    training: Lives, train_seed: int, test: Lives, test_seed: int, num_lives: int
) -> dict[str, Floor]:
    """Predict test machines by the posterior: from their health index, and from its causes.

    Args:
        training: The first machines of the training split: the noise of the index is theirs.
        train_seed: Of these machines.
        test: The first machines of the test split.
        test_seed: Of these machines.
        num_lives: Drawn of each fault.
    """
    sights: dict[str, Sight] = {
        POSTERIOR: fit_index_sight(training, _parts(training, "train", train_seed)),
        PERFECT: perfect_sight(test, _parts(test, "test", test_seed)),
    }
    return {name: _measure(name, sight, test, num_lives) for name, sight in sights.items()}


def _parts(lives: Lives, split: MachineSplit, seed: int) -> Parts:
    return sample_parts(sample_machines(len(lives), split, seed=seed))


def _measure(name: str, sight: Sight, lives: Lives, num_lives: int) -> Floor:
    print(f"predicting by the {name}", flush=True)
    found = SimulatorPosterior(sight, num_lives).posterior(lives, checks_at(lives))
    outcome = outcome_of(found.predictions, uncalibrated(), lives)
    return Floor(outcome, found.num_effective.reshape(outcome.error_cycles.shape))
