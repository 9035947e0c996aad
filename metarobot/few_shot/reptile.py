"""Reptile: move towards where several adaptation steps lead."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarobot.few_shot.examples import Examples, FewShotTasks
from metarobot.few_shot.gradient_learner import GradientLearner, GradientOptions
from metarobot.options import integer
from metarobot.policies import Params, flatten_params, repeat_params


@dataclass(frozen=True, kw_only=True)
class ReptileOptions(GradientOptions):
    """What Reptile reads."""

    num_adaptation_steps: int = integer(5, 1, 1000)
    """K, adaptation steps on each task. A single one is joint training: what is more grows with the
    pairs of steps."""


class Reptile(GradientLearner[ReptileOptions]):
    """Takes θ - φ_n for a gradient, with φ_n the end of K adaptation steps on task n.

    The steps take turns on blocks of as many examples as there are in the support: first these,
    then the query examples. No derivative is taken through any.

    Source: Nichol et al. 2018, arXiv:1803.02999, algorithms 1 and 2.
    """

    title = "Reptile"

    @torch.no_grad()
    def per_task_gradients(self, params: Params, tasks: FewShotTasks) -> Tensor:
        """Return the loss of the query after adapting to the support, and θ - φ_n, (N, 1 + P)."""
        theta, blocks = repeat_params(params, tasks.support.num_tasks), blocks_of(tasks)
        chosen = [blocks[k % len(blocks)] for k in range(self.options.num_adaptation_steps)]
        ends = self.descend(theta, chosen)
        losses = self.query_losses(theta, tasks)
        return torch.cat([losses[:, None], flatten_params(theta) - flatten_params(ends)], dim=1)


def blocks_of(tasks: FewShotTasks) -> list[Examples]:
    """Return the support, and the query in blocks as large; what is left over is not used."""
    size = tasks.support.num_examples
    starts = range(0, tasks.query.num_examples - size + 1, size)
    return [tasks.support, *(tasks.query.part(first, first + size) for first in starts)]
