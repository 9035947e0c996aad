"""What acts: a functional module, called with parameters from outside, and the module at work."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor

from metarobot.policies.gaussian import Distribution
from metarobot.policies.params import Params


class Actor(Protocol):
    """A policy at work on N tasks, in M simulations of each: it acts, and is told what came."""

    def begin(self) -> None:
        """Episodes begin, in all simulations; what came before may be remembered."""
        ...

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        ...

    def learn(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Take note of actions (N, M, A), rewards (N, M) and whether the step counts, (N, M)."""
        ...


class Policy(Protocol):
    """What can be set to work."""

    def actor(self, params: Params) -> Actor:
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

    def actor(self, params: Params) -> Actor:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return ReactiveActor(self, params)


class ReactiveActor:
    """A reactive policy at work."""

    def __init__(self, policy: ReactivePolicy, params: Params) -> None:
        self._policy = policy
        self._params = params

    def begin(self) -> None:
        """Begin episodes, as if there had been none before."""

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        return self._policy.distribution(self._params, observations)

    def learn(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Learn nothing."""
