"""Policies and the value baseline: torch only, no simulator."""

from metarobot.policies.gaussian import (
    Distribution,
    GaussianPolicy,
    Policy,
    PolicyState,
    ReactivePolicy,
    entropy,
    kl_divergence,
    log_prob,
)
from metarobot.policies.mlp import GaussianMLP
from metarobot.policies.params import Params, flatten_params, repeat_params, unflatten_params

__all__ = [
    "Distribution",
    "GaussianMLP",
    "GaussianPolicy",
    "Params",
    "Policy",
    "PolicyState",
    "ReactivePolicy",
    "entropy",
    "flatten_params",
    "kl_divergence",
    "log_prob",
    "repeat_params",
    "unflatten_params",
]
