"""What is compared: meta-learners, one network for all, and degradation curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from metarobot.few_shot import MamlOptions, ReptileOptions
from metarobot.remaining_life.curve_learners import fit_bayesian, fit_exponential
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.mean_life import fit_mean_life
from metarobot.remaining_life.networks import NetworkPlan, train_network
from metarobot.remaining_life.predictions import Checks, Predictions

WITHOUT_SEED = ("mean life", "exponential curve", "Bayesian curve")
"""Learners that every seed would train alike."""
UPDATES = 800
"""Meta-updates of every network.  This and the options below were chosen on train machines of seed
100."""


class LifeLearner(Protocol):
    """Whoever predicts remaining life."""

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Predict remaining life at R checks, from what is known then."""
        ...


def life_learners(
    seed: int, num_updates: int = UPDATES
) -> dict[str, Callable[[Lives], LifeLearner]]:
    """Return how each learner is trained on machines whose parts are all worn out, by name."""
    return {
        "MAML": lambda lives: train_network(lives, maml_plan(seed, num_updates)),
        "Reptile": lambda lives: train_network(lives, reptile_plan(seed, num_updates)),
        "one network": lambda lives: train_network(
            lives, joint_plan(seed, num_updates, reads_record=False)
        ),
        "one network, whole record": lambda lives: train_network(
            lives, joint_plan(seed, num_updates, reads_record=True)
        ),
        "mean life": fit_mean_life,
        "exponential curve": fit_exponential,
        "Bayesian curve": fit_bayesian,
    }


def maml_plan(seed: int, num_updates: int) -> NetworkPlan:
    """Return how MAML is trained."""
    options = MamlOptions(inner_lr=0.1, num_adaptation_steps=3, outer_lr=3e-3, seed=seed)
    return NetworkPlan(options=options, num_updates=num_updates, reads_record=True)


def reptile_plan(seed: int, num_updates: int) -> NetworkPlan:
    """Return how Reptile is trained."""
    options = ReptileOptions(inner_lr=0.03, num_adaptation_steps=4, outer_lr=3e-3, seed=seed)
    return NetworkPlan(options=options, num_updates=num_updates, reads_record=False)


def joint_plan(seed: int, num_updates: int, *, reads_record: bool) -> NetworkPlan:
    """Return how one network is trained on all machines together."""
    options = MamlOptions(num_adaptation_steps=0, outer_lr=3e-3, seed=seed)
    return NetworkPlan(options=options, num_updates=num_updates, reads_record=reads_record)
