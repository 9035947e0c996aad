"""Model-agnostic meta-learning: an initialisation from which a gradient step goes far."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.config import TrainConfig
from metarobot.learning.distributed import Workers
from metarobot.learning.inner_loop import adapt
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.surrogates import surrogates
from metarobot.learning.task_chunks import chunks_of_steps, join_params, params_of
from metarobot.learning.trpo import trpo_update
from metarobot.policies import Distribution, GaussianMLP, Params
from metarobot.policies.gaussian_policy import MIN_STD
from metarobot.rollout.episodes import Episodes


class Maml(Algorithm[GaussianMLP]):
    """MAML with TRPO as its meta-update, exact to second order.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 3.
    """

    title = "MAML-TRPO"

    @property
    def needs_log_probs(self) -> bool:
        """Likelihood ratios are relative to the policy that acted."""
        return self.config.inner_objective == "likelihood_ratio"

    def step_sizes(self, params: Params) -> float | Mapping[str, float | Tensor]:
        """Return α of an adaptation step, for all parameters or for each leaf that adapts."""
        del params
        return self.config.inner_lr

    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""
        return adapt(
            self.trial_policy,
            params,
            episodes,
            advantages,
            self.step_sizes(params),
            self.config.inner_objective,
            self.config.first_order,
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

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> what the meta-update lowers, for every task (N,), and π_{θ'_n}."""
        distribution = self.adapted_distribution(params, batch)
        return surrogates(distribution, batch.post_episodes, batch.post_advantages), distribution

    def of_tasks(self, tasks: slice) -> Self:
        """Return the objective of some tasks: the same, as it holds nothing of any."""
        del tasks
        return self

    def update(
        self, params: Params, batch: MetaBatch, workers: Workers
    ) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        return trpo_update(self, params, batch, workers)


class FirstOrderMaml(Maml):
    """MAML that takes the gradient of an adaptation step for a constant."""

    title = "FOMAML"

    def __init__(self, config: TrainConfig, policy: GaussianMLP) -> None:
        super().__init__(replace(config, first_order=True), policy)


class NoAdaptation(Maml):
    """TRPO on the episodes of all tasks: domain randomisation."""

    title = "domain randomisation"
    adapts = False

    @classmethod
    def min_std(cls, config: TrainConfig) -> float:
        """Return the lowest floor: the policy may become as certain as it likes."""
        del config
        return MIN_STD


class Oracle(NoAdaptation):
    """Domain randomisation of a policy that is told the task."""

    title = "oracle"
    observes_task = True
