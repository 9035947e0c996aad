"""The learners and their options, in one place; the tuning splits are there to choose them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
PROTOTYPES = "prototypical_network"


class Steps(NamedTuple):
    """How a learner adapts by gradient steps."""

    inner_lr: float
    num: int
    first_order: bool = False
    outer_lr: float = 2e-3


PLAIN_STEPS = {
    "maml": Steps(0.1, 3, first_order=True),
    "anil": Steps(0.1, 3),
    "meta_sgd": Steps(0.1, 3, first_order=True),
    "reptile": Steps(0.05, 8, outer_lr=1e-3),
}
"""On embeddings of any length; usual values, not tuned."""
UNIT_STEPS = {
    "maml": Steps(3.0, 1),
    "first_order_maml": Steps(0.3, 3, first_order=True),
    "anil": Steps(15.0, 1),
    "meta_sgd": Steps(5.0, 1),
    "reptile": Steps(0.5, 8, outer_lr=1e-3),
}
"""On embeddings of one length, `UnitEncoder`; chosen on the tuning splits.  There a direction tells
the class, which one long step on the head finds."""


def make_learner(
    name: str, encoder: Any, way: int, seed: int, steps: dict[str, Steps] = PLAIN_STEPS
) -> Learner[Any]:
    """Return a learner that knows nothing yet, on any encoder.

    Args:
        name: `PROTOTYPES`, or one of the steps.
        encoder: Maps inputs (S, ...) to embeddings (S, encoder.num_outputs).
        way: Outputs of the head; prototypes have none, and tell any number of classes apart.
        seed: Of the meta-batches.
        steps: How each of the others adapts, by its name.
    """
    if name == PROTOTYPES:
        return PrototypicalNetwork(encoder, LearnerOptions(outer_lr=2e-3, seed=seed))
    own, module = steps[name], classifier(encoder, way)
    common = {
        "inner_lr": own.inner_lr,
        "num_adaptation_steps": own.num,
        "outer_lr": own.outer_lr,
        "seed": seed,
    }
    if name == "reptile":
        return Reptile(module, cross_entropy, ReptileOptions(**common))
    options = MamlOptions(**common, first_order=own.first_order)
    if name == "anil":
        return Anil(module, cross_entropy, options, HEAD)
    kind = MetaSgd if name == "meta_sgd" else Maml
    return kind(module, cross_entropy, options)


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
    return make_learner(name, encoder_module(seed, UnitEncoder), way, seed, UNIT_STEPS)


NUM_UPDATES = {PROTOTYPES: 300, **dict.fromkeys(UNIT_STEPS, 300), "reptile": 80}
"""Meta-updates of each learner of health checks: about as much time for all."""

LEARNERS: dict[str, Callable[[int, int], Learner[Any]]] = {
    name: partial(_arm_learner, name) for name in NUM_UPDATES
}
"""Each makes a learner of health checks from a seed and the number of classes of a task."""
