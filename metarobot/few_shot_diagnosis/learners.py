"""The learners and their options, in one place; the tuning splits are there to choose them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarobot.few_shot import (
    Anil,
    Learner,
    LearnerOptions,
    Maml,
    MamlOptions,
    MetaSgd,
    PrototypicalNetwork,
    Reptile,
    ReptileOptions,
    cross_entropy,
)
from metarobot.few_shot_diagnosis.encoder import Encoder, UnitEncoder
from metarobot.policies.params import under_prefix

ENCODER, HEAD = "encoder", "head"


def make_learner(name: str, encoder: Any, way: int, seed: int) -> Learner[Any]:
    """Return a learner that knows nothing yet, on any encoder.

    Args:
        name: One of `NUM_UPDATES`.
        encoder: Maps inputs (S, ...) to embeddings (S, encoder.num_outputs).
        way: Outputs of the head; prototypes have none, and tell any number of classes apart.
        seed: Of the meta-batches.
    """
    if name == "prototypical_network":
        return PrototypicalNetwork(encoder, LearnerOptions(outer_lr=2e-3, seed=seed))
    module = classifier(encoder, way)
    if name == "reptile":
        options = ReptileOptions(inner_lr=0.05, num_adaptation_steps=8, outer_lr=1e-3, seed=seed)
        return Reptile(module, cross_entropy, options)
    options = MamlOptions(
        inner_lr=0.1,
        num_adaptation_steps=3,
        first_order=name != "anil",
        outer_lr=2e-3,
        seed=seed,
    )
    if name == "anil":
        return Anil(module, cross_entropy, options, HEAD)
    return {"maml": Maml, "meta_sgd": MetaSgd}[name](module, cross_entropy, options)


def joint_learner(encoder: Any, num_classes: int, seed: int) -> Maml:
    """Return a network to be trained on all classes together, by plain gradient descent."""
    options = MamlOptions(num_adaptation_steps=0, outer_lr=2e-3, seed=seed)
    return Maml(classifier(encoder, num_classes), cross_entropy, options)


def classifier(encoder: Any, num_classes: int) -> nn.Sequential:
    """Return an encoder with a linear head whose first parameters are zero."""
    head = nn.Linear(encoder.num_outputs, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(OrderedDict([(ENCODER, encoder), (HEAD, head)]))


@torch.no_grad()
def joint_embeddings(joint: Maml, encoder: nn.Module, inputs: Tensor) -> np.ndarray:
    """Return what the head of a jointly trained network reads, (R, D).

    Args:
        joint: A `joint_learner`.
        encoder: One like its own, with any parameters.
        inputs: What the encoder reads, (R, ...).
    """
    own = under_prefix(f"{ENCODER}.", joint.params)
    return np.concatenate([functional_call(encoder, own, (part,)) for part in inputs.split(500)])


def encoder_module(seed: int, kind: type[Encoder] = Encoder) -> Encoder:
    """Return an encoder of health checks with fresh parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind()


def _arm_learner(name: str, seed: int, way: int) -> Learner[Any]:
    kind = UnitEncoder if name == "prototypical_network" else Encoder
    return make_learner(name, encoder_module(seed, kind), way, seed)


NUM_UPDATES = {
    "prototypical_network": 300,
    "maml": 300,
    "anil": 300,
    "meta_sgd": 300,
    "reptile": 200,
}
"""Meta-updates of each learner of health checks."""

LEARNERS: dict[str, Callable[[int, int], Learner[Any]]] = {
    name: partial(_arm_learner, name) for name in NUM_UPDATES
}
"""Each makes a learner of health checks from a seed and the number of classes of a task."""
