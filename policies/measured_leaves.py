"""What is known of the adaptation of a policy that adapts by gradient steps, with its parameters.

These leaves decide how the policy adapts, not how it acts, and no gradient changes them.
Meta-training measures them, but for the steps taken, which adaptation counts.
"""

import torch
from torch import nn

from metarobot.policies.gaussian_policy import GaussianPolicy
from metarobot.policies.value_baseline import num_value_features

STEP_VARIANCE = "step_variance"
"""Leaf (1,): variance of the adaptation step that one episode alone asks for, summed over the
parameters that adapt. 0 while it is unknown."""

STEP_SIGNAL = "step_signal"
"""Leaf (1,): squared length that an adaptation step would have without noise, the mean over all
tasks. 0 while it is unknown."""

STEPS_TAKEN = "steps_taken"
"""Leaf (1,): adaptation steps taken so far, each counted as the part of it that was taken. 0 before
adapting."""

VALUE_PRIOR = "value_prior"
"""Leaf (F, F + 1): XᵀX and XᵀR of the value baseline's fit to one episode, side by side, the mean
over all tasks. 0 while it is unknown."""

MEASURED = (STEP_VARIANCE, STEP_SIGNAL, STEPS_TAKEN, VALUE_PRIOR)


def add_step_lengths(policy: GaussianPolicy) -> None:
    """Give a policy the leaves that decide how far its steps go."""
    for name in (STEP_VARIANCE, STEP_SIGNAL, STEPS_TAKEN):
        _add(policy, name, 1)


def add_value_prior(policy: GaussianPolicy) -> None:
    """Give a policy the leaf `VALUE_PRIOR`."""
    size = num_value_features(policy.observation_centre.numel())
    _add(policy, VALUE_PRIOR, size, size + 1)


def _add(policy: GaussianPolicy, name: str, *shape: int) -> None:
    policy.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))
