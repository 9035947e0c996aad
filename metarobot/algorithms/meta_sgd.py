"""Meta-SGD: how far each parameter adapts is learned with where it starts."""

from typing import cast

from torch import Tensor

from metarobot.algorithms.maml import Maml, MamlOptions
from metarobot.config import TrainConfig
from metarobot.policies import LearnedStepsMLP, Params


class MetaSgd(Maml):
    """MAML with a learned step size for every parameter, of either sign.

    Source: Li et al. 2017, arXiv:1707.09835.
    """

    title = "Meta-SGD"
    policy_class = LearnedStepsMLP

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, float]:
        """Return where the step sizes start."""
        return {"initial_step_size": cast(MamlOptions, config.options).inner_lr}

    def step_sizes(self, params: Params) -> dict[str, Tensor]:
        """Return the step size of every parameter but the step sizes."""
        return LearnedStepsMLP.step_sizes_of(params)
