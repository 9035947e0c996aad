"""Meta-SGD: how far each parameter adapts is learned with where it starts."""

from collections.abc import Sequence

from torch import Tensor

from metarobot.algorithms.maml import Maml
from metarobot.config import TrainConfig
from metarobot.policies import LearnedStepsMLP, Params


class MetaSgd(Maml):
    """MAML with a learned step size for every parameter, of either sign.

    Source: Li et al. 2017, arXiv:1707.09835.
    """

    @classmethod
    def make_policy(
        cls,
        config: TrainConfig,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
    ) -> LearnedStepsMLP:
        """Lay out a policy whose parameters include their step sizes."""
        policy = LearnedStepsMLP(
            observation_low,
            observation_high,
            action_size,
            config.hidden_sizes,
            config.initial_std,
            config.inner_lr,
        )
        return policy.with_min_std(config.min_std)

    def step_sizes(self, params: Params) -> dict[str, Tensor]:
        """Return the step size of every parameter but the step sizes."""
        return LearnedStepsMLP.step_sizes_of(params)
