"""What acts: a map from every task's observations to what its policy does there."""

from typing import Protocol

from torch import Tensor

from metarobot.policies.gaussian import Distribution
from metarobot.policies.params import Params


class Policy(Protocol):
    """A skeleton that is called with parameters from outside."""

    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Evaluate every task's policy on that task's observations.

        Args:
            params: One policy per task, each leaf (N, ...).
            observations: (N, ..., O), with at least one dimension between.

        Returns:
            mean (N, ..., A) and log_std (N, A).
        """
        ...
