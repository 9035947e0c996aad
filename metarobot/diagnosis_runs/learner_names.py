"""The learners that a run can hold, by short names, on any encoder."""

from __future__ import annotations

from typing import Any, Literal, get_args

from metarobot.few_shot import Learner
from metarobot.few_shot_diagnosis import learners

LearnerName = Literal["prototypes", "anil", "maml", "meta_sgd", "reptile"]
LEARNER_NAMES: tuple[LearnerName, ...] = get_args(LearnerName)
_FULL_NAMES: dict[str, str] = {"prototypes": "prototypical_network"}


def full_name(name: str) -> str:
    """Return what `few_shot_diagnosis` calls a learner."""
    return _FULL_NAMES.get(name, name)


def make_learner(name: str, encoder: Any, way: int, seed: int) -> Learner[Any]:
    """Return a learner that knows nothing yet.

    Args:
        name: One of `LEARNER_NAMES`.
        encoder: Maps inputs (S, ...) to embeddings (S, encoder.num_outputs).
        way: Outputs of the head; prototypes have none, and tell any number of classes apart.
        seed: Of the meta-batches.
    """
    return learners.make_learner(full_name(name), encoder, way, seed)
