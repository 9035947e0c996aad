"""Meta-SGD: how far each parameter adapts is learned with where it starts."""

import torch

from metarobot.few_shot.maml import Maml
from metarobot.policies import Params
from metarobot.policies.params import under_prefix, with_prefix

_STEP_SIZES = "step_sizes."


class MetaSgd(Maml):
    """MAML with a learned step size for every parameter, of either sign, that starts at `inner_lr`.

    Source: Li et al. 2017, arXiv:1707.09835.
    """

    title = "Meta-SGD"

    def initial_params(self) -> Params:
        """Return the module's parameters, and a step size for every element that is trained."""
        params = super().initial_params()
        sizes = {
            name: torch.full_like(leaf, self.options.inner_lr)
            for name, leaf in params.items()
            if name not in self.frozen
        }
        return params | with_prefix(_STEP_SIZES, sizes)

    def step_sizes(self, params: Params) -> Params:
        """Return the learned step sizes, each leaf (N, ...)."""
        return under_prefix(_STEP_SIZES, params)
