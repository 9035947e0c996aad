"""References that are made of a trained oracle: they find out for themselves what to tell it."""

from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.algorithms.oracle import Oracle, OracleOptions
from metarobot.algorithms.spread_tasks import spread_codes, tasks_of
from metarobot.config import TrainConfig
from metarobot.learning.meta_batch import MetaBatch
from metarobot.policies import Params, ToldPolicy
from metarobot.policies.params import TOLD
from metarobot.rollout.episodes import Episodes

PolicyT = TypeVar("PolicyT", bound=ToldPolicy)


class ToldOracle(Algorithm[PolicyT]):
    """A trained oracle that is not told the task; its configuration is the oracle's."""

    options_class = OracleOptions
    policy_class = ToldPolicy

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return those of the oracle."""
        return Oracle.policy_options(config)

    def beginning(self, oracle: Params) -> Params:
        """Return the parameters of the trained oracle before anything is known of the task.

        It is told the middle of the box that holds all splits.
        """
        shapes = self.policy.shapes
        state = {name: torch.zeros(shapes[name]) for name in shapes if name not in oracle}
        middle = spread_codes(self.config, np.full((1, len(tasks_of(self.config).parameters)), 0.5))
        return {**oracle, **state, TOLD: middle[0]}

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Return zeros (N, E, T): what to tell it needs no advantages."""
        del params
        return torch.zeros_like(episodes.rewards)

    def update(self, params: Params, batch: MetaBatch) -> NoReturn:
        """Refuse to train.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{self.title} is made of a trained oracle: train the oracle")
