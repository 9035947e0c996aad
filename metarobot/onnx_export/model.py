"""A policy as an ONNX model: what a robot shows comes in, what to command goes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.onnx_export.controllers import perceptron, recurrent, student, told_perceptron
from metarobot.onnx_export.facts import facts_of
from metarobot.onnx_export.graph import Graph, Value
from metarobot.onnx_export.latent import latent
from metarobot.policies.controller import MlpController
from metarobot.policies.episodic_policy import EpisodicController
from metarobot.policies.latent_controller import LatentController
from metarobot.policies.recurrent_controller import RecurrentController
from metarobot.policies.student_controller import StudentController
from metarobot.policies.task_mlp import TaskController

_ACTS: dict[type, Callable[[Graph, Any, Value], Value]] = {
    MlpController: perceptron,
    TaskController: told_perceptron,
    StudentController: student,
    RecurrentController: recurrent,
    EpisodicController: recurrent,
    LatentController: latent,
}
"""What each class of controllers computes in a step; a subclass may compute something else."""


def model_of(policy: AdaptablePolicy) -> onnx.ModelProto:
    """Return the model of a policy, with all that is told beside it.

    Raises:
        ValueError: Its controller is not one of this package.
    """
    interface, controller = policy.interface, policy.policy.controller(policy.params)
    if type(controller) not in _ACTS:
        name = type(controller).__name__
        raise ValueError(
            f"{policy.config.algorithm} cannot be exported: its policy acts by a {name}, which is "
            "not one of metarobot's controllers"
        )
    graph = Graph()
    low, high = np.array(interface.observation_low), np.array(interface.observation_high)
    seen = graph.observation(len(low)).between(low, high)
    action = _ACTS[type(controller)](graph, controller, seen)
    graph.output("action", graph.where_taken(action, 0.0), interface.action_size)
    return graph.model(policy.config.algorithm, facts_of(policy, controller))
