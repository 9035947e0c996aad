"""RL²: a policy that learns to learn within its memory."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from metarobot.algorithms.recurrent_learner import RecurrentLearner
from metarobot.config import MOST_EPISODES
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.trpo import TrustRegion
from metarobot.learning.unroll_order import one_after_the_other, pack, unpack
from metarobot.options import AlgorithmOptions, fixed, integer, number
from metarobot.policies import Params
from metarobot.policies.gaussian_policy import MIN_STD
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class Rl2Options(AlgorithmOptions, TrustRegion):
    """What RL² reads."""

    num_adaptation_steps: int = fixed(0)
    """K, blocks of episodes before the trial: none, since it adapts from episode to episode."""
    trial_episodes: int = integer(5, 1, MOST_EPISODES)
    """Episodes of a trial, at most episodes_per_task. Meta-batches are that much smaller than those
    of other algorithms: within the same budget it improves more often."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges."""

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes of a trial."""
        return min(episodes_per_task, self.trial_episodes)


class Rl2(RecurrentLearner):
    """RL²: TRPO on whole trials, whose episodes follow each other and share one memory.

    Adapting changes no weight: the policy is unrolled through the adaptation episodes, and goes on
    with what it remembers.

    Source: Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763.
    """

    title = "RL²"
    options_class = Rl2Options

    @property
    def options(self) -> Rl2Options:
        """What this algorithm reads."""
        return cast(Rl2Options, self.config.options)

    @classmethod
    def num_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return one simulation for each task, in which its episodes follow each other."""
        del num_episodes
        return num_tasks

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Return zeros (N, E, T): remembering needs no advantages."""
        del params
        return torch.zeros_like(episodes.rewards)

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Remember a block of trial episodes."""
        del advantages
        memories = self.memories(params, episodes)
        num_steps = episodes.mask.sum((1, 2)).long()
        return {**params, "memory": memories[torch.arange(len(memories)), num_steps]}

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the first episode of every trial, and its second half."""
        trial = batch.post_episodes
        return trial.first(1), trial.last((trial.num_episodes + 1) // 2)

    def unroll_order(self, episodes: Episodes) -> Tensor:
        """Return the order of a trial, (N, E T): its episodes follow each other."""
        return one_after_the_other(episodes)

    def join(self, block: Tensor, episodes: Episodes) -> Tensor:
        """Return steps (N, E, T) as those of whole trials, (N, E T)."""
        return pack(block, one_after_the_other(episodes))

    def part(self, steps: Tensor, episodes: Episodes) -> Tensor:
        """Undo `join`: return steps (N, E, T)."""
        return unpack(steps, one_after_the_other(episodes), episodes.rewards)

    def value_features(self, memories: Tensor, episodes: Episodes) -> Tensor:
        """Return what values are linear in, (N, E T, F): what is seen, known, and when."""
        features = super().value_features(memories, episodes)
        t = torch.linspace(0.0, 1.0, features.shape[1], dtype=torch.float64)
        when = torch.stack([t, t**2, t**3], dim=-1).expand(*features.shape[:2], 3)
        return torch.cat([features, when], dim=-1)
