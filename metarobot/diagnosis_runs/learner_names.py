"""The learners that a run can hold, on any encoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, get_args

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

LearnerName = Literal["prototypes", "anil", "maml", "meta_sgd", "reptile"]
LEARNER_NAMES: tuple[LearnerName, ...] = get_args(LearnerName)
ENCODER, HEAD = "encoder", "head"


def make_learner(name: str, encoder: Any, way: int, seed: int) -> Learner[Any]:
    """Return a learner that knows nothing yet.

    Args:
        name: One of `LEARNER_NAMES`.
        encoder: Maps inputs (S, ...) to embeddings (S, encoder.num_outputs).
        way: Outputs of the head; prototypes have none, and tell any number of classes apart.
        seed: Of the meta-batches.
    """
    return _MAKERS[name](encoder, way, seed)


def _classifier(encoder: Any, way: int) -> nn.Sequential:
    """Return an encoder with a linear head whose first parameters are zero."""
    head = nn.Linear(encoder.num_outputs, way)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(OrderedDict([(ENCODER, encoder), (HEAD, head)]))


def _options(seed: int, *, first_order: bool) -> MamlOptions:
    return MamlOptions(
        inner_lr=0.1,
        num_adaptation_steps=3,
        first_order=first_order,
        outer_lr=2e-3,
        seed=seed,
    )


def _prototypes(encoder: Any, way: int, seed: int) -> Learner[Any]:
    return PrototypicalNetwork(encoder, LearnerOptions(outer_lr=2e-3, seed=seed))


def _anil(encoder: Any, way: int, seed: int) -> Learner[Any]:
    return Anil(_classifier(encoder, way), cross_entropy, _options(seed, first_order=False), HEAD)


def _maml(encoder: Any, way: int, seed: int) -> Learner[Any]:
    return Maml(_classifier(encoder, way), cross_entropy, _options(seed, first_order=True))


def _meta_sgd(encoder: Any, way: int, seed: int) -> Learner[Any]:
    return MetaSgd(_classifier(encoder, way), cross_entropy, _options(seed, first_order=True))


def _reptile(encoder: Any, way: int, seed: int) -> Learner[Any]:
    options = ReptileOptions(inner_lr=0.05, num_adaptation_steps=8, outer_lr=1e-3, seed=seed)
    return Reptile(_classifier(encoder, way), cross_entropy, options)


_MAKERS: dict[str, Callable[[Any, int, int], Learner[Any]]] = {
    "prototypes": _prototypes,
    "anil": _anil,
    "maml": _maml,
    "meta_sgd": _meta_sgd,
    "reptile": _reptile,
}
