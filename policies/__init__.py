"""Policies and the value baseline: torch only, no simulator."""

from metarobot.policies.gaussian import entropy, kl_divergence, log_prob
from metarobot.policies.gaussian_mlp import (
    GaussianMLP,
    Params,
    policy_distribution,
    repeat_params,
)
from metarobot.policies.value_baseline import fit_values, value_features

__all__ = [
    "GaussianMLP",
    "Params",
    "entropy",
    "fit_values",
    "kl_divergence",
    "log_prob",
    "policy_distribution",
    "repeat_params",
    "value_features",
]
