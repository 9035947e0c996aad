"""A task set: what policies are measured on, tasks that they have not been trained on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms import adapt_in_steps
from metarobot.config import (
    MOST_ADAPTATION_STEPS,
    MOST_EPISODES,
    MOST_SEED,
    MOST_TASKS,
    TrainConfig,
)
from metarobot.envs import SPLITS, SceneRecord, Tasks, Variant, find_family, make_env
from metarobot.envs.checked_numbers import is_number, require_integers, show
from metarobot.envs.tasks import Split
from metarobot.policies import (
    Distribution,
    Params,
    Policy,
    ReactivePolicy,
    repeat_params,
)
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy
from metarobot.training.memory import require_evaluation_memory

ActionNoise = Literal["none", "trained"]
"""Action noise of the episodes by which policies are judged."""
Untrained = Literal["random", "from_scratch", "fine_tuning"]
"""A reference that is not trained for itself."""
UNTRAINED: tuple[Untrained, ...] = get_args(Untrained)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much is measured.  None of it changes a policy."""

    num_tasks: int = 100
    """Tasks per split."""
    episodes_per_step: int = 20
    """Exploring episodes per task that an adaptation step learns from."""
    num_adaptation_steps: int = 3
    """Adaptation steps taken, K."""
    later_step_length: float = 1.0
    """How far every adaptation step after the first goes, as a part of the whole step."""
    test_episodes: int = 5
    """Episodes per task by which policies are judged."""
    action_noise: ActionNoise = "none"
    """Action noise of these episodes: none, or that which the policy was trained with."""
    untrained: tuple[Untrained, ...] = ("random",)
    """Who is measured besides those that were trained: random actions, and where domain
    randomisation is there, MAML's adaptation of its policy and of one that never learned."""
    splits: tuple[Split, ...] = ()
    """Splits that are measured; all that the family has if none is named."""
    heat_map: bool = True
    """Whether the heat map is measured."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    seed: int = 20_000_003
    """Seed of the test tasks and of their episodes, the same for every policy."""

    def __post_init__(self) -> None:
        """Refuse sizes that measure nothing, or that no machine has the time for."""
        require_integers(self, _BOUNDS)
        if not isinstance(self.splits, tuple) or not set(self.splits) <= set(SPLITS):
            allowed = ", ".join(SPLITS)
            raise ValueError(f"splits must name some of {allowed}, got {show(self.splits)}")
        if not isinstance(self.heat_map, bool):
            raise ValueError(f"heat_map must be true or false, got {show(self.heat_map)}")
        if not is_number(self.later_step_length, 0.0, 10.0):
            shown = show(self.later_step_length)
            raise ValueError(f"later_step_length must be a number in [0, 10], got {shown}")
        if self.action_noise not in get_args(ActionNoise):
            raise ValueError(f"action_noise must be none or trained, got {show(self.action_noise)}")
        if not isinstance(self.untrained, tuple) or not set(self.untrained) <= set(UNTRAINED):
            allowed = ", ".join(UNTRAINED)
            raise ValueError(f"untrained must name some of {allowed}, got {show(self.untrained)}")

    def require_memory(self, algorithms: Iterable[TrainConfig], most_tasks: int = 0) -> None:
        """Refuse to measure on more at once than this machine has memory for.

        Args:
            algorithms: What those who are measured were trained with.
            most_tasks: Tasks that one of them is put on at once, if more than `num_tasks`.

        Raises:
            ValueError: It takes too much; the message names the sizes.
        """
        for algorithm in algorithms:
            require_evaluation_memory(
                algorithm,
                num_tasks=max(self.num_tasks, most_tasks),
                num_episodes=max(self.episodes_per_step, self.test_episodes),
                way_out="lower num_tasks, grid_size, episodes_per_step or test_episodes",
            )


_BOUNDS: dict[str, tuple[int, int]] = {
    "num_tasks": (2, MOST_TASKS),
    "episodes_per_step": (1, MOST_EPISODES),
    "num_adaptation_steps": (0, MOST_ADAPTATION_STEPS),
    "test_episodes": (1, MOST_EPISODES),
    "grid_size": (2, 100),  # 10,000 tasks
    "seed": (0, MOST_SEED),
}
"""Least and most of every field of an EvaluationConfig."""


class Scores(NamedTuple):
    """What a policy reached on each task, averaged over that task's episodes."""

    returns: np.ndarray  # (N,)
    success: np.ndarray  # (N,)

    @classmethod
    def of(cls, episodes: Episodes) -> Scores:
        """Average over episodes."""
        success = episodes.success.double().mean(dim=1)
        return cls(episodes.returns.double().mean(dim=1).numpy(), success.numpy())


