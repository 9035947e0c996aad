"""A trial: what algorithms are put through on tasks that they have not been trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.config import (
    MOST_ADAPTATION_STEPS,
    MOST_EPISODES,
    MOST_SEED,
    MOST_TASKS,
    TrainConfig,
)
from metarobot.envs import FAMILIES, SPLITS, Tasks, Variant, make_env
from metarobot.envs.checked_numbers import is_integer, show
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
from metarobot.training.memory import require_trial_memory


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much is measured.  None of it changes a policy."""

    num_tasks: int = 100
    """Tasks per split."""
    episodes_per_step: int = 20
    """Exploring episodes per task that an adaptation step learns from."""
    num_adaptation_steps: int = 3
    """Adaptation steps taken, K."""
    deterministic_episodes: int = 5
    """Episodes per task without action noise, by which policies are judged."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    seed: int = 20_000_003
    """Seed of the test tasks and of their episodes, the same for every policy."""

    def __post_init__(self) -> None:
        """Refuse sizes that measure nothing, or that no machine has the time for."""
        for name, value in asdict(self).items():
            least, most = _BOUNDS[name]
            if not is_integer(value, least, most):
                raise ValueError(
                    f"{name} must be an integer in [{least}, {most}], got {show(value)}"
                )

    def require_memory(self, algorithms: Iterable[TrainConfig], most_tasks: int = 0) -> None:
        """Refuse to measure on more at once than this machine has memory for.

        Args:
            algorithms: What those who are measured were trained with.
            most_tasks: Tasks that one of them is put on at once, if more than `num_tasks`.

        Raises:
            ValueError: It takes too much; the message names the sizes.
        """
        for algorithm in algorithms:
            require_trial_memory(
                algorithm,
                num_tasks=max(self.num_tasks, most_tasks),
                num_episodes=max(self.episodes_per_step, self.deterministic_episodes),
                way_out="lower num_tasks, grid_size, episodes_per_step or deterministic_episodes",
            )


_BOUNDS: dict[str, tuple[int, int]] = {
    "num_tasks": (2, MOST_TASKS),
    "episodes_per_step": (1, MOST_EPISODES),
    "num_adaptation_steps": (0, MOST_ADAPTATION_STEPS),
    "deterministic_episodes": (1, MOST_EPISODES),
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

    deterministic: Scores
    """Without action noise: what the algorithm is judged by."""
    exploring: Scores
    """With the action noise of trials, as what the next adaptation step learns from; with the
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
class Trial:
    """One fixed set of tasks, with the chance of all its episodes: the same for every algorithm."""

    env_id: str
    tasks: Tasks
    key: int
    """What the draws of this trial are addressed by."""
    config: EvaluationConfig
    variant: Variant | None = None
    """What disturbs the episodes."""

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
        env = make_env(self.env_id, num_envs, observe_task=observe_task, variant=self.variant)
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
        cls, env_id: str, split: Split, config: EvaluationConfig, variant: Variant | None = None
    ) -> Trial:
        """Draw the tasks of a split."""
        distribution = (variant or FAMILIES[env_id].vector_class).distribution
        key = SPLITS.index(split)
        rng = numpy_generator(config.seed, key, Phase.EVALUATION_TASKS)
        tasks = distribution.sample(rng, config.num_tasks, split)
        return cls(env_id, tasks, key, config, variant)

    def score_random(self) -> Scores:
        """Score uniformly random actions."""
        policy = UniformPolicy(len(FAMILIES[self.env_id].vector_class.action_elements))
        num_episodes = self.config.deterministic_episodes
        return Scores.of(
            self.collect(policy, {}, num_episodes=num_episodes, exploring=True, step=0)
        )

    def score(self, trained: TrainedPolicy, num_adaptation_steps: int) -> list[StepScores]:
        """Score an algorithm after 0..K adaptation steps."""
        observe_task = trained.algorithm.observes_task
        algorithm = trained.algorithm
        explorer = algorithm.trial_policy if trained.config.adaptation_steps else trained.policy
        params = repeat_params(trained.params, len(self.tasks))
        scores = []
        for step in range(num_adaptation_steps + 1):
            deterministic = self.collect(
                trained.policy,
                params,
                num_episodes=self.config.deterministic_episodes,
                exploring=False,
                step=step,
                observe_task=observe_task,
            )
            exploring = self.collect(
                explorer,
                params,
                num_episodes=self.config.episodes_per_step,
                exploring=True,
                step=step,
                observe_task=observe_task,
                num_envs=algorithm.num_simulations(len(self.tasks), self.config.episodes_per_step),
            )
            scores.append(StepScores(Scores.of(deterministic), Scores.of(exploring)))
            if step < num_adaptation_steps:
                advantages = algorithm.trial_advantages(exploring)
                params = algorithm.adapt(params, exploring, advantages)
        return scores
