"""What meta-training measures for a policy that adapts by gradient steps, with its parameters.

These leaves decide how the policy adapts, not how it acts, and no gradient changes them.
"""

import torch
from torch import nn

from metarobot.policies.gaussian_policy import GaussianPolicy
from metarobot.policies.value_baseline import num_value_features

STEP_VARIANCE = "step_variance"
"""Leaf (1,): variance of the adaptation step that one episode alone asks for, summed over the
parameters that adapt. 0 while it is unknown."""

VALUE_PRIOR = "value_prior"
"""Leaf (F, F + 1): XᵀX and XᵀR of the value baseline's fit to one episode, side by side, the mean
over all tasks. 0 while it is unknown."""

MEASURED = (STEP_VARIANCE, VALUE_PRIOR)


def add_step_variance(policy: GaussianPolicy) -> None:
    """Give a policy the leaf `STEP_VARIANCE`."""
    _add(policy, STEP_VARIANCE, 1)


def add_value_prior(policy: GaussianPolicy) -> None:
    """Give a policy the leaf `VALUE_PRIOR`."""
    size = num_value_features(policy.observation_centre.numel())
    _add(policy, VALUE_PRIOR, size, size + 1)


def _add(policy: GaussianPolicy, name: str, *shape: int) -> None:
    policy.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))
