"""Policies and the value baseline: torch only, no simulator."""

from metarobot.policies.episode_encoder import EpisodeEncoder, embed, transition_features
from metarobot.policies.gaussian import Distribution, entropy, kl_divergence, log_prob
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.learned_steps import LearnedStepsMLP
from metarobot.policies.params import Params, flatten_params, repeat_params, unflatten_params
from metarobot.policies.policy import Policy
from metarobot.policies.prototype_policy import PrototypePolicy
from metarobot.policies.value_baseline import fit_values, value_features

__all__ = [
    "Distribution",
    "EpisodeEncoder",
    "GaussianMLP",
    "LearnedStepsMLP",
    "Params",
    "Policy",
    "PrototypePolicy",
    "embed",
    "entropy",
    "fit_values",
    "flatten_params",
    "kl_divergence",
    "log_prob",
    "repeat_params",
    "transition_features",
    "unflatten_params",
    "value_features",
]
