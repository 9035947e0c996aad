"""What acts: a functional module, called with parameters from outside, and its state at work."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor

from metarobot.policies.gaussian import Distribution
from metarobot.policies.params import Params


class PolicyState(ABC):
    """A policy at work on N tasks, in M simulations of each: it acts, and observes what came of it.

    The one implementation of a control step: it collects episodes, acts on robots, and is exported.

    Attributes:
        memory: What it carries from `act` to the `observe` and `begin` before the next `act`, by
            name, (N, M, X) each; (N, 1, X) at first, and empty where it remembers nothing.  On a
            robot and in an exported file, nothing else is carried.
    """

    def __init__(self) -> None:
        self.memory: dict[str, Tensor] = {}

    def begin(self, begins: Tensor | None = None) -> None:  # noqa: B027
        """Begin episodes; what came before may be remembered.

        Args:
            begins: In which simulations, (N, M) bool; in all if None.
        """

    @abstractmethod
    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:  # noqa: B027
        """Observe the step: actions (N, M, A), rewards (N, M), and whether it counts, (N, M) bool.

        A reward is NaN where it was not measured.
        """


class Policy(Protocol):
    """What can be set to work."""

    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        ...


class ReactivePolicy(ABC):
    """Acts by the present observation, and remembers nothing."""

    @abstractmethod
    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Evaluate every task's policy on that task's observations.

        Args:
            params: One policy per task, each leaf (N, ...).
            observations: (N, ..., O), with at least one dimension between.

        Returns:
            mean (N, ..., A) and log_std (N, A).
        """

    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return ReactiveState(self, params)


class ReactiveState(PolicyState):
    """A reactive policy at work."""

    def __init__(self, policy: ReactivePolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        return self._policy.distribution(self._params, observations)
