"""What algorithms have in common that adapt by gradient steps: MAML and its relatives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.config import MOST_ADAPTATION_STEPS
from metarobot.learning.advantages import normalise_per_task
from metarobot.learning.inner_loop import adapt
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.objectives import INNER_OBJECTIVES, InnerObjective
from metarobot.learning.task_chunks import chunks_of_steps, join_params, params_of
from metarobot.options import AlgorithmOptions, choice, integer, number, switch
from metarobot.policies import Distribution, GaussianMLP, Params
from metarobot.policies.gaussian_policy import MIN_STD
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class AdaptationStepOptions(AlgorithmOptions):
    """One adaptation step, and the episodes that it learns from."""

    inner_lr: float = number(0.1, 1e-6, 100.0)
    """α, step size of an adaptation step."""
    inner_objective: InnerObjective = choice("lvc", INNER_OBJECTIVES)
    """What an adaptation step climbs; with likelihood_ratio the line search follows the function
    that was differentiated, and accepts longer steps."""
    normalise_inner: bool = switch(True)
    """Normalise the advantages of each task to standard deviation 1 before an adaptation step.
    Without, a task farther from its optimum takes a larger step, and inner_lr is per unit of
    return."""
    adaptation_min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise in adaptation episodes, in half action ranges. MAML's gradient does
    not credit exploration for what adaptation learns from it: without this floor, adaptation
    episodes end up telling little."""


@dataclass(frozen=True, kw_only=True)
class GradientOptions(AdaptationStepOptions):
    """An initialisation that is trained through its adaptation steps."""

    num_adaptation_steps: int = integer(1, 0, MOST_ADAPTATION_STEPS)
    """K, adaptation steps before the post-update episodes."""
    first_order: bool = switch(False)
    """Drop the second derivatives of the adaptation from the meta-gradient."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges. The trust region is as narrow as the noise,
    so that a policy that has become certain can hardly learn."""

    @property
    def adaptation_steps(self) -> int:
        """Adaptation steps K before the post-update episodes of a meta-batch."""
        return self.num_adaptation_steps


class GradientLearner(SurrogateObjective, Algorithm[GaussianMLP]):
    """Adapts by gradient steps on the return of its adaptation episodes."""

    options_class = AdaptationStepOptions

    @property
    def options(self) -> AdaptationStepOptions:
        """What this algorithm reads."""
        return cast(AdaptationStepOptions, self.config.options)

    @property
    def needs_log_probs(self) -> bool:
        """Whether `adapt` reads likelihood ratios, which are relative to the policy that acted."""
        return self.options.inner_objective == "likelihood_ratio"

    @property
    def first_order(self) -> bool:
        """Whether the gradient of an adaptation step is taken for a constant."""
        return False

    @property
    def exploring_policy(self) -> GaussianMLP:
        """The policy as it explores: with the floor of the noise in adaptation episodes."""
        return self.policy.with_min_std(self.options.adaptation_min_std)

    def adaptation_advantages(self, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) that an adaptation step climbs.

        Where they are not normalised, a task farther from its optimum has larger ones and adapts by
        a larger step.
        """
        advantages = super().adaptation_advantages(episodes)
        if self.options.normalise_inner:
            return normalise_per_task(advantages, episodes.mask)
        return advantages

    def step_sizes(self, params: Params) -> float | Mapping[str, float | Tensor]:
        """Return α of an adaptation step, for all parameters or for each leaf that adapts."""
        del params
        return self.options.inner_lr

    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""
        return adapt(
            self.exploring_policy,
            params,
            episodes,
            advantages,
            self.step_sizes(params),
            self.options.inner_objective,
            self.first_order,
        )

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Take one adaptation step on every task."""
        parts = [
            self.adapt_differentiably(
                params_of(params, tasks), episodes.rows(tasks), advantages[tasks]
            )
            for tasks in chunks_of_steps(episodes.rewards)
        ]
        return join_params(parts)

    def adaptations(self, params: Params, batch: MetaBatch) -> list[Params]:
        """Return θ_0 .. θ_K: the parameters before the first adaptation step, and after each."""
        chain = [params]
        for episodes, advantages in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
            chain.append(self.adapt_differentiably(chain[-1], episodes, advantages))
        return chain

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations: the map that derivatives are of.

        Args:
            params: θ, once for every task, each leaf (N, ...).
            batch: Data of the meta-update.

        Returns:
            Mean (N, E, T, A) and log_std (N, A).
        """
        return self.post_distribution(self.adaptations(params, batch)[-1], batch)

    def post_distribution(self, adapted: Params, batch: MetaBatch) -> Distribution:
        """θ'_n -> π_{θ'_n} on the post-update observations."""
        return self.policy.distribution(adapted, batch.post_episodes.observations)
