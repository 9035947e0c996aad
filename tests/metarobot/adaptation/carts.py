"""Untrained policies of the cart in robots.py, for every algorithm that adapts."""

import torch
from robots import HIGH, HORIZON, LOW

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.algorithms import ALGORITHMS, train_config
from metarobot.learning.inner_loop import STEP_VARIANCE

ADAPTING = [name for name, kind in ALGORITHMS.items() if kind.adapts]
INTERFACE = Interface(tuple(LOW), tuple(HIGH), action_size=2, horizon=HORIZON)


def make_policy(algorithm, **options):
    """An untrained policy of the cart, whose parameters are all used."""
    config = train_config(algorithm=algorithm, hidden_sizes=(8,), **options)
    bare = AdaptablePolicy(config, {}, INTERFACE)
    params = bare.policy.initial_params(torch.Generator().manual_seed(0))
    if STEP_VARIANCE in params:  # else so few episodes move nothing
        params[STEP_VARIANCE] += 1e-9
    return AdaptablePolicy(config, params, INTERFACE)
