"""MAML and its variants: an initialisation that adapts well by gradient steps.

First-order MAML, ANIL, Meta-SGD and E-MAML differ from MAML in one method or option each.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from metarobot.algorithms.base import TrpoLearner
from metarobot.algorithms.options import AdaptationStepOptions, FomamlOptions, MamlOptions
from metarobot.config import (
    TrainConfig,
)
from metarobot.learning.advantages import (
    LEARNING_RATE,
    episode_moments,
    normalise_per_task,
    weighted_prior,
)
from metarobot.learning.chunks import chunks_of_steps, join_params, params_of
from metarobot.learning.distributed import Workers, running_mean
from metarobot.learning.inner_loop import (
    STEP_SIGNAL,
    STEP_VARIANCE,
    STEPS_TAKEN,
    VALUE_PRIOR,
    PolicyLoss,
    StepSizes,
    adapt,
    adapt_shrunk,
    adapt_shrunk_by,
    learn_mean,
    measured_steps,
    step_lengths,
)
from metarobot.learning.meta_update import (
    MetaBatch,
    UpdateReport,
    likelihood_ratios,
    surrogates,
)
from metarobot.learning.trpo import trpo_update
from metarobot.machine import map_on_threads
from metarobot.policies import (
    Distribution,
    GaussianMLP,
    GaussianPolicy,
    Params,
    repeat_params,
)
from metarobot.policies.mlp import LearnedStepsMLP
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, numpy_generator

PolicyT = TypeVar("PolicyT", bound=GaussianMLP)


class DifferentiableLearner(TrpoLearner[PolicyT]):
    """Adapts by a differentiable step."""

    @abstractmethod
    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Take one adaptation step on every task."""

        def adapt_chunk(tasks: slice) -> Params:
            return self.adapt_differentiably(
                params_of(params, tasks), episodes.rows(tasks), advantages[tasks]
            )

        return join_params(map_on_threads(adapt_chunk, chunks_of_steps(episodes.rewards)))

    def adaptations(self, params: Params, batch: MetaBatch) -> list[Params]:
        """Return θ_0 .. θ_K: the parameters before the first adaptation step, and after each."""
        chain = [params]
        for episodes, advantages in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
            chain.append(self.adapt_differentiably(chain[-1], episodes, advantages))
        return chain

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations: the map that derivatives are of."""
        return self.post_distribution(self.adaptations(params, batch)[-1], batch)

    def post_distribution(self, adapted: Params, batch: MetaBatch) -> Distribution:
        """θ'_n -> π_{θ'_n} on the post-update observations."""
        return super().adapted_distribution(adapted, batch)


FEWER_EPISODES = (1, 2, 5, 10, 20)
"""Numbers of adaptation episodes among which training draws, besides episodes_per_task."""


class GradientLearner(DifferentiableLearner[GaussianMLP]):
    """Adapts by gradient steps on the return of its adaptation episodes.

    With `shrink_steps` and `value_prior` its policy has further leaves, `MEASURED`: estimates of
    meta-training, and the number of adaptation steps taken.
    """

    options_class = AdaptationStepOptions

    @classmethod
    def make_policy(
        cls,
        config: TrainConfig,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
    ) -> GaussianPolicy:
        """Lay out the policy for observations within bounds (O,) and A action elements."""
        policy = super().make_policy(config, observation_low, observation_high, action_size)
        options, size = cast(AdaptationStepOptions, config.options), 2 * len(observation_low) + 4
        leaves: dict[str, tuple[int, ...]] = {}
        if options.shrink_steps:
            leaves = dict.fromkeys((STEP_VARIANCE, STEP_SIGNAL, STEPS_TAKEN), (1,))
        if options.value_prior:
            leaves[VALUE_PRIOR] = (size, size + 1)  # of `value_features`
        for name, shape in leaves.items():
            policy.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))
        return policy

    def num_adaptation_episodes(self, iteration: int) -> int:
        """Return the episodes of a task that an adaptation step of a meta-iteration learns from."""
        most = super().num_adaptation_episodes(iteration)
        if not self.options.vary_episodes:
            return most
        generator = numpy_generator(self.config.seed, iteration, Phase.NUM_EPISODES)
        return int(generator.choice([*(fewer for fewer in FEWER_EPISODES if fewer < most), most]))

    @property
    def needs_log_probs(self) -> bool:
        """Whether `adapt` reads likelihood ratios, which are relative to the policy that acted."""
        return self.options.inner_objective == "likelihood_ratio"

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) that an adaptation step climbs.

        Where they are not normalised, a task farther from its optimum has larger ones and adapts by
        a larger step.
        """
        prior = params.get(VALUE_PRIOR)
        if prior is not None:
            prior = weighted_prior(self.policy, episodes, self.config.discount, prior)
        advantages = self.advantages(episodes, prior)
        if self.options.normalise_inner:
            return normalise_per_task(advantages, episodes.mask)
        return advantages

    def step_sizes(self, params: Params) -> StepSizes:
        """Return α of an adaptation step, for all parameters or for each leaf that adapts."""
        del params
        return self.options.inner_lr

    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""
        step = adapt_shrunk if self.options.shrink_steps else adapt
        return self._step(step, params, episodes, advantages)

    def _step(
        self, step: Callable[..., Params], params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take an adaptation step of some kind; other arguments as of `adapt`."""
        loss = self._inner_loss(episodes, advantages)
        first_order = getattr(self.options, "first_order", False)
        return step(loss, params, self.step_sizes(params), first_order=first_order)

    def metric_map(self, params: Params, batch: MetaBatch) -> Callable[[Params], Distribution]:
        """Return θ_n -> π_{θ'_n} near θ, with the factors that shrink steps as constants.

        Their derivatives change the metric by less than a subsample of episodes does, but take most
        of its time.
        """
        if not self.options.shrink_steps:
            return super().metric_map(params, batch)
        blocks = list(zip(batch.pre_episodes, batch.pre_advantages, strict=True))
        lengths, theta = list[Tensor](), params
        for index, block in enumerate(blocks):
            if index > 0:
                theta = self.adapt(theta, *blocks[index - 1])
            lengths.append(step_lengths(self._inner_loss(*block), theta, self.step_sizes(theta)))

        def distribution(theta: Params) -> Distribution:
            for block, length in zip(blocks, lengths, strict=True):
                theta = self._step(partial(adapt_shrunk_by, length), theta, *block)
            return self.post_distribution(theta, batch)

        return distribution

    def _inner_loss(self, episodes: Episodes, advantages: Tensor) -> PolicyLoss:
        """Return the loss of an adaptation step on a block of episodes (N, E, T)."""
        return PolicyLoss(
            self.exploring_policy,
            episodes,
            advantages,
            episodes.step_weights,
            self.options.inner_objective,
        )

    def improve(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Improve the initialisation, here by TRPO; `update` also measures adaptation steps."""
        return super().update(params, batch)

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Improve the initialisation, and update the adaptation statistics."""
        improved, report = self.improve(params, batch)
        if report.accepted and batch.pre_episodes:
            first = batch.pre_episodes[0], batch.pre_advantages[0]
            improved = {**improved, **self.measured(params, *first)}
        return improved, report

    def measured(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Return the adaptation statistics of the policy after more episodes from θ.

        Args:
            params: θ, each leaf in its own shape; those of `MEASURED` are the estimates so far.
            episodes: Adaptation episodes (N, E, T).
            advantages: Their advantages (N, E, T).
        """
        leaves: Params = {}
        if STEP_VARIANCE in params:
            steps = self.workers.gather(self._measured_steps(params, episodes, advantages))
            for name, samples in zip((STEP_VARIANCE, STEP_SIGNAL), steps.unbind(1), strict=True):
                leaves[name] = learn_mean(params[name], samples)
        if VALUE_PRIOR in params:
            moments = episode_moments(self.policy, episodes, self.config.discount)
            leaves[VALUE_PRIOR] = running_mean(
                params[VALUE_PRIOR], self.workers.gather(moments), LEARNING_RATE
            )
        return leaves

    @torch.no_grad()
    def _measured_steps(self, params: Params, episodes: Episodes, advantages: Tensor) -> Tensor:
        """Return the variance of a step from one episode, and the signal in all, (n, 2)."""
        theta = repeat_params(params, episodes.num_tasks)

        def measure(tasks: slice) -> Tensor:
            loss = self._inner_loss(episodes.rows(tasks), advantages[tasks])
            of_tasks = params_of(theta, tasks)
            _, moments = measured_steps(loss, of_tasks, self.step_sizes(of_tasks))
            return torch.stack([moments.sample_variances(), moments.sample_signals()], dim=1)

        return torch.cat(map_on_threads(measure, chunks_of_steps(episodes.rewards)))


class Maml(GradientLearner):
    """MAML with TRPO as its meta-update, exact to second order.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 3.
    """

    title = "MAML-TRPO"
    options_class = MamlOptions


class FirstOrderMaml(Maml):
    """MAML that treats the gradient of an adaptation step as a constant.

    Source: Finn et al. 2017, arXiv:1703.03400, section 5.2.
    """

    title = "FOMAML"
    options_class = FomamlOptions


class Anil(Maml):
    """MAML that adapts the last layer and the action noise only; the features stay.

    Source: Raghu et al. 2020, arXiv:1909.09157.
    """

    title = "ANIL"

    def step_sizes(self, params: Params) -> dict[str, float]:
        """Return α for each leaf of the head."""
        head = f"layers.{len(self.policy.layers) - 1}."
        return {
            name: self.options.inner_lr
            for name in params
            if name.startswith(head) or name == "log_std"
        }


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


class EMaml(Maml):
    """MAML with the term of the meta-gradient that comes from θ choosing the episodes.

    Source: Stadie et al. 2018, arXiv:1803.01118, equation 4; Al-Shedivat et al. 2018,
    arXiv:1710.03641.
    """

    title = "E-MAML"

    def improve(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on surrogate and credit."""
        objective = CreditedExploration(self, exploration_credits(batch, self.workers))
        return trpo_update(objective, params, batch, self.options, self.workers)


class CreditedExploration(NamedTuple):
    """Objective of E-MAML: post-update surrogate, and credited log-probability of episodes."""

    maml: Maml
    credits: Tensor
    """Credit of the adaptation episodes of each task, (N,)."""

    def metric_map(self, params: Params, batch: MetaBatch) -> Callable[[Params], Distribution]:
        """Return θ_n -> π_{θ'_n} near θ, whose Jacobian at θ makes the metric of TRPO."""
        return self.maml.metric_map(params, batch)

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> surrogate of every task minus the credit of its episodes (N,), and π_{θ'_n}."""
        chain = self.maml.adaptations(params, batch)
        distribution = self.maml.post_distribution(chain[-1], batch)
        losses = surrogates(distribution, batch.post_episodes, batch.post_advantages)
        for theta, episodes in zip(chain, batch.pre_episodes, strict=False):
            exploring = self.maml.exploring_policy.distribution(theta, episodes.observations)
            ratios = likelihood_ratios(exploring, episodes)
            losses = losses - self.credits * (ratios * episodes.step_weights).sum((1, 2))
        return losses, distribution

    def of_tasks(self, tasks: slice) -> "CreditedExploration":
        """Return the objective of some tasks, with their credits."""
        return self._replace(credits=self.credits[tasks])


def exploration_credits(batch: MetaBatch, workers: Workers) -> Tensor:
    """Mean post-update return of each task held here, normalised over the meta-batch; (N,)."""
    returns = batch.post_episodes.returns.double().mean(1)
    everyone = workers.gather(returns)
    everyone = everyone[everyone.isfinite()]
    spread = everyone.std(correction=0) if len(everyone) else torch.ones(())
    credits = (returns - everyone.mean()) / (spread + 1e-8)
    return credits.to(batch.post_advantages.dtype)
