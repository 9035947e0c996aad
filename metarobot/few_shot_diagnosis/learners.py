"""The learners and their options, in one place; the tuning splits are there to choose them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

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

HEAD = "head"


def encoder_module(seed: int, kind: type[Encoder] = Encoder) -> Encoder:
    """Return an encoder with fresh parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind()


def classifier_module(seed: int, num_classes: int) -> nn.Sequential:
    """Return an encoder with a linear head whose first parameters are zero."""
    encoder = encoder_module(seed)
    head = nn.Linear(encoder.num_outputs, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(OrderedDict([("encoder", encoder), (HEAD, head)]))


def _prototypical(seed: int, way: int) -> Learner[Any]:
    module = encoder_module(seed, UnitEncoder)
    return PrototypicalNetwork(module, LearnerOptions(outer_lr=2e-3, seed=seed))


def _maml(seed: int, way: int) -> Learner[Any]:
    options = MamlOptions(
        inner_lr=0.1, num_adaptation_steps=3, first_order=True, outer_lr=2e-3, seed=seed
    )
    return Maml(classifier_module(seed, way), cross_entropy, options)


def _anil(seed: int, way: int) -> Learner[Any]:
    options = MamlOptions(inner_lr=0.1, num_adaptation_steps=3, outer_lr=2e-3, seed=seed)
    return Anil(classifier_module(seed, way), cross_entropy, options, HEAD)


def _meta_sgd(seed: int, way: int) -> Learner[Any]:
    options = MamlOptions(
        inner_lr=0.1, num_adaptation_steps=3, first_order=True, outer_lr=2e-3, seed=seed
    )
    return MetaSgd(classifier_module(seed, way), cross_entropy, options)


def _reptile(seed: int, way: int) -> Learner[Any]:
    options = ReptileOptions(inner_lr=0.05, num_adaptation_steps=8, outer_lr=1e-3, seed=seed)
    return Reptile(classifier_module(seed, way), cross_entropy, options)


LEARNERS: dict[str, Callable[[int, int], Learner[Any]]] = {
    "prototypical_network": _prototypical,
    "maml": _maml,
    "anil": _anil,
    "meta_sgd": _meta_sgd,
    "reptile": _reptile,
}
"""Each makes a learner from a seed and the number of classes of a task."""

NUM_UPDATES = {
    "prototypical_network": 300,
    "maml": 300,
    "anil": 300,
    "meta_sgd": 300,
    "reptile": 200,
}
"""Meta-updates of each."""
