"""Latent: a policy that is told the task, and a model by which it finds out which one it is on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from metarobot.algorithms.base import Belief, ToldLearner, spread_codes, told_in
from metarobot.config import AlgorithmOptions, TrainConfig, fixed, integer, number
from metarobot.envs import find_family
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.task_model import ModelBatch, ModelOptions, find_units, fit_model
from metarobot.learning.trpo import TrustRegion
from metarobot.policies import AskingState, Evidence, LatentPolicy, Params
from metarobot.policies.gaussian import MIN_STD
from metarobot.rollout.collect import replay
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, torch_generator

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

    First the policy learns to act on what it is told, by TRPO, as the oracle does.  Then it stays
    as it is, and the last part of the budget shows the model what comes of it: in half of these
    episodes it is told the task, in the others another one, drawn over all splits.

    A robot's episodes follow each other.  In each of them the policy acts on what it knows by then,
    so that a block of E episodes is E questions.  Adapting is to weigh the tasks by what the block
    has shown, with rewards or without.
    """

    title = "latent"
    concluding_share = 0.4
    options_class = LatentOptions
    policy_class = LatentPolicy

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
        state = AskingState(self.exploring_policy, params)
        replay(state, episodes)
        known = Evidence(*(part[:, 0] for part in state.known()))
        trusts = self._may_act_on(params, known, torch.cat(state.returns, dim=1))
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
        begins, later = params["num_episodes"] == 0.0, returns[:, max(1, returns.shape[1] // 2) :]
        first = torch.where(begins, returns[:, :1], torch.nan)
        if later.shape[1] < FEWEST_QUESTIONS:
            later = torch.full_like(first, torch.nan)
        trusted = ~begins & (params["trust"] > 0.0)
        later = later.mean(1, keepdim=True)
        num_episodes = params["num_episodes"] + returns.shape[1]
        return trusted | self.policy.may_act_on(params, known, first, later, num_episodes)

    def adapted_state(self, before: Params, adapted: Params) -> Tensor:
        """Return what is known of the task: the mean of the tasks by weight, and their spread."""
        del before
        policy, tasks = self.policy, self.policy.tasks
        log_weights = policy.log_weights(policy.evidence(adapted))
        mean, weights = policy.mean_task(log_weights), log_weights.softmax(-1)
        variance = weights @ tasks.square() - (weights @ tasks).square()
        return torch.cat([mean, variance.clamp(min=0.0).sqrt()], dim=1)

    def belief(self, params: Params) -> Belief:
        """Return the tasks that are weighed, by what is known."""
        policy = self.policy
        log_weights = policy.log_weights(policy.evidence(params))
        return Belief(policy.tasks, log_weights.softmax(-1), params["trust"][:, 0] > 0.0)

    # Training.

    def num_told(self, num_episodes: int) -> int:
        """Return how many episodes of a task are told the task: all, while it learns to act."""
        return num_episodes

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the policy."""
        acting, report = self.improve_acting(params, batch, self.options)
        return {**params, **acting}, report

    def tell_at_the_end(self, codes: Tensor, guesses: Tensor) -> Tensor:
        """Tell the task in the first half of the episodes, and another one in the others."""
        num_true, tasks = _num_true(guesses.shape[1]), self.policy.tasks
        told = codes[:, None].repeat(1, guesses.shape[1], 1)
        told[:, num_true:] = tasks[(guesses[:, num_true:] * len(tasks)).long()]
        return told

    def conclude(
        self, params: Params, batches: Sequence[MetaBatch], watch: Callable[[float], None]
    ) -> Params:
        """Fit the model to what the policy leads to, now that it stays as it is."""
        blocks = [(batch.post_episodes, told_in(batch)) for batch in batches]
        shown = [
            ModelBatch(episodes, told, _anchors(told), codes=told[:, 0])
            for episodes, told in blocks
        ]
        policy, seed = self.policy, self.config.seed
        params = {**params, **find_units(policy, shown, self.workers)}
        generator = torch_generator(seed, 0, Phase.CONCLUSION)
        return fit_model(policy, params, shown, self.options, generator, self.workers, watch)


def _num_true(num_episodes: int) -> int:
    """Return how many episodes of a task are told the task, when the model is fitted to them."""
    return (num_episodes + 1) // 2


def _anchors(told: Tensor) -> Tensor:
    """Return what the model of steps believes to have been told, (N, E, C): for half, it is wrong.

    While the policy finds out the task, it is told another one in every step, and a log may be of
    another policy.  So the model must not rely on what was told.
    """
    num_true, num_episodes = _num_true(told.shape[1]), told.shape[1]
    others = torch.arange(num_true) % (num_episodes - num_true) + num_true
    return torch.cat([told[:, others], told[:, num_true:]], dim=1)
