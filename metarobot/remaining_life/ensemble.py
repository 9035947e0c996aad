"""Several trainings of one network that predict together: what differs between them is chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.networks import LifeNetwork, NetworkPlan, train_network
from metarobot.remaining_life.predictions import Checks, Predictions


class Ensemble(NamedTuple):
    """Networks that differ in their seed alone."""

    members: list[LifeNetwork]

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Predict remaining life at R checks: the members' mixture, by its moments."""
        found = [member.predict(lives, checks) for member in self.members]
        means = np.stack([own.mean_log for own in found])
        variances = np.stack([own.spread_log**2 for own in found])
        spread = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
        cycles = np.stack([own.cycles for own in found]).mean(axis=0)
        return Predictions(means.mean(axis=0), spread, cycles)


def train_ensemble(
    lives: Lives, plan_of: Callable[[int], NetworkPlan], seed: int, num_members: int
) -> Ensemble:
    """Train members on the same machines; no two seeds have a member in common."""
    seeds = range(seed * num_members, (seed + 1) * num_members)
    return Ensemble([train_network(lives, plan_of(own)) for own in seeds])
