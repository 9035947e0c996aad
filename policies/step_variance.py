"""What a policy that adapts by gradient steps knows about their noise, kept with its parameters."""

import torch
from torch import nn

from metarobot.policies.gaussian_policy import GaussianPolicy

STEP_VARIANCE = "step_variance"
"""Leaf (1,): variance of the adaptation step that one episode alone asks for, summed over the
parameters that adapt. 0 while it is unknown. It is measured, and changed by no gradient."""


def add_step_variance(policy: GaussianPolicy) -> None:
    """Give a policy the leaf `STEP_VARIANCE`; it acts as if it were not there."""
    policy.register_parameter(STEP_VARIANCE, nn.Parameter(torch.empty(1, device="meta")))
