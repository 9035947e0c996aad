"""A task set: what policies are measured on, tasks that they have not been trained on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms import adapt_in_steps, adapt_once
from metarobot.envs import (
    SPLITS,
    SceneRecord,
    Tasks,
    TaskVectorEnv,
    Variant,
    find_family,
    make_env,
)
from metarobot.envs.tasks import Split
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.policies import (
    Distribution,
    Params,
    Policy,
    ReactivePolicy,
    repeat_params,
)
from metarobot.rollout.collect import RewardBlindPolicy, collect, hide_rewards
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy


class UniformPolicy(ReactivePolicy):
    """The algorithm *random*: mean 0 and standard deviation 1, so that its noise is its action."""

    def __init__(self, action_size: int) -> None:
        self.action_size = action_size

    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Return mean (N, ..., A) and log standard deviation (N, A)."""
        del params
        zeros = torch.zeros(*observations.shape[:-1], self.action_size)
        return Distribution(zeros, torch.zeros(len(observations), self.action_size))


@dataclass(frozen=True)
class TaskSet:
    """One fixed set of tasks, with the chance of all its episodes: the same for every algorithm."""

    env_id: str
    tasks: Tasks
    key: int
    """What the draws of this task set are addressed by."""
    config: EvaluationConfig
    variant: Variant | None = None
    """What disturbs the episodes."""
    scene: SceneRecord | None = None
    """The user's scene that they take place in."""

    @classmethod
    def of_split(
        cls,
        env_id: str,
        split: Split,
        config: EvaluationConfig,
        variant: Variant | None = None,
        scene: SceneRecord | None = None,
    ) -> TaskSet:
        """Draw the tasks of a split."""
        distribution = (variant or find_family(env_id)).distribution
        key = SPLITS.index(split)
        rng = numpy_generator(config.seed, key, Phase.EVALUATION_TASKS)
        tasks = distribution.sample(rng, config.num_tasks, split)
        return cls(env_id, tasks, key, config, variant, scene)

    def collect(
        self,
        policy: Policy,
        params: Params,
        *,
        num_episodes: int,
        noisy: bool,
        block: int | None = None,
        observe_task: bool = False,
        num_envs: int | None = None,
    ) -> Episodes:
        """Collect episodes on every task, with chance keyed by the task and by what they are for.

        Args:
            policy: Who acts.
            params: Its parameters, each leaf (N, ...).
            num_episodes: E, on each task.
            noisy: Whether it acts with its action noise.
            block: Blocks adapted to before, if these are adaptation episodes. None for test
                episodes: they are the same however much was adapted to.
            observe_task: Whether the task parameters are observed.
            num_envs: Simulations; one for each episode if not given.
        """
        num_tasks = len(self.tasks)
        env = make_env(
            self.env_id,
            num_envs or num_tasks * num_episodes,
            observe_task=observe_task,
            variant=self.variant,
            scene_path=self.scene,
        )
        with closing(env):
            env.set_tasks(self.tasks)
            draws = self._draws(env, num_episodes, block)
            noise = draws.noise if noisy else None
            if isinstance(policy, UniformPolicy):
                rng = numpy_generator(self.config.seed, self.key, Phase.EVALUATION, task=num_tasks)
                noise = rng.uniform(-1, 1, draws.noise.shape).astype(np.float32)
            if self.config.rewards == "hidden":
                policy = RewardBlindPolicy(policy)
            return collect(env, policy, params, noise=noise, start=draws.start)

    def _draws(self, env: TaskVectorEnv, num_episodes: int, block: int | None) -> EpisodeDraws:
        """Draw starts and noise of episodes on every task, see `collect`."""
        return draw_episodes(
            self.config.seed,
            self.key,
            Phase.EVALUATION,
            tasks=range(len(self.tasks)),
            episode_shape=(num_episodes, env.horizon, env.start_size, len(env.action_elements)),
            adaptation_step=0 if block is None else 2 * block + 1,
        )

    def first_start(self, env: TaskVectorEnv, index: int) -> np.ndarray:
        """Return the start of the first test episode on a task, uniforms (1, 1, S).

        Args:
            env: An environment of the family.
            index: Place of the task.
        """
        start = self._draws(env, self.config.test_episodes, None).start
        return start[index : index + 1, :1]

    def score_random(self) -> Scores:
        """Score uniformly random actions."""
        policy = UniformPolicy(len(find_family(self.env_id).action_elements))
        num_episodes = self.config.test_episodes
        return Scores.of(self.collect(policy, {}, num_episodes=num_episodes, noisy=True))

    def score(self, trained: TrainedPolicy) -> TaskSetScores:
        """Score a policy as `config` says: by adaptation episodes, and by blocks of them."""
        config, params = self.config, repeat_params(trained.params, len(self.tasks))
        size = config.episodes_per_block
        numbers = config.adaptation_episodes if trained.algorithm.adapts else ()
        first = self._explore(trained, params, self.block_size if numbers else size)
        by_episodes = self._by_episodes(trained, params, first, numbers)
        num_blocks = config.num_blocks if trained.algorithm.adapts else 0
        by_blocks, exploring = self._by_blocks(trained, params, first, by_episodes, num_blocks)
        return TaskSetScores(by_episodes, by_blocks, exploring)

    def score_by_episodes(self, trained: TrainedPolicy, numbers: Sequence[int]) -> list[Stage]:
        """Score a policy before adapting, and after one block of each number of episodes.

        Args:
            trained: Who is scored. A policy that never adapts has but one stage.
            numbers: Numbers of adaptation episodes on each task, increasing.
        """
        params = repeat_params(trained.params, len(self.tasks))
        if not (trained.algorithm.adapts and any(numbers)):
            return [self._before(trained, params)]
        first = self._explore(trained, params, max(numbers))
        return self._by_episodes(trained, params, first, numbers)

    def score_after(self, trained: TrainedPolicy, episodes: Episodes) -> Scores:
        """Score a policy after adapting to episodes (N, E, T) that it has explored."""
        params = repeat_params(trained.params, len(self.tasks))
        return self._judge(trained, self._adapt(trained, params, episodes))

    def _by_episodes(
        self, trained: TrainedPolicy, params: Params, first: Episodes, numbers: Sequence[int]
    ) -> list[Stage]:
        """Score before adapting, and after adapting to the first episodes of a block alone."""
        stages = [self._before(trained, params)]
        for number in filter(None, numbers):
            episodes = first.first(number)
            adapted = self._adapt(trained, params, episodes)
            stages.append(Stage(number, self._judge(trained, adapted), Scores.of(episodes)))
        return stages

    @property
    def block_size(self) -> int:
        """Adaptation episodes that `score` collects at once, and then learns from the first of."""
        return max(self.config.episodes_per_block, *self.config.adaptation_episodes)

    def adapted(
        self, trained: TrainedPolicy, numbers: Sequence[int], block_size: int = 1
    ) -> dict[int, Params]:
        """Return the parameters after one block of each number of adaptation episodes.

        Args:
            trained: Who adapts.
            numbers: Numbers of adaptation episodes on each task; 0 is before adapting.
            block_size: Episodes that are collected at once, if more. What a learner asks in one
                depends on how many there are, so `self.block_size` adapts as `score` does.

        Returns:
            By number, each leaf (N, ...).
        """
        return self.adapted_to(trained, self.explore(trained, max(*numbers, block_size)), numbers)

    def explore(self, trained: TrainedPolicy, num_episodes: int) -> Episodes:
        """Collect adaptation episodes of who has not adapted yet, (N, E, T)."""
        params = repeat_params(trained.params, len(self.tasks))
        return self._explore(trained, params, num_episodes)

    def adapted_to(
        self, trained: TrainedPolicy, first: Episodes, numbers: Sequence[int]
    ) -> dict[int, Params]:
        """Return the parameters after the first episodes of a block, by their number."""
        params = repeat_params(trained.params, len(self.tasks))
        return {
            number: self._adapt(trained, params, first.first(number)) if number else params
            for number in numbers
        }

    def _adapt(self, trained: TrainedPolicy, params: Params, episodes: Episodes) -> Params:
        """Adapt to a block of episodes, as far as they may be seen."""
        seen = self._shown(episodes)
        return adapt_once(trained.algorithm, params, seen).params

    def _by_blocks(
        self,
        trained: TrainedPolicy,
        params: Params,
        first: Episodes,
        by_episodes: Sequence[Stage],
        num_blocks: int,
    ) -> tuple[list[Stage], list[Scores]]:
        """Score after 0..K blocks, and the exploring episodes that follow each."""
        size, exploring = self.config.episodes_per_block, list[Scores]()
        known = {stage.num_episodes: stage for stage in by_episodes}

        def explore(block: int, policy: Policy, params: Params, /) -> Episodes:
            del policy  # _explore knows it
            more = self._explore(trained, params, size, block) if block else first.first(size)
            exploring.append(Scores.of(more))
            return self._shown(more)

        steps = adapt_in_steps(
            trained.algorithm, params, num_blocks, explore, self.config.later_step_length
        )
        stages = [known[0]]
        for number, step in enumerate(steps, start=1):
            params = step.params
            if number == 1 and size in known:
                stages.append(known[size])
            else:
                judged = self._judge(trained, params)
                stages.append(Stage(number * size, judged, Scores.mean(exploring)))
        explore(num_blocks, trained.algorithm.exploring_policy, params)
        return stages, exploring

    def _shown(self, episodes: Episodes) -> Episodes:
        """Return what who adapts sees of episodes."""
        return hide_rewards(episodes) if self.config.rewards == "hidden" else episodes

    def _before(self, trained: TrainedPolicy, params: Params) -> Stage:
        return Stage(0, self._judge(trained, params), None)

    def _judge(self, trained: TrainedPolicy, params: Params) -> Scores:
        """Score a policy as it is judged."""
        episodes = self.collect(
            trained.policy,
            params,
            num_episodes=self.config.test_episodes,
            noisy=self.config.action_noise == "trained",
            observe_task=trained.algorithm.observes_task,
        )
        return Scores.of(episodes)

    def _explore(
        self,
        trained: TrainedPolicy,
        params: Params,
        num_episodes: int,
        block: int = 0,
    ) -> Episodes:
        """Collect a block of adaptation episodes; of a policy that never adapts, as it acts."""
        algorithm = trained.algorithm
        return self.collect(
            algorithm.exploring_policy if algorithm.adapts else trained.policy,
            params,
            num_episodes=num_episodes,
            noisy=True,
            block=block,
            observe_task=algorithm.observes_task,
            num_envs=algorithm.num_simulations(len(self.tasks), num_episodes),
        )


