"""Strategy search: the trained oracle is told guesses, and the best of them is kept."""

from typing import Any

import torch
from torch import Tensor

from metarobot.algorithms.spread_tasks import spread_codes, tasks_of
from metarobot.algorithms.told_oracle import ToldOracle
from metarobot.config import TrainConfig
from metarobot.policies import Params, SearchingPolicy
from metarobot.policies.search import sum_of_rewards
from metarobot.rollout.episodes import Episodes

NUM_GUESSES = 1024
"""Q, guesses spread over the box that holds all splits."""
DESIGN_OF_A_PARAMETER = 2
"""Guesses for each task parameter that are asked before any is chosen."""


class StrategySearch(ToldOracle[SearchingPolicy]):
    """Adapts a trained oracle by what episodes earn that are told guesses.

    Source: Yu, Liu and Turk 2019, arXiv:1810.05751, with CMA-ES as the optimiser.
    """

    title = "strategy search"
    policy_class = SearchingPolicy

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return those of the oracle, and the guesses: they cover all splits of the tasks."""
        from scipy.stats import qmc  # which takes half a second to import

        num_parameters = len(tasks_of(config).parameters)
        # Sobol's first point is a corner; its second is the middle.
        points = qmc.Sobol(num_parameters, scramble=False).random(2 * NUM_GUESSES)
        return {
            **super().policy_options(config),
            "guesses": spread_codes(config, points[1 : 1 + NUM_GUESSES]),
            "num_design": DESIGN_OF_A_PARAMETER * num_parameters,
        }

    @classmethod
    def num_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return one simulation for each task: what is asked next depends on what was earned."""
        del num_episodes
        return num_tasks

    @property
    def exploring_policy(self) -> SearchingPolicy:
        """The policy that asks."""
        return self.policy.asking()

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Ask again what the episodes were asked, which follows from what they earned; conclude."""
        del advantages
        for rewards in (episodes.rewards * episodes.mask).unbind(1):
            params = self.policy.answer(self.policy.ask(params), sum_of_rewards(rewards))
        return self.policy.conclude(params)
