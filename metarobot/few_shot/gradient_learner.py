"""What few-shot learners have in common that adapt by gradient steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from metarobot.few_shot.examples import Examples
from metarobot.few_shot.learner import AdaptedModel, Learner, LearnerOptions
from metarobot.few_shot.module_loss import ModuleLoss, task_outputs
from metarobot.learning.inner_loop import adapt
from metarobot.options import integer, number, require_count
from metarobot.policies import Params, repeat_params


@dataclass(frozen=True, kw_only=True)
class GradientOptions(LearnerOptions):
    """What learners read that adapt by gradient steps."""

    inner_lr: float = number(0.01, 1e-8, 100.0)
    """α, step size of an adaptation step."""
    num_adaptation_steps: int = integer(1, 0, 1000)
    """K, adaptation steps on the support examples. With 0, the module is trained on all tasks
    together: a reference that can be fine-tuned to a task."""


GradientOptionsT = TypeVar("GradientOptionsT", bound=GradientOptions)


class GradientLearner(Learner[GradientOptionsT]):
    """Adapts by gradient steps on the loss of its support examples."""

    @property
    def first_order(self) -> bool:
        """Whether the gradient of an adaptation step is taken for a constant."""
        return False

    def step_sizes(self, params: Params) -> Mapping[str, float | Tensor]:
        """Return α of each leaf that adapts."""
        names = [name for name in self.module_params(params) if name not in self.frozen]
        return dict.fromkeys(names, self.options.inner_lr)

    def module_params(self, params: Params) -> Params:
        """Return the leaves that the module has, without those that say how to adapt it."""
        return {name: params[name] for name, _ in self.module.named_parameters()}

    def adapt_params(
        self, params: Params, support: Examples, num_steps: int | None = None
    ) -> Params:
        """Take K adaptation steps, all on the same support examples."""
        num_steps = self.options.num_adaptation_steps if num_steps is None else num_steps
        return self.descend(params, [support] * num_steps)

    def descend(self, params: Params, blocks: list[Examples]) -> Params:
        """Take an adaptation step on each of some blocks of examples; as `adapt_params`."""
        adapted, sizes = self.module_params(params), self.step_sizes(params)
        for block in blocks:
            loss = ModuleLoss(self.module, self.loss, block)
            adapted = adapt(loss, adapted, sizes, first_order=self.first_order)
        return adapted

    @torch.no_grad()
    def adapt(self, support: Examples, num_steps: int | None = None) -> AdaptedModel:
        """Adapt to N tasks, each from its own support examples.

        Args:
            support: (N, S, ...).
            num_steps: Adaptation steps, at least 0; None for as many as in meta-training.

        Raises:
            ValueError: There is no such number of steps.
        """
        if num_steps is not None:
            require_count("num_steps", num_steps)
        theta = repeat_params(self.params, support.num_tasks)
        return AdaptedModel(self, self.adapt_params(theta, support, num_steps))

    def outputs(self, adapted: Params, inputs: Tensor) -> Tensor:
        """Return the outputs of the adapted module, (N, Q, ...)."""
        return task_outputs(self.module, adapted, inputs)