# Scores: what policies reached on the tasks of a task set, before anything is averaged over them.


class Scores(NamedTuple):
    """What a policy reached on each task, averaged over that task's episodes."""

    returns: np.ndarray  # (N,)
    success: np.ndarray  # (N,)

    @classmethod
    def of(cls, episodes: Episodes) -> Scores:
        """Average over episodes."""
        success = episodes.success.double().mean(dim=1)
        return cls(episodes.returns.double().mean(dim=1).numpy(), success.numpy())

    @classmethod
    def mean(cls, blocks: Sequence[Scores]) -> Scores:
        """Average over blocks of as many episodes each."""
        return cls(*(np.mean(parts, axis=0) for parts in zip(*blocks, strict=True)))


class Stage(NamedTuple):
    """Where a policy stands after some number of adaptation episodes."""

    num_episodes: int
    """Adaptation episodes of each task so far."""
    judged: Scores
    """What the policy is judged by: without action noise unless asked for."""
    adapting: Scores | None
    """What it reached in the adaptation episodes themselves; None before the first."""


class TaskSetScores(NamedTuple):
    """What one policy reached on one task set."""

    by_episodes: list[Stage]
    """Before adapting, and after one block of each number of adaptation episodes that was asked
    for."""
    by_blocks: list[Stage]
    """After 0, 1, .. blocks, one after the other."""
    exploring: list[Scores]
    """Episodes with the action noise of adaptation episodes after 0, 1, .. blocks; with the
    policy's own noise where it never adapts."""


def join_stages(seeds: Sequence[Sequence[Stage]]) -> list[Stage]:
    """Return the stages of several seeds as one, each array (S, N)."""
    joined = []
    for stages in zip(*seeds, strict=True):
        adapting = [stage.adapting for stage in stages if stage.adapting]
        judged = _join([stage.judged for stage in stages])
        joined.append(Stage(stages[0].num_episodes, judged, _join(adapting) if adapting else None))
    return joined


def join_seeds(seeds: Sequence[TaskSetScores]) -> TaskSetScores:
    """Return the scores of several seeds as one, each array (S, N)."""
    return TaskSetScores(
        by_episodes=join_stages([seed.by_episodes for seed in seeds]),
        by_blocks=join_stages([seed.by_blocks for seed in seeds]),
        exploring=[_join(scores) for scores in zip(*(s.exploring for s in seeds), strict=True)],
    )


def _join(seeds: Sequence[Scores]) -> Scores:
    return Scores(*map(np.stack, zip(*seeds, strict=True)))
