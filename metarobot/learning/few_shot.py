"""Few-shot learners on any module and any loss: they adapt from a few examples of a task.

MAML and its variants take the adaptation steps of the policies, `inner_loop.adapt`, with another
loss. All tasks adapt in one vectorised call, and Adam takes the meta-updates.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import one_hot, pad

from metarobot.config import Checked, fixed, integer, number, require_count, require_known, switch
from metarobot.io import most_bytes, parse_tensors, read_file, save_tensors
from metarobot.learning.adam import AdamState, descend, loss_rows
from metarobot.learning.inner_loop import adapt
from metarobot.learning.prototypes import NEVER, prototypes
from metarobot.policies import Params, flatten_params, repeat_params
from metarobot.policies.params import under_prefix, with_prefix
from metarobot.rollout.seeding import Phase, numpy_generator

_PARAMS, _ADAM = "params.", "adam."
_STEP_SIZES, _PROTOTYPES, _COUNTS = ".step_sizes.", ".prototypes", ".counts"
"""Names of further leaves; names of a module's parameters never begin with a dot."""


@dataclass(frozen=True)
class Examples:
    """Inputs and targets of N tasks, S examples each."""

    inputs: Tensor
    """Inputs of the module, (N, S, ...)."""
    targets: Tensor
    """Targets of the outputs, (N, S, ...): numbers, or classes (N, S)."""

    def __post_init__(self) -> None:
        """Check that there is a target for every input."""
        inputs, targets = tuple(self.inputs.shape[:2]), tuple(self.targets.shape[:2])
        if len(inputs) < 2 or inputs != targets or 0 in inputs:
            raise ValueError(
                "inputs and targets must begin with the same (tasks, examples), at least (1, 1): "
                f"got {tuple(self.inputs.shape)} and {tuple(self.targets.shape)}"
            )

    @property
    def num_tasks(self) -> int:
        """N."""
        return len(self.inputs)

    @property
    def num_examples(self) -> int:
        """S, examples of each task."""
        return self.inputs.shape[1]

    def part(self, first: int, last: int) -> "Examples":
        """Return the examples first .. last - 1 of every task."""
        return Examples(self.inputs[:, first:last], self.targets[:, first:last])


@dataclass(frozen=True)
class FewShotTasks:
    """A meta-batch of N tasks."""

    support: Examples
    """Examples that a learner adapts from, (N, S, ...)."""
    query: Examples
    """Examples that judge the adapted model, (N, Q, ...)."""

    def __post_init__(self) -> None:
        """Check that both are of the same tasks."""
        if self.support.num_tasks != self.query.num_tasks:
            raise ValueError(
                "support and query must be of the same tasks: "
                f"got {self.support.num_tasks} and {self.query.num_tasks}"
            )


SampleTasks = Callable[[np.random.Generator], FewShotTasks]
"""Draws a meta-batch; all of its randomness comes from the generator."""

