"""Policies and the value baseline: torch only, no simulator."""

from metarobot.policies.episode_encoder import EpisodeEncoder, embed, transition_features
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
from metarobot.policies.latent import AskingState, LatentPolicy, LatentState
from metarobot.policies.learned_loss import DirectionNetwork, LearnedLossPolicy, directions
from metarobot.policies.mlp import GaussianMLP, LearnedStepsMLP, TaskMLP, ToldPolicy
from metarobot.policies.params import Params, flatten_params, repeat_params, unflatten_params
from metarobot.policies.prototype import PrototypePolicy
from metarobot.policies.recurrent import EpisodicPolicy, RecurrentPolicy, Unroll
from metarobot.policies.search import SearchingPolicy
from metarobot.policies.task_model import Evidence, ShownSteps, TaskModel
from metarobot.policies.teacher_student import TeacherStudentPolicy
from metarobot.policies.value_baseline import (
    fit_values,
    normal_equations,
    solve_ridge,
    value_features,
)

__all__ = [
    "AskingState",
    "DirectionNetwork",
    "Distribution",
    "EpisodeEncoder",
    "EpisodicPolicy",
    "Evidence",
    "GaussianMLP",
    "GaussianPolicy",
    "LatentPolicy",
    "LatentState",
    "LearnedLossPolicy",
    "LearnedStepsMLP",
    "Params",
    "Policy",
    "PolicyState",
    "PrototypePolicy",
    "ReactivePolicy",
    "RecurrentPolicy",
    "SearchingPolicy",
    "ShownSteps",
    "TaskMLP",
    "TaskModel",
    "TeacherStudentPolicy",
    "ToldPolicy",
    "Unroll",
    "directions",
    "embed",
    "entropy",
    "fit_values",
    "flatten_params",
    "kl_divergence",
    "log_prob",
    "normal_equations",
    "repeat_params",
    "solve_ridge",
    "transition_features",
    "unflatten_params",
    "value_features",
]
