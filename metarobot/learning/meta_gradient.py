"""The gradient of a meta-update, one row a task.

Every task has its own copy of θ, so that one reverse pass gives the gradient of every task. The
rows of all processes are gathered, and their mean does not depend on who held which task.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarobot.learning.distributed import Workers
from metarobot.learning.meta_batch import MetaBatch
from metarobot.policies import Distribution, Params, flatten_params, repeat_params


class MetaObjective(Protocol):
    """What a meta-update improves, as a function of θ, once for every task."""

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations."""
        ...

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> loss of every task (N,), to be minimised, and π_{θ'_n}."""
        ...


def loss_and_gradient_rows(
    objective: MetaObjective, params: Params, batch: MetaBatch, workers: Workers
) -> tuple[Tensor, Distribution]:
    """Return loss and gradient of every task of all processes (N, 1 + D), and π_{θ'} held here."""

    def total(theta: Params) -> tuple[Tensor, tuple[Tensor, Distribution]]:
        losses, distribution = objective.losses(theta, batch)
        return losses.sum(), (losses, distribution)

    theta = repeat_params(params, batch.post_episodes.num_tasks)
    gradients, (_, (losses, distribution)) = grad_and_value(total, has_aux=True)(theta)
    rows = torch.cat([losses[:, None], flatten_params(gradients)], dim=1)
    return workers.gather(rows), distribution


def refused_rows(rows: Tensor) -> tuple[int, ...]:
    """Return the tasks whose rows (N, ...) hold a number that is not finite."""
    return tuple((~rows.isfinite().all(dim=1)).nonzero().flatten().tolist())
