"""Policies and the value baseline: torch only, no simulator."""

from typing import TYPE_CHECKING

from metarobot.machine import names_of

if TYPE_CHECKING:
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

MIN_STD = 0.02
"""Floor of the action noise in half action ranges, so that probability ratios stay finite."""

__getattr__ = names_of(  # torch is imported when it is used
    __name__,
    {
        "gaussian": (
            "Distribution",
            "GaussianPolicy",
            "Policy",
            "PolicyState",
            "ReactivePolicy",
            "entropy",
            "kl_divergence",
            "log_prob",
        ),
        "mlp": ("GaussianMLP",),
        "params": (
            "Params",
            "flatten_params",
            "repeat_params",
            "unflatten_params",
        ),
    },
)
