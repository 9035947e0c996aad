"""Policies and the value baseline: torch only, no simulator."""

from metarobot.policies.controller import Controller
from metarobot.policies.direction_network import DirectionNetwork, directions
from metarobot.policies.episode_encoder import EpisodeEncoder, embed, transition_features
from metarobot.policies.episodic_policy import EpisodicPolicy
from metarobot.policies.evidence import Evidence
from metarobot.policies.gaussian import Distribution, entropy, kl_divergence, log_prob
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.gaussian_policy import GaussianPolicy
from metarobot.policies.latent_actor import LatentActor
from metarobot.policies.latent_policy import LatentPolicy
from metarobot.policies.learned_loss_policy import LearnedLossPolicy
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
from metarobot.policies.policy import Actor, Policy, ReactivePolicy
from metarobot.policies.prototype_policy import PrototypePolicy
from metarobot.policies.recurrent import RecurrentPolicy, Unroll
from metarobot.policies.searching_policy import SearchingPolicy
from metarobot.policies.task_mlp import TaskMLP
from metarobot.policies.task_model import ShownSteps, TaskModel
from metarobot.policies.teacher_student_policy import TeacherStudentPolicy
from metarobot.policies.told_policy import ToldPolicy
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
    "Actor",
    "Controller",
    "DirectionNetwork",
    "Distribution",
    "EpisodeEncoder",
    "EpisodicPolicy",
    "Evidence",
    "GaussianMLP",
    "GaussianPolicy",
    "LatentActor",
    "LatentPolicy",
    "LearnedLossPolicy",
    "LearnedStepsMLP",
    "Params",
    "Policy",
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
