"""Latent: a policy that is told the task, and a model by which it finds out which one it is on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Belief
from metarobot.algorithms.spread_tasks import spread_codes
from metarobot.algorithms.told_learner import ToldLearner, told_in
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.learning.adam import AdamState
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.task_model import ModelBatch, ModelOptions, fit_model, follow_units
from metarobot.learning.trpo import TrustRegion
from metarobot.options import AlgorithmOptions, fixed, integer, number
from metarobot.policies import Evidence, LatentActor, LatentPolicy, Params
from metarobot.policies.gaussian_policy import MIN_STD
from metarobot.rollout.episodes import Episodes

FEWEST_QUESTIONS = 2
"""Questions by which what they have led to is judged."""


@dataclass(frozen=True, kw_only=True)
class LatentOptions(AlgorithmOptions, TrustRegion, ModelOptions):
    """What the latent learner reads."""

    num_adaptation_steps: int = fixed(0)
    """K, blocks of episodes before those that training learns from: none, as it tells the task."""
    min_std: float = fixed(MIN_STD)
    """Floor of the action noise, in half action ranges: the lowest, as for the oracle. What it
    tries it varies by what it is told, not by noise."""
    num_weighed: int = integer(1024, 2, 65_536)
    """K, tasks that are weighed on a robot."""
    likelihood_power: float = number(0.3, 1e-6, 1.0)
    """Power of the likelihood of what is seen: the model errs alike in one step and the next."""

    def check_episodes(self, episodes_per_task: int) -> None:
        """Refuse too few episodes: some of a task are told the task, and some another one."""
        super().check_episodes(episodes_per_task)
        if episodes_per_task < 2:
            raise ValueError(
                f"latent needs episodes_per_task of 2 or more, got {episodes_per_task}"
            )


class Latent(ToldLearner[LatentPolicy]):
    """Tells the policy the task in training, and learns a model of what tasks show.

    In a meta-batch the first half of the episodes of each task is told the task; the policy
    improves on them by TRPO, as the oracle does.  The others are told another task, drawn over all
    splits: they show the model what comes of that.

    A robot's episodes follow each other.  In each of them the policy acts on what it knows by then,
    so that a block of E episodes is E questions.  Adapting is to weigh the tasks by what the block
    has shown, with rewards or without.
    """

    title = "latent"
    options_class = LatentOptions
    policy_class = LatentPolicy

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._moments = AdamState.fresh(dict(self.policy.model.named_parameters()))

    @property
    def options(self) -> LatentOptions:
        """What this algorithm reads."""
        return cast(LatentOptions, self.config.options)

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return the tasks that are weighed: they cover all splits of what is trained on evenly."""
        from scipy.stats import qmc  # which takes half a second to import

        options = cast(LatentOptions, config.options)
        family = find_family(config.env_id)
        num_parameters = len(family.distribution.parameters)
        points = qmc.Sobol(num_parameters, scramble=False).random(options.num_weighed)
        return {
            "tasks": spread_codes(config, points),
            "horizon": family.default_horizon,
            "angles": family.distribution.encoded_angles,
            "likelihood_power": options.likelihood_power,
        }

    @classmethod
    def num_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return one simulation for each task: what is asked next depends on what was answered."""
        del num_episodes
        return num_tasks

    @classmethod
    def num_training_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return one simulation for each episode: in training all are told what to try."""
        return num_tasks * num_episodes

    @property
    def needs_rewards(self) -> bool:
        """Whether `adapt` reads rewards: what is seen tells something without."""
        return False

    @property
    def exploring_policy(self) -> LatentPolicy:
        """The policy as it explores: it tries what may be so."""
        return self.policy.asking()

    # Adapting.

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Return zeros (N, E, T): recognising needs no advantages."""
        del params
        return torch.zeros_like(episodes.rewards)

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Weigh the tasks by what the episodes have shown, one after the other."""
        del advantages
        actor = LatentActor(self.exploring_policy, params)
        for episode in range(episodes.num_episodes):
            actor.begin()
            for t in range(episodes.horizon):
                step = slice(None), slice(episode, episode + 1), t
                actor.act(episodes.observations[step])
                actor.learn(episodes.actions[step], episodes.rewards[step], episodes.mask[step] > 0)
        known = Evidence(*(part[:, 0] for part in actor.known()))
        trusts = self._may_act_on(params, known, torch.cat(actor.returns, dim=1))
        return {
            **params,
            **known._asdict(),
            "num_episodes": params["num_episodes"] + episodes.num_episodes,
            "trust": trusts.to(params["trust"].dtype),
        }

    def _may_act_on(self, params: Params, known: Evidence, returns: Tensor) -> Tensor:
        """Return whether the policy may act on what is known now, (N, 1) bool.

        The first question asks nothing: it shows what the policy earns without adapting.  The later
        half of the others shows what their guesses have led to; one alone can be luck.  A later
        block begins with guesses, and there what was allowed before stays so.

        Args:
            params: Before this block, each leaf (N, ...).
            known: After it, (N, .) each.
            returns: What its episodes have returned, (N, E), or NaN.
        """
        num_questions = params["num_episodes"] + returns.shape[1] - 1.0
        begins, later = params["num_episodes"] == 0.0, returns[:, max(1, returns.shape[1] // 2) :]
        first = torch.where(begins, returns[:, :1], torch.nan)
        if later.shape[1] < FEWEST_QUESTIONS:
            later = torch.full_like(first, torch.nan)
        trusted = ~begins & (params["trust"] > 0.0)
        later = later.mean(1, keepdim=True)
        proven = num_questions >= FEWEST_QUESTIONS
        return trusted | self.policy.may_act_on(params, known, first, later, proven)

    def adapted_state(self, before: Params, adapted: Params) -> Tensor:
        """Return what is known of the task: the mean of the tasks by weight, and their spread."""
        del before
        policy, tasks = self.policy, self.policy.tasks
        log_weights = policy.evidence(adapted).log_weights(policy.likelihood_power)
        mean, weights = policy.mean_task(log_weights), log_weights.softmax(-1)
        variance = weights @ tasks.square() - (weights @ tasks).square()
        return torch.cat([mean, variance.clamp(min=0.0).sqrt()], dim=1)

    def belief(self, params: Params) -> Belief:
        """Return the tasks that are weighed, by what is known."""
        policy = self.policy
        log_weights = policy.evidence(params).log_weights(policy.likelihood_power)
        return Belief(policy.tasks, log_weights.softmax(-1), params["trust"][:, 0] > 0.0)

    # Training.

    def tell(self, codes: Tensor, guesses: Tensor) -> Tensor:
        """Tell the task in the first half of the episodes, and another one in the others."""
        num_told, tasks = self.num_told(guesses.shape[1]), self.policy.tasks
        told = codes[:, None].repeat(1, guesses.shape[1], 1)
        told[:, num_told:] = tasks[(guesses[:, num_told:] * len(tasks)).long()]
        return told

    def num_told(self, num_episodes: int) -> int:
        """Return how many episodes of a task are told the task."""
        return (num_episodes + 1) // 2

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the episodes that were told another task, and those that were told the task."""
        block = batch.post_episodes
        num_told = self.num_told(block.num_episodes)
        return block.last(block.num_episodes - num_told), block.first(num_told)

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the policy, and Adam's steps on the model."""
        acting, report = self.improve_acting(params, batch, self.options)
        if report.rejected_tasks:
            return params, report
        model, loss = self._fit_model(params, batch)
        return {**params, **acting, **model}, report._replace(encoder_loss=loss)

    def _fit_model(self, params: Params, batch: MetaBatch) -> tuple[Params, float]:
        """Return the model's leaves of the parameters, and its mean loss."""
        episodes, told = batch.post_episodes, told_in(batch)
        seen = ModelBatch(episodes, told, self._anchors(told), codes=told[:, 0])
        units = follow_units(self.policy, params, seen, self._moments, self.workers)
        fitted = fit_model(
            self.policy, {**params, **units}, seen, self._moments, self.options, self.workers
        )
        if fitted is None:  # numbers too large for it: the model stays as it was
            return {}, math.nan
        self._moments, losses = fitted.moments, fitted.losses
        model = self.policy.with_model_params({}, fitted.params)
        return {**units, **model}, sum(losses) / len(losses)

    def _anchors(self, told: Tensor) -> Tensor:
        """Return what the model of steps believes to have been told: for half of them, it is wrong.

        While the policy finds out the task, it is told another one in every step, and a log may be
        of another policy.  So the model must not rely on what was told.
        """
        num_told, num_episodes = self.num_told(told.shape[1]), told.shape[1]
        others = torch.arange(num_told) % (num_episodes - num_told) + num_told
        return torch.cat([told[:, others], told[:, num_told:]], dim=1)

    def state(self) -> dict[str, Tensor]:
        """Return the moments of the model's Adam."""
        return self._moments.to_tensors()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the moments from a checkpoint."""
        self._moments = AdamState.from_tensors(state, self.policy.model.shapes)
