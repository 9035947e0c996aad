"""A learned inner loss: a network computes the direction in which each mean action should move."""

from typing import cast

import torch
from torch import Tensor
from torch.func import grad

from metarobot.algorithms.maml import DifferentiableLearner
from metarobot.algorithms.options import LearnedLossOptions
from metarobot.config import TrainConfig
from metarobot.learning.prototypes import step_features
from metarobot.policies import Params
from metarobot.policies.learned_loss import CONTEXT, LearnedLossPolicy, directions
from metarobot.rollout.episodes import Episodes


class LearnedLoss(DifferentiableLearner[LearnedLossPolicy]):
    """Adapts a small context z of the policy by a gradient step on a loss that is learned.

        L_n(z) = - mean_t μ_θ(o_t, z) · d_t,        z'_n = z - ∇ L_n(z)

    A network computes the direction d_t of a step from its observation, action and outcome.  The
    gradient is -mean_t J_tᵀ d_t with J_t = ∂μ_θ(o_t, z) / ∂z: no reward enters, and no
    noise beyond that of the episodes.  The network sets the length of the step too, so there is no
    step size.

    Policy and network learn together, by TRPO through the step.

    Source: Yang et al. 2019, NoRML, arXiv:1903.01063, for a learned advantage that needs no reward;
    Zintgraf et al. 2019, CAVIA, arXiv:1810.03642, for a context that adapts alone.
    """

    title = "learned loss"
    options_class = LearnedLossOptions
    policy_class = LearnedLossPolicy
    needs_rewards = False
    reads_advantages = False

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, int]:
        """Return the size of the context that adapts."""
        return {"context_size": cast(LearnedLossOptions, config.options).context_size}

    def num_adaptation_episodes(self, iteration: int) -> int:
        """Return the episodes of a task that an adaptation step of a meta-iteration learns from."""
        return min(self.options.support_episodes, super().num_adaptation_episodes(iteration))

    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""
        del advantages
        seen = ~episodes.next_observations.isnan().any(-1)  # the outcomes, (N, E, T)
        weights = seen.to(episodes.mask.dtype)
        weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=1.0)
        wanted = self.directions(params, episodes)

        def total_loss(context: Tensor) -> Tensor:
            acting = {**params, CONTEXT: context}
            mean, _ = self.policy.distribution(acting, episodes.observations)
            return -(weights * (mean * wanted).sum(-1)).sum()

        return {**params, CONTEXT: params[CONTEXT] - grad(total_loss)(params[CONTEXT])}

    def directions(self, params: Params, episodes: Episodes) -> Tensor:
        """Return the direction in which each mean action should move, (N, E, T, A)."""
        came = step_features(self.policy, episodes, torch.zeros_like(episodes.rewards))
        return directions(self.policy.network_params(params), came)
