"""Policies and the value baseline: torch only, no simulator."""

from metarobot.policies.episode_encoder import EpisodeEncoder, embed, transition_features
from metarobot.policies.gaussian import Distribution, entropy, kl_divergence, log_prob
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.gaussian_policy import GaussianPolicy
from metarobot.policies.latent import AskingState, LatentPolicy, LatentState
from metarobot.policies.learned_loss import DirectionNetwork, LearnedLossPolicy, directions
from metarobot.policies.learned_steps import LearnedStepsMLP
from metarobot.policies.measured_leaves import (
    MEASURED,
    STEP_SIGNAL,
    STEP_VARIANCE,
    STEPS_TAKEN,
    VALUE_PRIOR,
    add_step_lengths,
    add_value_prior,
)
from metarobot.policies.params import Params, flatten_params, repeat_params, unflatten_params
from metarobot.policies.policy import Policy, PolicyState, ReactivePolicy
from metarobot.policies.prototype import PrototypePolicy
from metarobot.policies.recurrent import EpisodicPolicy, RecurrentPolicy, Unroll
from metarobot.policies.search import SearchingPolicy
from metarobot.policies.task_mlp import TaskMLP, ToldPolicy
from metarobot.policies.task_model import Evidence, ShownSteps, TaskModel
from metarobot.policies.teacher_student import TeacherStudentPolicy
from metarobot.policies.value_baseline import (
    fit_values,
    normal_equations,
    solve_ridge,
    value_features,
)

__all__ = [
    "MEASURED",
    "STEPS_TAKEN",
    "STEP_SIGNAL",
    "STEP_VARIANCE",
    "VALUE_PRIOR",
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
    "add_step_lengths",
    "add_value_prior",
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
