"""Gaussian policies: the distribution over actions, the functional module, and its acting state.

Means have shape (..., A), log standard deviations any shape that broadcasts with it, such as (A,).
Results are summed over the A actions.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from metarobot.policies import MIN_STD
from metarobot.policies.params import Params

_LOG_2PI = math.log(2 * math.pi)


class Distribution(NamedTuple):
    """Distributions over the actions of every task's policy."""

    mean: Tensor  # (N, ..., A)
    log_std: Tensor  # (N, A)


def log_prob(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Log-density: log N(a; μ, σ²) = -½ Σ_a [((a - μ) / σ)² + 2 log σ + log 2π], shape (...)."""
    z = (actions - mean) * torch.exp(-log_std)
    return -0.5 * (z.square() + (2 * log_std + _LOG_2PI)).sum(-1)


def kl_divergence(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ_a [log σ_q / σ_p + (σ_p² + (μ_p - μ_q)²) / (2 σ_q²) - ½], shape (...)."""
    variance_ratio = torch.exp(2 * (log_std_p - log_std_q))
    scaled_shift = (mean_p - mean_q) * torch.exp(-log_std_q)
    per_action = log_std_q - log_std_p + 0.5 * (variance_ratio + scaled_shift.square() - 1)
    return per_action.sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """H = Σ_a [log σ + ½ (1 + log 2π)], shape (...) for log_std (..., A)."""
    return (log_std + 0.5 * (1 + _LOG_2PI)).sum(-1)


class PolicyState(ABC):
    """State of a policy that acts on N tasks, in M simulations of each, and observes the outcome.

    The one implementation of a control step: it collects episodes, acts on robots, and is exported.

    Attributes:
        memory: State from one `act` to the next, by name, (N, M, X) each, updated by `observe` and
            `begin`; (N, 1, X) at first, and empty for a policy without memory.
    """

    def __init__(self) -> None:
        self.memory: dict[str, Tensor] = {}

    def begin(self, begins: Tensor | None = None) -> None:  # noqa: B027
        """Begin episodes in some simulations, (N, M) bool, or in all; memory may stay."""

    @abstractmethod
    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:  # noqa: B027
        """Observe the step: actions (N, M, A), rewards (N, M), and whether it counts, (N, M) bool.

        A reward is NaN where it was not measured.
        """


class Policy(Protocol):
    """A policy that can be started."""

    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        ...


class ReactivePolicy(ABC):
    """A policy without memory: the action depends on the present observation alone."""

    @abstractmethod
    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Evaluate every task's policy, leaves (N, ...), on its observations (N, ..., O).

        There is at least one dimension between N and O.  Returns mean (N, ..., A), log_std (N, A).
        """

    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return ReactiveState(self, params)


class ReactiveState(PolicyState):
    """State of a reactive policy that acts."""

    def __init__(self, policy: ReactivePolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        return self._policy.distribution(self._params, observations)


LAST_LAYER_GAIN = 0.1
"""Small, so that an untrained policy explores around the middle of the action range."""


class GaussianPolicy(nn.Module, ABC):
    """π_θ(a | ·) = N(mean_θ(·), diag(std_θ)²).

    The module is functional: it is called with parameters from outside, and its own have names and
    shapes, but no storage. `log_std` is one free vector, learned and adapted like the weights.
    """

    observation_centre: Tensor  # (O,)
    observation_half_range: Tensor  # (O,)

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        initial_std: float = 0.5,
    ) -> None:
        """Set the parts that do not depend on the network.

        Args:
            observation_low: Lower bound of every observation element, (O,).
            observation_high: Upper bound of every observation element, (O,).
            action_size: A, number of action elements.
            initial_std: Standard deviation of the initial action noise, in half action ranges.

        Raises:
            ValueError: Bounds are not finite or not ordered, or initial_std is below the floor.
        """
        super().__init__()
        low = torch.as_tensor(observation_low, dtype=torch.float32)
        high = torch.as_tensor(observation_high, dtype=torch.float32)
        if not bool(
            torch.isfinite(low).all() and torch.isfinite(high).all() and (low < high).all()
        ):
            raise ValueError(
                f"observation bounds must be finite with low < high, got {low}, {high}"
            )
        if not initial_std >= MIN_STD:
            raise ValueError(f"initial_std must be at least {MIN_STD}, got {initial_std}")
        self.action_size = action_size
        self.initial_std = initial_std
        self.min_log_std = math.log(MIN_STD)
        self.register_buffer("observation_centre", (low + high) / 2, persistent=False)
        self.register_buffer("observation_half_range", (high - low) / 2, persistent=False)
        self.log_std = nn.Parameter(torch.empty(action_size, device="meta"))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, by name."""
        return {name: tuple(leaf.shape) for name, leaf in self.named_parameters()}

    def altered(self, **attributes: Any) -> Self:
        """Return the same policy with other values of some attributes; all else is shared."""
        twin = copy.copy(self)
        for name, value in attributes.items():
            setattr(twin, name, value)
        return twin

    def with_min_std(self, min_std: float) -> Self:
        """Return the same policy with another floor of its action noise."""
        return self.altered(min_log_std=math.log(min_std))

    def scale_observations(self, observations: Tensor) -> Tensor:
        """Map observations (..., O) from their bounds to [-1, 1]."""
        return (observations - self.observation_centre) / self.observation_half_range

    def log_std_of(self, params: Params) -> Tensor:
        """Return the log standard deviations of every task, (N, A)."""
        return params["log_std"].clamp(min=self.min_log_std)

    @abstractmethod
    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters."""

    @abstractmethod
    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""

    def _blank_params(self) -> Params:
        """Return parameters that are 0, but for `log_std` = log(initial_std)."""
        params = {
            name: torch.zeros_like(leaf, device="cpu", requires_grad=False)
            for name, leaf in self.named_parameters()
        }
        params["log_std"].fill_(self.initial_std).log_()
        return params


def products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply every element of (..., I) with every one of (..., J): (..., I J).

    Some functions of a policy are linear in such products, and hard to approximate by sums.
    """
    return (a[..., :, None] * b[..., None, :]).flatten(-2)
