"""Prototypical networks: a class is the mean of what its support examples are embedded as."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from metarobot.few_shot.examples import Examples
from metarobot.few_shot.learner import Learner, LearnerOptions
from metarobot.few_shot.module_loss import cross_entropy, task_outputs
from metarobot.learning.prototypes import NEVER, prototypes
from metarobot.policies import Params
from metarobot.policies.params import under_prefix, with_prefix

_ENCODER, _PROTOTYPES, _COUNTS = "encoder.", "prototypes", "counts"


class PrototypicalNetwork(Learner[LearnerOptions]):
    """p(c | x) ∝ exp(-‖f(x) - prototype_c‖²), with f the module: an encoder, which does not adapt.

    It classifies; targets are classes 0 .. C - 1. A class without support in a task is never
    predicted there, and must not stand in its query.

    Args:
        module: Maps inputs (S, ...) to embeddings (S, D).
        options: Of all learners.

    Source: Snell et al. 2017, arXiv:1703.05175, Algorithm 1.
    """

    title = "prototypical network"

    def __init__(self, module: nn.Module, options: LearnerOptions) -> None:
        super().__init__(module, cross_entropy, options)

    def adapt_params(self, params: Params, support: Examples) -> Params:
        """Return the encoder's leaves, prototypes (N, C, D) and examples of each class (N, C).

        Raises:
            ValueError: Targets are no classes.
        """
        _require_classes(support)
        embeddings = task_outputs(self.module, params, support.inputs)
        belongs = one_hot(support.targets).mT.to(embeddings.dtype)  # (N, C, S)
        return {
            **with_prefix(_ENCODER, params),
            _PROTOTYPES: prototypes(embeddings[:, None], belongs),
            _COUNTS: belongs.sum(-1),
        }

    def losses(self, adapted: Params, query: Examples) -> Tensor:
        """Return the mean loss of every task, (N,), by leaves (N, ...) that are adapted.

        Raises:
            ValueError: A class of a query has no support in its task.
        """
        _require_classes(query)
        counts = adapted[_COUNTS]
        belongs = one_hot(query.targets, max(counts.shape[1], int(query.targets.max()) + 1))
        without = belongs.any(1)
        without[:, : counts.shape[1]] &= counts == 0
        if without.any():
            task, number = without.nonzero()[0].tolist()
            raise ValueError(
                f"task {task} has query examples of class {number} and no support example of it: "
                "give one, or take the class out of the query"
            )
        return super().losses(adapted, query)

    def outputs(self, adapted: Params, inputs: Tensor) -> Tensor:
        """Return -‖f(x) - prototype_c‖² as the logit of every class, (N, Q, C)."""
        embeddings = task_outputs(self.module, under_prefix(_ENCODER, adapted), inputs)
        squared = (embeddings[:, :, None] - adapted[_PROTOTYPES][:, None]).square().sum(-1)
        return (-squared).masked_fill(adapted[_COUNTS][:, None] == 0, NEVER)


def _require_classes(examples: Examples) -> None:
    """Refuse targets that are no classes.

    Raises:
        ValueError: They are no integers, not one an example, or below 0.
    """
    targets = examples.targets
    if targets.dtype != torch.int64 or targets.ndim != 2 or int(targets.min()) < 0:
        raise ValueError(
            "targets of a prototypical network must be classes 0 .. C - 1, int64 of shape (N, S): "
            f"got {targets.dtype} of shape {tuple(targets.shape)}, the least is {targets.min()}"
        )
