"""A learned inner loss: a network says in which direction each mean action should have been."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.func import grad

from metarobot.algorithms.maml import DifferentiableLearner
from metarobot.config import MOST_ADAPTATION_STEPS, AlgorithmOptions, TrainConfig, integer, number
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.policies import (
    LearnedLossPolicy,
    Params,
    directions,
    transition_features,
)
from metarobot.policies.gaussian import MIN_STD
from metarobot.policies.learned_loss import CONTEXT
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class LearnedLossOptions(AlgorithmOptions, TrustRegion):
    """What the learner of an inner loss reads."""

    num_adaptation_steps: int = integer(1, 0, MOST_ADAPTATION_STEPS)
    """K, adaptation steps before the post-update episodes."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges."""
    adaptation_min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise in adaptation episodes, in half action ranges."""
    context_size: int = integer(8, 1, 1024)
    """Z, elements of the point that adapts."""
    support_episodes: int = integer(5, 1, 10_000)
    """Adaptation episodes of each task in training, at most episodes_per_task. Few are enough, as
    the loss has no sampling noise, and the fewer they are, the more meta-updates a budget buys."""

    @property
    def adaptation_steps(self) -> int:
        """Adaptation steps before the post-update episodes."""
        return self.num_adaptation_steps


class LearnedLoss(DifferentiableLearner[LearnedLossPolicy]):
    """Adapts a small point z of the policy by a gradient step on a loss that is learned.

        L_n(z) = - mean_t μ_θ(o_t, z) · d_t,        z'_n = z - ∇ L_n(z)

    The direction d_t of a step is what a network makes of where it was, what was done and what came
    of it.  The gradient is -mean_t J_tᵀ d_t with J_t = ∂μ_θ(o_t, z) / ∂z: no reward enters, and no
    noise beyond that of the episodes.  The network sets the length of the step too, so there is no
    step size.

    Policy and network learn together, by TRPO through the step.

    Source: Yang et al. 2019, NoRML, arXiv:1903.01063, for a learned advantage that needs no reward;
    Zintgraf et al. 2019, CAVIA, arXiv:1810.03642, for a point that adapts alone.
    """

    title = "learned loss"
    options_class = LearnedLossOptions
    policy_class = LearnedLossPolicy

    @property
    def options(self) -> LearnedLossOptions:
        """What this algorithm reads."""
        return cast(LearnedLossOptions, self.config.options)

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, int]:
        """Return the size of the point that adapts."""
        return {"context_size": cast(LearnedLossOptions, config.options).context_size}

    @property
    def needs_rewards(self) -> bool:
        """Whether `adapt` reads rewards: the learned loss does without."""
        return False

    @property
    def exploring_policy(self) -> LearnedLossPolicy:
        """The policy as it explores: with the floor of the noise in adaptation episodes."""
        return self.policy.with_min_std(self.options.adaptation_min_std)

    def num_adaptation_episodes(self, iteration: int) -> int:
        """Return from how many episodes of a task an adaptation step of a meta-iteration learns."""
        return min(self.options.support_episodes, super().num_adaptation_episodes(iteration))

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Return zeros (N, E, T): the learned loss needs no advantages."""
        del params
        return torch.zeros_like(episodes.rewards)

    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""
        del advantages
        weights, wanted = _weights(episodes), self.directions(params, episodes)

        def total_loss(context: Tensor) -> Tensor:
            acting = {**params, CONTEXT: context}
            mean, _ = self.policy.distribution(acting, episodes.observations)
            return -(weights * (mean * wanted).sum(-1)).sum()

        return {**params, CONTEXT: params[CONTEXT] - grad(total_loss)(params[CONTEXT])}

    def directions(self, params: Params, episodes: Episodes) -> Tensor:
        """Return in which direction each mean action should have been, (N, E, T, A)."""
        observations, following = (
            self.policy.scale_observations(each)
            for each in (episodes.observations, episodes.next_observations)
        )
        no_rewards = torch.zeros_like(episodes.rewards)
        came = transition_features(
            observations, following, episodes.actions, no_rewards, episodes.mask
        )
        return directions(self.policy.direction, self.policy.direction_params(params), came)

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        return trpo_update(self, params, batch, self.options, self.workers)


def _weights(episodes: Episodes) -> Tensor:
    """Return the weight of each step in the mean over those of which it was seen what came."""
    seen = ~episodes.next_observations.isnan().any(-1)  # (N, E, T)
    followed = seen.to(episodes.mask.dtype)
    return followed / followed.sum((1, 2), keepdim=True).clamp(min=1.0)