ExampleLoss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (S, ...) and targets (S, ...) of one task to a loss for each example, (S,)."""


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of each example, the mean over its elements, (S,)."""
    if outputs.shape != targets.shape:  # broadcasting would compare each output with all targets
        raise ValueError(
            "outputs and targets must have the same shape: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    return (outputs - targets).square().flatten(1).mean(1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log p(target) of each example (S,), from logits (S, C) and classes 0 .. C - 1, (S,)."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


@dataclass(frozen=True, kw_only=True)
class LearnerOptions(Checked):
    """Options of all few-shot learners."""

    outer_lr: float = number(1e-3, 1e-8, 10.0)
    """Learning rate of Adam."""
    seed: int = integer(0, 0, 2**32 - 1)
    """Seed of the meta-batches; the module comes with its initial parameters."""


OptionsT = TypeVar("OptionsT", bound=LearnerOptions)


class Learner(ABC, Generic[OptionsT]):
    """Meta-trains a module over tasks, and adapts it to new ones from their support examples.

    Args:
        module: Its parameters are the initialisation; it is copied and stays as it is. Those that
            require no gradient are used, and neither trained nor adapted. Its forward pass takes
            one tensor, changes no buffer, draws no random numbers and has no recurrent layer of
            torch.
        loss: Loss of each example, to be minimised.
        options: Options of the learner.

    Raises:
        ValueError: A layer of the module cannot be vectorised over tasks.
    """

    def __init__(self, module: nn.Module, loss: ExampleLoss, options: OptionsT) -> None:
        _require_vectorisable(module)
        leaves = module.named_parameters()
        self.frozen = frozenset(name for name, leaf in leaves if not leaf.requires_grad)
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.loss = loss
        self.options = options
        self.params = self.initial_params()
        self._moments = AdamState.fresh(self.params)

    def initial_params(self) -> Params:
        """Return the parameters, frozen ones included, each leaf in its own shape."""
        return {name: leaf.detach().clone() for name, leaf in self.module.named_parameters()}

    @property
    def num_updates(self) -> int:
        """Meta-updates so far."""
        return int(self._moments.num_steps)

    @abstractmethod
    def adapt_params(self, params: Params, support: Examples) -> Params:
        """Return the model of every task, leaves (N, ...) attached to the graph of `params`."""

    def outputs(self, adapted: Params, inputs: Tensor) -> Tensor:
        """Return outputs (N, Q, ...) of inputs (N, Q, ...), by leaves (N, ...) that are adapted."""
        leaves = {name: adapted[name] for name, _ in self.module.named_parameters()}
        return vmap(lambda own, rows: functional_call(self.module, own, (rows,)))(leaves, inputs)

    def losses(self, adapted: Params, examples: Examples) -> Tensor:
        """Return the mean loss of every task, (N,), by leaves (N, ...) that are adapted."""
        losses = vmap(self.loss)(self.outputs(adapted, examples.inputs), examples.targets)
        if losses.shape != examples.targets.shape[:2]:
            raise ValueError(
                f"a loss must return a number for each of {examples.num_examples} examples, shape "
                f"({examples.num_examples},): got {tuple(losses.shape[1:])}; take the mean over "
                "the elements of an example only"
            )
        return losses.mean(1)

    def query_losses(self, params: Params, tasks: FewShotTasks) -> Tensor:
        """Return the loss of every task after adapting, (N,), from leaves (N, ...)."""
        fixed = {name: params[name].detach() for name in self.frozen}
        return self.losses(self.adapt_params({**params, **fixed}, tasks.support), tasks.query)

    def per_task_gradients(self, params: Params, tasks: FewShotTasks) -> Tensor:
        """Return loss and meta-gradient of every task, (N, 1 + P), from leaves in own shape."""
        num_tasks = tasks.support.num_tasks
        return loss_rows(lambda theta: self.query_losses(theta, tasks), params, num_tasks)

    def fit(
        self,
        sample_tasks: SampleTasks,
        num_updates: int,
        *,
        validate: FewShotTasks | None = None,
        patience: int = 200,
    ) -> list[float]:
        """Take meta-updates, each on a meta-batch of its own; return the mean losses before each.

        The seed and the number of an update determine its meta-batch. So fitting twice
        for 100 updates equals fitting for 200.

        With held-out tasks, training stops early, and the learner returns to the parameters that
        adapted best to them, the initial ones included: it is never worse on them than before.

        Args:
            sample_tasks: Draws a meta-batch.
            num_updates: Further updates, at least 0.
            validate: Held-out tasks. Their mean loss after adapting is measured before training,
                after every 10 updates and after the last.
            patience: Updates after the best one at which training stops.

        Raises:
            ValueError: A number is not finite; the updates before are kept, or the best of them.
                Or the module has no parameter to train, or the number of updates is negative.
        """
        require_count("num_updates", num_updates)
        require_count("patience", patience)
        if self.frozen.issuperset(self.params):
            raise ValueError(
                "the module has no parameter to train: give one, or free some by "
                "requires_grad_(True)"
            )
        if validate is None:
            return [self._update(sample_tasks) for _ in range(num_updates)]
        losses: list[float] = []
        best, best_state, best_update = self._held_out_loss(validate), self.state(), 0
        if not math.isfinite(best):
            raise ValueError(
                f"the loss on the held-out tasks is {best} before training: check their examples, "
                "or take smaller step sizes"
            )
        try:
            for update in range(1, num_updates + 1):
                losses.append(self._update(sample_tasks))
                if update % 10 and update < num_updates:
                    continue
                found = self._held_out_loss(validate)
                if found < best:
                    best, best_state, best_update = found, self.state(), update
                elif update - best_update >= patience:
                    break
        finally:
            self.restore(best_state)
        return losses

    def _held_out_loss(self, tasks: FewShotTasks) -> float:
        return self.adapt(tasks.support).losses(tasks.query).mean().item()

    def _update(self, sample_tasks: SampleTasks) -> float:
        """Take one step of Adam on the mean over new tasks; return the loss before it."""
        step = self.num_updates
        tasks = sample_tasks(numpy_generator(self.options.seed, step, Phase.TASKS))
        found = descend(
            lambda params, _: self.per_task_gradients(params, tasks),
            self.params,
            self._moments,
            1,
            lambda _: self.options.outer_lr,
        )
        if found is None:
            raise ValueError(
                f"the loss or its gradient is not finite in meta-update {step}: check the "
                "examples, or take smaller step sizes"
            )
        self.params, self._moments = found.params, found.moments
        return found.losses[0]

    @torch.no_grad()
    def adapt(self, support: Examples) -> "AdaptedModel":
        """Adapt to N tasks, each from its own support examples (N, S, ...)."""
        theta = repeat_params(self.params, support.num_tasks)
        return AdaptedModel(self, self.adapt_params(theta, support))

    def state(self) -> dict[str, Tensor]:
        """Return the state of meta-training, without the options."""
        adam = self._moments.to_tensors()
        return with_prefix(_PARAMS, self.params) | with_prefix(_ADAM, adam)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state."""
        self.params = under_prefix(_PARAMS, state)
        self._moments = AdamState.from_tensors(under_prefix(_ADAM, state))

    def save(self, path: Path) -> None:
        """Write the state into a sealed file, without pickle."""
        save_tensors(path, self.state(), self.facts())

    def load(self, path: Path) -> Self:
        """Continue from a file of a learner with the same kind, module and options."""
        own_state, own = self.state(), self.facts()
        shapes = {name: tuple(leaf.shape) for name, leaf in own_state.items()}
        dtypes = {name: leaf.dtype for name, leaf in own_state.items()}
        data = read_file(path, most_bytes(shapes, dtypes))
        state, facts = parse_tensors(path, data, shapes, dtypes)
        for name in {**own, **facts}:
            if facts.get(name) != own.get(name):
                raise ValueError(
                    f"{path} is of another learner: {name!r:.60} is {facts.get(name)!r:.60}, "
                    f"must be {own.get(name)!r}"
                )
        if (steps := float(state[f"{_ADAM}num_steps"])) < 0:
            raise ValueError(f"{path} is damaged: {steps} meta-updates")
        self.restore(state)
        return self

    def facts(self) -> dict[str, Any]:
        """Return the kind and options of the learner, as JSON values of a saved state."""
        return {"learner": type(self).__name__, **asdict(self.options)}


class AdaptedModel(NamedTuple):
    """The models of N tasks."""

    learner: Learner[Any]
    """Learner of the models."""
    params: Params
    """Parameters of each model, leaves (N, ...)."""

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Map inputs (N, Q, ...) to outputs (N, Q, ...): numbers, or logits of classes."""
        return self.learner.outputs(self.params, inputs)

    @torch.no_grad()
    def losses(self, query: Examples) -> Tensor:
        """Return the mean loss of every task on its query examples, (N,)."""
        return self.learner.losses(self.params, query)


@dataclass(frozen=True, kw_only=True)
class MamlOptions(LearnerOptions):
    """Options of MAML, ANIL and Meta-SGD."""

    inner_lr: float = number(0.01, 1e-8, 100.0)
    """α, step size of an adaptation step."""
    num_adaptation_steps: int = integer(1, 0, 1000)
    """K, adaptation steps on the support examples. With 0, the module is trained on all tasks
    together: a reference that can be fine-tuned to a task."""
    first_order: bool = switch(False)
    """Drop the second derivatives of the adaptation from the meta-gradient."""


class Maml(Learner[MamlOptions]):
    """Lowers the loss after K gradient steps, differentiated through the steps.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 2; section 5.2 for the first order.
    """

    def step_sizes(self, params: Params) -> Mapping[str, float | Tensor]:
        """Return α of each leaf that adapts."""
        names = [name for name, _ in self.module.named_parameters() if name not in self.frozen]
        return dict.fromkeys(names, self.options.inner_lr)

    def adapt_params(self, params: Params, support: Examples) -> Params:
        """Take K adaptation steps, all on the same support examples."""
        return self.take_steps(params, [support] * self.options.num_adaptation_steps)

    def take_steps(self, params: Params, blocks: Sequence[Examples]) -> Params:
        """Take an adaptation step on each block of examples; as `adapt_params`."""
        sizes = self.step_sizes(params)
        for block in blocks:

            def total_loss(leaves: Params, block: Examples = block) -> Tensor:
                return self.losses(leaves, block).sum()

            params = adapt(total_loss, params, sizes, first_order=self.options.first_order)
        return params

    @torch.no_grad()
    def adapt(self, support: Examples, num_steps: int | None = None) -> AdaptedModel:
        """Adapt to N tasks from support examples (N, S, ...); by default as in meta-training."""
        if num_steps is None:
            return super().adapt(support)
        require_count("num_steps", num_steps)
        theta = repeat_params(self.params, support.num_tasks)
        return AdaptedModel(self, self.take_steps(theta, [support] * num_steps))


class Anil(Maml):
    """MAML that adapts the head only, the submodule of that name with all parameters below it.

    In an `nn.Sequential` a name is "4". A head that shares a parameter with the rest is refused.

    Source: Raghu et al. 2020, arXiv:1909.09157.
    """

    def __init__(
        self, module: nn.Module, loss: ExampleLoss, options: MamlOptions, head: str
    ) -> None:
        super().__init__(module, loss, options)
        parts = [name for name, part in module.named_modules() if name and [*part.parameters()]]
        require_known([head], parts, "submodule with parameters")
        self.head = head
        own = {id(leaf) for leaf in module.get_submodule(head).parameters()}
        for name, leaf in module.named_parameters(remove_duplicate=False):
            if id(leaf) in own and not name.startswith(f"{head}."):
                raise ValueError(
                    f"the head {head!r} shares {name}, which must not adapt: take another head, or "
                    "MAML, which adapts all parameters"
                )
        if not self.step_sizes(self.params):
            raise ValueError(
                f"all parameters of the head {head!r} are frozen: free one by requires_grad_(True)"
            )

    def step_sizes(self, params: Params) -> Mapping[str, float | Tensor]:
        """Return α of each leaf of the head."""
        sizes = super().step_sizes(params)
        return {name: size for name, size in sizes.items() if name.startswith(f"{self.head}.")}

    def facts(self) -> dict[str, Any]:
        """Return the kind and options of the learner, the head included."""
        return {**super().facts(), "head": self.head}


class MetaSgd(Maml):
    """MAML with a learned step size for every parameter, of either sign, that starts at `inner_lr`.

    Source: Li et al. 2017, arXiv:1707.09835.
    """

    def initial_params(self) -> Params:
        """Return the module's parameters, and a step size for every element that is trained."""
        params, size = super().initial_params(), self.options.inner_lr
        trained = {name: leaf for name, leaf in params.items() if name not in self.frozen}
        sizes = {name: torch.full_like(leaf, size) for name, leaf in trained.items()}
        return params | with_prefix(_STEP_SIZES, sizes)

    def step_sizes(self, params: Params) -> Params:
        """Return the learned step sizes, each leaf (N, ...)."""
        return under_prefix(_STEP_SIZES, params)


@dataclass(frozen=True, kw_only=True)
class ReptileOptions(MamlOptions):
    """Options of Reptile."""

    num_adaptation_steps: int = integer(5, 1, 1000)
    """K, adaptation steps on each task. A single one is joint training: learning to adapt grows
    with the number of pairs of steps."""
    first_order: bool = fixed(True)
    """Reptile takes no derivative through a step."""


class Reptile(Maml):
    """Uses θ - φ_n as the gradient, with φ_n the end of K adaptation steps on task n.

    The steps take turns on blocks of as many examples as there are in the support: first these,
    then the query examples.

    Source: Nichol et al. 2018, arXiv:1803.02999, algorithms 1 and 2.
    """

    @torch.no_grad()
    def per_task_gradients(self, params: Params, tasks: FewShotTasks) -> Tensor:
        """Return the loss of the query after adapting to the support, and θ - φ_n, (N, 1 + P)."""
        theta = repeat_params(params, tasks.support.num_tasks)
        size, query = tasks.support.num_examples, tasks.query
        starts = range(0, query.num_examples - size + 1, size)  # a remainder is not used
        blocks = [tasks.support, *(query.part(first, first + size) for first in starts)]
        turns = [blocks[k % len(blocks)] for k in range(self.options.num_adaptation_steps)]
        ends = self.take_steps(theta, turns)
        losses = self.query_losses(theta, tasks)
        return torch.cat([losses[:, None], flatten_params(theta) - flatten_params(ends)], dim=1)


class PrototypicalNetwork(Learner[LearnerOptions]):
    """p(c | x) ∝ exp(-‖f(x) - prototype_c‖²), with f the module: an encoder, which does not adapt.

    The module maps inputs (S, ...) to embeddings (S, D); targets are classes 0 .. C - 1. A class
    without support in a task is never predicted there, and must not stand in its query.

    Source: Snell et al. 2017, arXiv:1703.05175, Algorithm 1.
    """

    def __init__(self, module: nn.Module, options: LearnerOptions) -> None:
        super().__init__(module, cross_entropy, options)

    def adapt_params(self, params: Params, support: Examples) -> Params:
        """Return the encoder's leaves, prototypes (N, C, D) and examples of each class (N, C)."""
        _require_classes(support)
        embeddings = super().outputs(params, support.inputs)
        belongs = one_hot(support.targets).mT.to(embeddings.dtype)  # (N, C, S)
        centres = prototypes(embeddings[:, None], belongs)
        return {**params, _PROTOTYPES: centres, _COUNTS: belongs.sum(-1)}

    def losses(self, adapted: Params, examples: Examples) -> Tensor:
        """Return the mean loss of every task, (N,); all classes of queries need support."""
        _require_classes(examples)
        counts = pad(adapted[_COUNTS], (0, 1))  # 0 for classes beyond C
        without = counts.gather(1, examples.targets.clamp(max=counts.shape[1] - 1)) == 0  # (N, Q)
        if without.any():
            task, label = without.nonzero()[0, 0], examples.targets[without][0]
            raise ValueError(
                f"task {task} has query examples of class {label} and no support example of it: "
                "give one, or take the class out of the query"
            )
        return super().losses(adapted, examples)

    def outputs(self, adapted: Params, inputs: Tensor) -> Tensor:
        """Return -‖f(x) - prototype_c‖² as the logit of every class, (N, Q, C)."""
        embeddings = super().outputs(adapted, inputs)
        squared = (embeddings[:, :, None] - adapted[_PROTOTYPES][:, None]).square().sum(-1)
        return (-squared).masked_fill(adapted[_COUNTS][:, None] == 0, NEVER)


def _require_classes(examples: Examples) -> None:
    """Refuse targets that are no integers, not one per example, or below 0."""
    targets = examples.targets
    if targets.dtype != torch.int64 or targets.ndim != 2 or int(targets.min()) < 0:
        raise ValueError(
            "targets of a prototypical network must be classes 0 .. C - 1, int64 of shape (N, S): "
            f"got {targets.dtype} of shape {tuple(targets.shape)}, the least is {targets.min()}"
        )


def _require_vectorisable(module: nn.Module) -> None:
    """Refuse a layer that cannot be vectorised over tasks; the error names an alternative."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase | nn.LSTMCell):
            why = "torch cannot vectorise it over tasks; take a convolution over time"
        elif layer.training and getattr(layer, "running_mean", None) is not None:
            why = "its running statistics would change; take LayerNorm, or call eval() on it first"
        elif layer.training and isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            why = "it draws random numbers; leave it out, or call eval() on the module first"
        else:
            continue
        place = f"layer {name!r}" if name else "the module"
        raise ValueError(f"{place} is {type(layer).__name__}: {why}")
