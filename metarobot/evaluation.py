"""Measure adaptation: a trained policy beside the agents that decide whether it was worth it.

On the same held-out tasks stand *random* (uniform actions), *domain randomisation* (the policy that
never adapts), the *adapted* policy after 0..K adaptation steps, and the *oracle* that is told the
task.  Headroom is oracle minus domain randomisation; adaptation is read as the fraction captured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.adapt import adapt_once
from metarobot.config import TrainConfig
from metarobot.envs import FAMILIES, SPLITS, TaskDistribution, TaskParameter, Tasks, make_env
from metarobot.episodes import Episodes
from metarobot.policies import GaussianMLP, Params, repeat_params
from metarobot.randomness import Phase, draw_episodes, numpy_generator
from metarobot.rollout import collect
from metarobot.run_folder import TrainedAgent, TrainedRun
from metarobot.statistics import bootstrap_captured, bootstrap_headroom, bootstrap_iqm, bootstrap_mean

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the work done, 0 to 1."""

_GRID_KEY = len(SPLITS)  # the heat map's tasks are keyed after those of the splits


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
        """Refuse sizes that measure nothing."""
        least = {"num_tasks": 2, "num_adaptation_steps": 0, "grid_size": 2, "seed": 0}
        for name, value in asdict(self).items():
            if value < least.get(name, 1):
                raise ValueError(f"{name} must be at least {least.get(name, 1)}, got {value}")


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
    exploring: Scores


class UniformPolicy(nn.Module):
    """The agent *random*: mean 0 and standard deviation 1, so that its noise is its action."""

    def __init__(self, action_size: int) -> None:
        super().__init__()
        self.action_size = action_size

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (..., A) and log standard deviation (A,)."""
        zeros = torch.zeros(self.action_size)
        return zeros.expand(*observations.shape[:-1], -1), zeros


@dataclass(frozen=True)
class _Trial:
    """One fixed set of tasks, with the chance of all its episodes."""

    env_id: str
    tasks: Tasks
    key: int
    config: EvaluationConfig

    def collect(
        self,
        policy: nn.Module,
        params: Params,
        *,
        num_episodes: int,
        exploring: bool,
        step: int,
        observe_task: bool,
        uniform: bool = False,
    ) -> Episodes:
        """Collect episodes on every task, with chance keyed by the task and the step."""
        num_tasks = len(self.tasks)
        env = make_env(self.env_id, num_tasks * num_episodes, observe_task=observe_task)
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
        if uniform:
            rng = numpy_generator(self.config.seed, self.key, Phase.EVALUATION, task=num_tasks)
            noise = rng.uniform(-1, 1, draws.noise.shape).astype(np.float32)
        return collect(env, policy, params, noise=noise, start=draws.start)

    def score_random(self) -> Scores:
        """Score uniformly random actions."""
        action_size = FAMILIES[self.env_id].vector_class.action_elements
        episodes = self.collect(
            UniformPolicy(len(action_size)),
            {},
            num_episodes=self.config.deterministic_episodes,
            exploring=True,
            step=0,
            observe_task=False,
            uniform=True,
        )
        return Scores.of(episodes)

    def score(self, agent: TrainedAgent, num_adaptation_steps: int) -> list[StepScores]:
        """Score an agent after 0..K adaptation steps."""
        observe_task = agent.config.agent == "oracle"
        params = repeat_params(agent.params, len(self.tasks))
        scores = []
        for step in range(num_adaptation_steps + 1):
            deterministic = self.collect(
                agent.policy,
                params,
                num_episodes=self.config.deterministic_episodes,
                exploring=False,
                step=step,
                observe_task=observe_task,
            )
            exploring = self.collect(
                agent.policy,
                params,
                num_episodes=self.config.episodes_per_step,
                exploring=True,
                step=step,
                observe_task=observe_task,
            )
            scores.append(StepScores(Scores.of(deterministic), Scores.of(exploring)))
            if step < num_adaptation_steps:
                params = adapt_once(agent.policy, params, exploring, agent.config)
        return scores
