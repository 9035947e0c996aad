"""What all few-shot learners have in common: meta-training by Adam, and models that predict."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from metarobot.few_shot.examples import Examples, FewShotTasks
from metarobot.few_shot.module_checks import require_vectorisable
from metarobot.few_shot.module_loss import ExampleLoss, mean_losses
from metarobot.learning.adam import AdamState, descend
from metarobot.options import Checked, integer, number, require_count
from metarobot.policies import Params, flatten_params, repeat_params
from metarobot.policies.params import under_prefix, with_prefix
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.tensor_files import load_tensors, save_tensors

SampleTasks = Callable[[np.random.Generator], FewShotTasks]
"""Draws a meta-batch; all of its chance comes from the generator."""

_PARAMS, _ADAM = "params.", "adam."


@dataclass(frozen=True, kw_only=True)
class LearnerOptions(Checked):
    """What all few-shot learners read."""

    outer_lr: float = number(1e-3, 1e-8, 10.0)
    """Learning rate of Adam."""
    seed: int = integer(0, 0, 2**32 - 1)
    """Of the meta-batches. That of the module's initial parameters is its maker's."""


OptionsT = TypeVar("OptionsT", bound=LearnerOptions)


class Learner(ABC, Generic[OptionsT]):
    """Meta-trains a module over tasks, and adapts it to new ones from their support examples.

    Args:
        module: Its parameters are the initialisation; it is copied and stays as it is. Those that
            require no gradient are used, and neither trained nor adapted. Its forward pass takes
            one tensor, changes no buffer, draws no random numbers and has no recurrent layer of
            torch.
        loss: What is lowered, of each example.
        options: How.

    Raises:
        ValueError: A layer of the module cannot be vectorised over tasks.
    """

    title: ClassVar[str]
    """Its name in tables and figures."""

    def __init__(self, module: nn.Module, loss: ExampleLoss, options: OptionsT) -> None:
        require_vectorisable(module)
        leaves = module.named_parameters()
        self.frozen = frozenset(name for name, leaf in leaves if not leaf.requires_grad)
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.loss = loss
        self.options = options
        self.params = self.initial_params()
        self._moments = AdamState.fresh(self.params)

    def initial_params(self) -> Params:
        """Return what is meta-trained, and what is frozen, each leaf in its own shape."""
        return {name: leaf.detach().clone() for name, leaf in self.module.named_parameters()}

    @property
    def num_updates(self) -> int:
        """Meta-updates so far."""
        return int(self._moments.num_steps)

    @abstractmethod
    def adapt_params(self, params: Params, support: Examples) -> Params:
        """Return what the model of every task acts by; stays attached to the graph.

        Args:
            params: What is meta-trained, each leaf (N, ...).
            support: (N, S, ...).

        Returns:
            Leaves (N, ...).
        """

    @abstractmethod
    def outputs(self, adapted: Params, inputs: Tensor) -> Tensor:
        """Return outputs (N, Q, ...) of inputs (N, Q, ...), by leaves (N, ...) that are adapted."""

    def query_losses(self, params: Params, tasks: FewShotTasks) -> Tensor:
        """Return the loss of every task after adapting, (N,), from leaves (N, ...)."""
        fixed = {name: params[name].detach() for name in self.frozen}
        return self.losses(self.adapt_params({**params, **fixed}, tasks.support), tasks.query)

    def losses(self, adapted: Params, query: Examples) -> Tensor:
        """Return the mean loss of every task, (N,), by leaves (N, ...) that are adapted."""
        return mean_losses(self.loss, self.outputs(adapted, query.inputs), query.targets)

    def per_task_gradients(self, params: Params, tasks: FewShotTasks) -> Tensor:
        """Return loss and meta-gradient of every task, (N, 1 + P), from leaves in own shape.

        Every task has its own copy of θ, so that one reverse pass gives all of them.
        """

        def total(theta: Params) -> tuple[Tensor, Tensor]:
            losses = self.query_losses(theta, tasks)
            return losses.sum(), losses

        theta = repeat_params(params, tasks.support.num_tasks)
        gradients, (_, losses) = grad_and_value(total, has_aux=True)(theta)
        return torch.cat([losses[:, None], flatten_params(gradients)], dim=1)

    def fit(self, sample_tasks: SampleTasks, num_updates: int) -> list[float]:
        """Take meta-updates, each on a meta-batch of its own.

        A meta-batch is drawn from a generator that the seed and the number of its update name. So
        fitting twice for 100 updates equals fitting for 200.

        Args:
            sample_tasks: Draws a meta-batch.
            num_updates: Further updates, at least 0.

        Returns:
            The mean loss over the tasks after adapting, before each update.

        Raises:
            ValueError: A number is not finite; the updates before are kept. There is nothing to
                train, or no such number of updates.
        """
        require_count("num_updates", num_updates)
        if self.frozen.issuperset(self.params):
            raise ValueError(
                "the module has no parameter to train: give one, or free some by "
                "requires_grad_(True)"
            )
        losses = []
        for step in range(self.num_updates, self.num_updates + num_updates):
            tasks = sample_tasks(numpy_generator(self.options.seed, step, Phase.TASKS))
            losses.append(self._update(tasks))
        return losses

    def _update(self, tasks: FewShotTasks) -> float:
        """Take one step of Adam on the mean over the tasks; return the loss before it."""
        found = descend(
            lambda params, _: self.per_task_gradients(params, tasks),
            self.params,
            self._moments,
            1,
            lambda _: self.options.outer_lr,
        )
        if found is None:
            raise ValueError(
                f"the loss or its gradient is not finite in meta-update {self.num_updates}: check "
                "the examples, or take smaller step sizes"
            )
        self.params, self._moments = found.params, found.moments
        return found.losses[0]

    @torch.no_grad()
    def adapt(self, support: Examples) -> "AdaptedModel":
        """Adapt to N tasks, each from its own support examples (N, S, ...)."""
        theta = repeat_params(self.params, support.num_tasks)
        return AdaptedModel(self, self.adapt_params(theta, support))

    def state(self) -> dict[str, Tensor]:
        """Return all that further meta-training depends on, besides the options."""
        adam = self._moments.to_tensors()
        return with_prefix(_PARAMS, self.params) | with_prefix(_ADAM, adam)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        tensors = dict(state)
        self.params = under_prefix(_PARAMS, tensors)
        self._moments = AdamState.from_tensors(under_prefix(_ADAM, tensors), self.params)

    def save(self, path: Path) -> None:
        """Write the state into a sealed file, without pickle."""
        save_tensors(path, self.state(), self.facts())

    def load(self, path: Path) -> Self:
        """Go on from a file that a learner of the same kind, module and options has saved.

        Raises:
            OSError: It cannot be read.
            ValueError: It is damaged, or of another learner.
        """
        own_state = self.state()
        shapes = {name: tuple(leaf.shape) for name, leaf in own_state.items()}
        dtypes = {name: leaf.dtype for name, leaf in own_state.items()}
        state, facts = load_tensors(path, shapes, dtypes)
        if facts != (own := self.facts()):
            raise ValueError(f"{path} is of another learner: {facts}, not {own}")
        self.restore(state)
        return self

    def facts(self) -> dict[str, Any]:
        """Return what a saved state belongs to, as JSON values."""
        return {"learner": self.title, "options": asdict(self.options)}


class AdaptedModel(NamedTuple):
    """The models of N tasks."""

    learner: Learner[Any]
    """Whose they are."""
    params: Params
    """What they act by, each leaf (N, ...)."""

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Map inputs (N, Q, ...) to outputs (N, Q, ...): numbers, or logits of classes."""
        return self.learner.outputs(self.params, inputs)

    @torch.no_grad()
    def losses(self, query: Examples) -> Tensor:
        """Return the mean loss of every task on its query examples, (N,)."""
        return self.learner.losses(self.params, query)
