"""Domain randomisation with memory: what the present episode shows, and nothing else."""

from dataclasses import dataclass

from torch import Tensor

from metarobot.algorithms.domain_randomisation import ReferenceOptions
from metarobot.algorithms.recurrent_learner import RecurrentLearner
from metarobot.learning.unroll_order import side_by_side
from metarobot.policies import EpisodicPolicy, Params
from metarobot.rollout.episodes import Episodes

_MOST_EPISODES = 5
"""On each task of a meta-batch: many small updates, as for RL², which learns as it does."""


@dataclass(frozen=True, kw_only=True)
class RecurrentRandomisationOptions(ReferenceOptions):
    """What domain randomisation with memory reads."""

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes on each task."""
        return min(episodes_per_task, _MOST_EPISODES)


class RecurrentRandomisation(RecurrentLearner):
    """TRPO on the episodes of all tasks, with a memory that is cleared as episodes begin.

    It sees no reward, and needs no adaptation episode: what it does better than domain
    randomisation, it has learned from the steps before in the same episode.

    Source: Peng et al. 2018, arXiv:1710.06537.
    """

    title = "domain randomisation with memory"
    adapts = False
    options_class = RecurrentRandomisationOptions
    policy_class = EpisodicPolicy

    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Return the parameters as they came: nothing adapts."""
        del episodes, advantages
        return params

    def unroll_order(self, episodes: Episodes) -> Tensor:
        """Return the steps of all episodes of a task side by side, (N, E T)."""
        return side_by_side(episodes)

    def num_sequences(self, episodes: Episodes) -> int:
        """Return E: each episode is a sequence."""
        return episodes.num_episodes
