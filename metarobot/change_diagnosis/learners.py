"""The learners of changes: those of `few_shot` on the network for episodes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarobot.change_diagnosis.encoder import EpisodeWindows
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
from metarobot.options import require_known

NUM_UPDATES = {
    "prototypical_network": 600,
    "maml": 200,
    "anil": 400,
    "meta_sgd": 200,
    "reptile": 200,
}
"""Meta-updates of each learner."""
NUM_JOINT_UPDATES = 600
TASKS_PER_UPDATE = 8

_ENCODER, _HEAD = "encoder", "head"


def encoder_module(seed: int, signal_size: int) -> EpisodeWindows:
    """Return an encoder with fresh parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EpisodeWindows(signal_size)


def classifier_module(seed: int, signal_size: int, num_classes: int) -> nn.Sequential:
    """Return an encoder with a linear head whose first parameters are zero."""
    encoder = encoder_module(seed, signal_size)
    head = nn.Linear(encoder.num_outputs, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(OrderedDict([(_ENCODER, encoder), (_HEAD, head)]))


def make_learner(name: str, seed: int, signal_size: int, way: int = 5) -> Learner[Any]:
    """Return an untrained learner by its name, one of `NUM_UPDATES`.

    Raises:
        ValueError: There is none of that name.
    """
    require_known([name], NUM_UPDATES, "learner")
    if name == "prototypical_network":
        encoder = encoder_module(seed, signal_size)
        return PrototypicalNetwork(encoder, LearnerOptions(outer_lr=2e-3, seed=seed))
    module = classifier_module(seed, signal_size, way)
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
        return Anil(module, cross_entropy, options, _HEAD)
    return {"maml": Maml, "meta_sgd": MetaSgd}[name](module, cross_entropy, options)


def joint_classifier(seed: int, signal_size: int, num_classes: int) -> Maml:
    """Return a network to be trained on all changes together, by plain gradient descent."""
    options = MamlOptions(num_adaptation_steps=0, outer_lr=2e-3, seed=seed)
    return Maml(classifier_module(seed, signal_size, num_classes), cross_entropy, options)


@torch.no_grad()
def joint_embeddings(joint: Maml, signals: Tensor) -> np.ndarray:
    """Return what the head of a jointly trained network reads of episodes, (R, D)."""
    prefix = f"{_ENCODER}."
    own = {
        name.removeprefix(prefix): leaf
        for name, leaf in joint.params.items()
        if name.startswith(prefix)
    }
    return functional_call(encoder_module(0, signals.shape[-1]), own, (signals,)).numpy()