class StepScores(NamedTuple):
    """Scores after some number of adaptation steps."""

    judged: Scores
    """What the policy is judged by: without action noise unless asked for."""
    exploring: Scores
    """With the action noise of adaptation episodes, from which the next step learns; with the
    policy's own where it never adapts."""


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

    def collect(
        self,
        policy: Policy,
        params: Params,
        *,
        num_episodes: int,
        exploring: bool,
        step: int,
        observe_task: bool = False,
        num_envs: int | None = None,
    ) -> Episodes:
        """Collect episodes on every task, with chance keyed by the task and the step."""
        num_tasks = len(self.tasks)
        num_envs = num_envs or num_tasks * num_episodes
        env = make_env(
            self.env_id,
            num_envs,
            observe_task=observe_task,
            variant=self.variant,
            scene_path=self.scene,
        )
        with closing(env):
            env.set_tasks(self.tasks)
            action_size = len(env.action_elements)
            draws = draw_episodes(
                self.config.seed,
                self.key,
                Phase.EVALUATION,
                tasks=range(num_tasks),
                episode_shape=(num_episodes, env.horizon, env.start_size, action_size),
                adaptation_step=2 * step + exploring,
            )
            noise = draws.noise if exploring else None
            if isinstance(policy, UniformPolicy):
                rng = numpy_generator(self.config.seed, self.key, Phase.EVALUATION, task=num_tasks)
                noise = rng.uniform(-1, 1, draws.noise.shape).astype(np.float32)
            return collect(env, policy, params, noise=noise, start=draws.start)

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

    def score_random(self) -> Scores:
        """Score uniformly random actions."""
        policy = UniformPolicy(len(find_family(self.env_id).action_elements))
        num_episodes = self.config.test_episodes
        return Scores.of(
            self.collect(policy, {}, num_episodes=num_episodes, exploring=True, step=0)
        )

    def score(self, trained: TrainedPolicy, num_adaptation_steps: int) -> list[StepScores]:
        """Score a policy after 0..K adaptation steps."""
        explorer = (
            trained.algorithm.exploring_policy if trained.algorithm.adapts else trained.policy
        )
        params = repeat_params(trained.params, len(self.tasks))
        judged, exploring = [self._judge(trained, 0, params)], []

        def explore(step: int, policy: Policy, params: Params, /) -> Episodes:
            return self._explore(trained, step, policy, params)

        steps = adapt_in_steps(
            trained.algorithm, params, num_adaptation_steps, explore, self.config.later_step_length
        )
        for number, step in enumerate(steps, start=1):
            params = step.params
            exploring.append(Scores.of(step.episodes))
            judged.append(self._judge(trained, number, params))
        exploring.append(Scores.of(explore(num_adaptation_steps, explorer, params)))
        return [StepScores(*both) for both in zip(judged, exploring, strict=True)]

    def _judge(self, trained: TrainedPolicy, step: int, params: Params) -> Scores:
        """Score a policy as it is judged."""
        episodes = self.collect(
            trained.policy,
            params,
            num_episodes=self.config.test_episodes,
            exploring=self.config.action_noise == "trained",
            step=step,
            observe_task=trained.algorithm.observes_task,
        )
        return Scores.of(episodes)

    def _explore(
        self, trained: TrainedPolicy, step: int, policy: Policy, params: Params
    ) -> Episodes:
        """Collect episodes as an adaptation step learns from them."""
        num_episodes = self.config.episodes_per_step
        return self.collect(
            policy,
            params,
            num_episodes=num_episodes,
            exploring=True,
            step=step,
            observe_task=trained.algorithm.observes_task,
            num_envs=trained.algorithm.num_simulations(len(self.tasks), num_episodes),
        )
