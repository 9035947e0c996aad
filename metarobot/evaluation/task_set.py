"""Task sets: fixed tasks and episode draws on which policies are measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms.base import adapt_in_steps
from metarobot.envs import (
    SceneRecord,
    TaskBatch,
    Tasks,
    Variant,
    find_family,
    make_env,
)
from metarobot.envs.tasks import Split
from metarobot.evaluation.protocol import RANDOM, EvaluationConfig
from metarobot.evaluation.table import Scores
from metarobot.policies import (
    Distribution,
    Params,
    Policy,
    ReactivePolicy,
    repeat_params,
)
from metarobot.rollout.collect import collect, hide_rewards
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy

GRID = "grid"
"""The task set of the heat map, beside those of the splits."""
_KEYS = ("train", "interpolation", "extrapolation", GRID, "extrapolation-one")
"""Task sets in the order in which they were added: their place keys their draws."""


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
    """One fixed set of tasks, with the draws of all its episodes: the same for every algorithm."""

    env_id: str
    tasks: Tasks
    split: str
    """Name that keys the draws of this task set: a split, or `GRID`."""
    config: EvaluationConfig
    variant: Variant | None = None
    """Variant of the family with the disturbances of the episodes."""
    scene: SceneRecord | None = None
    """The user's scene of the episodes, if any."""

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
        rng = numpy_generator(config.seed, _KEYS.index(split), Phase.EVALUATION_TASKS)
        tasks = distribution.sample(rng, config.num_tasks, split)
        return cls(env_id, tasks, split, config, variant, scene)

    @property
    def key(self) -> int:
        """Integer that keys the draws, together with the seed."""
        return _KEYS.index(self.split)

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
        """Collect episodes on every task, with draws keyed by the task and by their purpose.

        Args:
            policy: The policy that acts.
            params: Its parameters, each leaf (N, ...).
            num_episodes: E, on each task.
            noisy: Whether the policy acts with its action noise.
            block: For adaptation episodes, the number of blocks before. None for test episodes,
                which have the same draws after any adaptation.
            observe_task: Whether the task parameters are observed.
            num_envs: Simulations; one for each episode if not given.
        """
        num_tasks = len(self.tasks)
        wanted = num_envs or num_tasks * num_episodes
        env = make_env(
            self.env_id,
            find_family(self.env_id).num_side_by_side(wanted, num_tasks),
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
            hidden = self.config.rewards == "hidden"
            return collect(
                env, policy, params, noise=noise, start=draws.start, rewards_hidden=hidden
            )

    def _draws(self, env: TaskBatch, num_episodes: int, block: int | None) -> EpisodeDraws:
        """Draw starts and noise of episodes on every task, see `collect`."""
        return draw_episodes(
            self.config.seed,
            self.key,
            Phase.EVALUATION,
            tasks=range(len(self.tasks)),
            episode_shape=(num_episodes, env.horizon, env.start_size, len(env.action_elements)),
            adaptation_step=0 if block is None else 2 * block + 1,
        )

    def first_start(self, env: TaskBatch, index: int) -> np.ndarray:
        """Return the start of the first test episode on a task, uniforms (1, 1, S)."""
        start = self._draws(env, self.config.test_episodes, None).start
        return start[index : index + 1, :1]

    def score_random(self) -> list[Scores]:
        """Score uniformly random actions."""
        policy = UniformPolicy(len(find_family(self.env_id).action_elements))
        episodes = self.collect(policy, {}, num_episodes=self.config.test_episodes, noisy=True)
        return [self._scores(RANDOM, 0, 0, episodes, exploring=True)]

    def score(self, name: str, trained: TrainedPolicy) -> list[Scores]:
        """Score a policy by adaptation episodes, by blocks, and exploring, as in `config`.

        Further blocks of a learner whose episodes follow each other would only be more episodes.

        Args:
            name: Name of the policy.
            trained: The policy. One that never adapts has one stage, and one exploring stage.
        """
        config, algorithm, size = self.config, trained.algorithm, self.config.episodes_per_block
        numbers = config.adaptation_episodes if algorithm.adapts else ()
        num_blocks = config.num_blocks if algorithm.adapts else 0
        first = self.explore(trained, self.block_size if numbers else size)
        numbers = sorted({0, *numbers, *(size,) * (num_blocks > 0)})
        adapted = self.adapted_to(trained, first, numbers)
        found, trials = self._by_episodes(name, trained, first, adapted), list[np.ndarray]()

        def explore(block: int, _: Policy | None, params: Params, /) -> Episodes:
            more = self.explore(trained, size, params, block) if block else first.first(size)
            trials.append(_means(more))
            found.append(self._scores(name, block * size, block, more, exploring=True))
            return self._shown(more)

        explore(0, None, adapted[0])
        if num_blocks == 0 or algorithm.in_sequence:
            return found
        params = adapted[size]
        steps = adapt_in_steps(algorithm, params, num_blocks, explore, config.later_step_length, 1)
        for block, step in enumerate(steps, start=2):
            params = step.params
            found.append(self._after(name, block * size, block, trained, params, trials))
        explore(num_blocks, None, params)
        return found

    def score_by_episodes(
        self, name: str, trained: TrainedPolicy, numbers: Sequence[int]
    ) -> list[Scores]:
        """Score a policy before adapting, and after one block of each number of episodes.

        Args:
            name: Name of the policy.
            trained: The policy. One that never adapts has one stage.
            numbers: Numbers of adaptation episodes on each task, increasing.
        """
        numbers = [0, *numbers] if trained.algorithm.adapts else [0]
        first = self.explore(trained, most) if (most := max(numbers)) else None
        return self._by_episodes(name, trained, first, self.adapted_to(trained, first, numbers))

    def return_after(self, trained: TrainedPolicy, episodes: Episodes) -> float:
        """Return the mean return after adapting to a policy's exploration episodes (N, E, T)."""
        number = episodes.num_episodes
        adapted = self.adapted_to(trained, episodes, (number,))[number]
        return float(_means(self._judged(trained, adapted)).mean())

    def _by_episodes(
        self, name: str, trained: TrainedPolicy, first: Episodes | None, adapted: dict[int, Params]
    ) -> list[Scores]:
        """Score before adapting, and after adapting to the first episodes of a block."""
        found = []
        for number, params in adapted.items():
            trials = [_means(first.first(number))] if first and number else []
            found.append(self._after(name, number, len(trials), trained, params, trials))
        return found

    @property
    def block_size(self) -> int:
        """Number of adaptation episodes that `score` collects at once, to adapt to the first."""
        return max(self.config.episodes_per_block, *self.config.adaptation_episodes)

    def explore(
        self,
        trained: TrainedPolicy,
        num_episodes: int,
        params: Params | None = None,
        block: int = 0,
    ) -> Episodes:
        """Collect a block of adaptation episodes (N, E, T); a policy that never adapts just acts.

        Args:
            trained: The policy.
            num_episodes: E. The exploration of a learner may depend on it.
            params: Parameters adapted so far; those before adapting if not given.
            block: Number of blocks before.
        """
        algorithm = trained.algorithm
        return self.collect(
            algorithm.exploring_policy if algorithm.adapts else trained.policy,
            repeat_params(trained.params, len(self.tasks)) if params is None else params,
            num_episodes=num_episodes,
            noisy=True,
            block=block,
            observe_task=algorithm.observes_task,
            num_envs=algorithm.num_simulations(len(self.tasks), num_episodes),
        )

    def adapted_to(
        self, trained: TrainedPolicy, first: Episodes | None, numbers: Sequence[int]
    ) -> dict[int, Params]:
        """Return the parameters (N, ...) after the first episodes of a block, by their number."""
        params = repeat_params(trained.params, len(self.tasks))
        after = [number for number in numbers if number]
        adapted: dict[int, Params] = {}
        if first and after:
            adapted = trained.algorithm.adapt_to_first(params, self._shown(first), after)
        return {number: adapted[number] if number else params for number in numbers}

    def _after(
        self,
        name: str,
        number: int,
        blocks: int,
        trained: TrainedPolicy,
        params: Params,
        trials: Sequence[np.ndarray] = (),
    ) -> Scores:
        """Score test episodes with adapted parameters (N, ...), and the belief if there is one."""
        scores = self._scores(name, number, blocks, self._judged(trained, params), trials)
        belief = trained.algorithm.belief(params)
        if belief is None:
            return scores
        family = find_family(self.env_id).distribution  # task codes use its scale
        codes = torch.from_numpy(family.encode(self.tasks))
        return scores._replace(ranks=belief.ranks(family, codes))

    def _scores(
        self,
        name: str,
        number: int,
        blocks: int,
        episodes: Episodes,
        trials: Sequence[np.ndarray] = (),
        *,
        exploring: bool = False,
    ) -> Scores:
        """Average over the episodes of each task; trials are the returns of each block before."""
        return Scores(
            variant="",
            split=self.split,
            algorithm=name,
            exploring=exploring,
            episodes=number,
            blocks=blocks,
            returns=_means(episodes),
            success=episodes.success.double().mean(dim=1).numpy(),
            trial_returns=np.mean(trials, axis=0) if trials else None,
        )

    def _shown(self, episodes: Episodes) -> Episodes:
        """Return episodes as the adapting policy sees them, without hidden rewards."""
        return hide_rewards(episodes) if self.config.rewards == "hidden" else episodes

    def _judged(self, trained: TrainedPolicy, params: Params) -> Episodes:
        """Collect test episodes."""
        return self.collect(
            trained.policy,
            params,
            num_episodes=self.config.test_episodes,
            noisy=self.config.action_noise == "trained",
            observe_task=trained.algorithm.observes_task,
        )


def _means(episodes: Episodes) -> np.ndarray:
    """Return the mean return of each task, (N,)."""
    return episodes.returns.double().mean(dim=1).numpy()
