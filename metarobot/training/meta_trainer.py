"""The outer loop: learn an initialisation from which one adaptation step goes far."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from metarobot.algorithms import algorithm_class, make_algorithm
from metarobot.config import TrainConfig
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.policies import GaussianPolicy, Params, flatten_params, repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator, torch_generator
from metarobot.training.replay import Replay

if TYPE_CHECKING:
    from metarobot.envs import TaskVectorEnv
    from metarobot.envs.tasks import Tasks

Metrics = dict[str, float]


class TrainerState(NamedTuple):
    """All that a training run depends on besides its configuration: no generator has a state."""

    tensors: dict[str, Tensor]
    counters: dict[str, int]


class MetaTrainer:
    """Trains the initialisation θ of a policy on a task family.

    Attributes:
        params: θ, each leaf in its own shape.
        iteration: Number of meta-updates taken.
        total_steps: Number of control steps simulated, by all processes.
        refused: Episodes of those tasks held here that made the last meta-update impossible.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: "TaskVectorEnv",
        workers: Workers = ALONE,
    ) -> None:
        """Prepare a run.

        Args:
            config: What to train and how.
            env: As many simulations as `num_simulations` says; with observe_task for the oracle.
            workers: The processes that share the run.

        Raises:
            ValueError: The environment has another number of simulations.
            WorkerError: The tasks cannot be shared equally.
        """
        num_tasks, num_episodes = config.block_shape
        self.tasks = workers.share(num_tasks)
        wanted = num_simulations(config, workers)
        if env.num_envs != wanted:
            raise ValueError(
                f"{config.algorithm} with {len(self.tasks)} tasks x {num_episodes} episodes "
                f"needs an environment of {wanted} simulations, got {env.num_envs}"
            )
        self.config = config
        self.env = env
        self.workers = workers
        self.policy = make_policy(config, env)
        self.algorithm = make_algorithm(config, self.policy)
        self.params: Params = initial_params(config, self.policy)
        self.iteration = 0
        self.total_steps = 0
        self.refused: list[Replay] = []

    @property
    def finished(self) -> bool:
        """Whether the budget of control steps is spent."""
        return self.total_steps >= self.config.total_steps

    def state(self) -> TrainerState:
        """Return what `restore` needs to go on as if never interrupted."""
        parts = {"params": self.params, "algorithm": self.algorithm.state()}
        tensors = {
            f"{part}.{name}": leaf for part, tree in parts.items() for name, leaf in tree.items()
        }
        return TrainerState(tensors, {"iteration": self.iteration, "total_steps": self.total_steps})

    def restore(self, state: TrainerState) -> None:
        """Go on from a state: every draw to come is addressed by the iteration."""
        tensors = state.tensors
        self.params = {name: tensors[f"params.{name}"] for name in self.params}
        self.algorithm.restore(
            {name: tensors[f"algorithm.{name}"] for name in self.algorithm.state()}
        )
        self.iteration = state.counters["iteration"]
        self.total_steps = state.counters["total_steps"]

    def step(self) -> Metrics:
        """Take one meta-iteration.

        With K adaptation steps (for MAML: Finn et al. 2017, arXiv:1703.03400, Algorithm 3)::

            sample N tasks and give each to E simulations
            θ_0 = θ for every task
            for k = 0 .. K-1:
                collect pre-update episodes with θ_k, and their advantages
                θ_{k+1} = adapt θ_k (MAML: θ_k - α ∇ L(θ_k))
            collect post-update episodes with θ_K, and their advantages
            meta-update θ (MAML: differentiating through every adaptation)

        With K = 0 and TRPO this is domain randomisation.

        Where several processes share the run, each does this for its own tasks, and all of them
        end with the same θ.

        Returns:
            Metrics of the iteration by name, over all tasks. `rollout/` describes the post-update
            episodes.
        """
        started, self._sampling_s = time.perf_counter(), 0.0
        algorithm, K = self.algorithm, self.config.adaptation_steps
        self.env.set_tasks(self._sample_tasks())
        adapted = repeat_params(self.params, len(self.tasks))
        pre_episodes, pre_advantages = [], []
        for k in range(K):
            episodes = self._collect(algorithm.trial_policy, adapted, Phase.PRE_UPDATE, k)
            advantages = algorithm.trial_advantages(episodes)
            adapted = algorithm.adapt(adapted, episodes, advantages)
            pre_episodes.append(episodes)
            pre_advantages.append(advantages)
        post_episodes = self._collect(self.policy, adapted, Phase.POST_UPDATE, K)
        batch = MetaBatch(
            pre_episodes=tuple(pre_episodes),
            pre_advantages=tuple(pre_advantages),
            post_episodes=post_episodes,
            post_advantages=algorithm.outer_advantages(adapted, post_episodes, self.workers),
        )
        before = self.params
        self.params, report = algorithm.update(before, batch, self.workers)
        self.refused = self._replays(report.refused_tasks, batch)

        num_steps = (K + 1) * math.prod(self.config.block_shape) * self.env.horizon
        self.iteration += 1
        self.total_steps += num_steps
        seconds = time.perf_counter() - started
        return {
            **self._task_metrics(batch, adapted, before),
            **_update_metrics(report),
            "meta/std": float(before["log_std"].exp().mean()),
            "time/iteration": float(self.iteration),
            "time/total_steps": float(self.total_steps),
            "time/sampling_s": self._sampling_s,
            "time/update_s": seconds - self._sampling_s,
            "time/fps": num_steps / seconds,
        }

    def _sample_tasks(self) -> "Tasks":
        rng = numpy_generator(self.config.seed, self.iteration, Phase.TASKS)
        return self.env.distribution.sample(rng, self.config.block_shape[0]).rows(self.tasks)

    def _collect(
        self, policy: GaussianPolicy, params: Params, phase: Phase, adaptation_step: int
    ) -> Episodes:
        """Collect one block of episodes, (N, E, T)."""
        config, env = self.config, self.env
        started = time.perf_counter()
        draws = draw_episodes(
            config.seed,
            self.iteration,
            phase,
            tasks=self.tasks,
            episode_shape=(
                config.block_shape[1],
                env.horizon,
                env.start_size,
                self.policy.action_size,
            ),
            adaptation_step=adaptation_step,
        )
        episodes = collect(env, policy, params, noise=draws.noise, start=draws.start)
        self._sampling_s += time.perf_counter() - started
        return episodes

    def _task_metrics(self, batch: MetaBatch, adapted: Params, initial: Params) -> Metrics:
        """Means over the tasks of all processes: before the first adaptation step, after the last.

        A task whose numbers are not finite makes its means so: the log shows what happened.
        """
        first, last = self.algorithm.first_and_last(batch)
        unstable = torch.stack([block.unstable.sum(1) for block in batch.blocks]).sum(0)
        columns = {
            "meta/pre_return": first.returns.mean(1),
            "meta/post_return": last.returns.mean(1),
            "meta/pre_success_rate": first.success.float().mean(1),
            "meta/post_success_rate": last.success.float().mean(1),
            "rollout/counted_steps": batch.post_episodes.mask.mean((1, 2)),
            "sim/unstable_episodes": unstable * float(self.config.block_shape[0]),
            "adapt/distance": _distances(adapted, initial),
            "adapt/std": adapted["log_std"].exp().mean(1),
        }
        means = self.workers.mean(torch.stack(list(columns.values()), dim=1))
        metrics = dict(zip(columns, means.tolist(), strict=True))
        return {
            **metrics,
            "meta/gain": metrics["meta/post_return"] - metrics["meta/pre_return"],
            "rollout/ep_rew_mean": metrics["meta/post_return"],
            "rollout/success_rate": metrics["meta/post_success_rate"],
        }

    def _replays(self, refused_tasks: Sequence[int], batch: MetaBatch) -> list[Replay]:
        """Return all episodes of the refused tasks that are held here."""
        return [
            Replay.of(
                self.config.env_id,
                self._sample_tasks().rows([task - self.tasks.start]),
                [block.rows([task - self.tasks.start]) for block in batch.blocks],
                self.config.variant,
                iteration=self.iteration,
                index=task,
            )
            for task in refused_tasks
            if task in self.tasks
        ]


def num_simulations(config: TrainConfig, workers: Workers = ALONE) -> int:
    """Return how many simulations the tasks take that this process holds.

    Raises:
        WorkerError: The tasks cannot be shared equally.
    """
    num_tasks, num_episodes = config.block_shape
    held = len(workers.share(num_tasks))
    return algorithm_class(config.algorithm).num_simulations(held, num_episodes)


def make_policy(config: TrainConfig, env: "TaskVectorEnv") -> GaussianPolicy:
    """Build the policy skeleton that fits the environment's spaces."""
    space = env.single_observation_space
    action_space = env.single_action_space
    if not isinstance(space, Box) or not isinstance(action_space, Box):
        raise ValueError(f"observations and actions must be boxes, got {space}, {action_space}")
    return algorithm_class(config.algorithm).make_policy(
        config, space.low.tolist(), space.high.tolist(), action_space.shape[0]
    )


def _distances(adapted: Params, initial: Params) -> Tensor:
    """How far adaptation has moved the parameters of each task, (N,)."""
    return (flatten_params(adapted) - flatten_params(repeat_params(initial, 1))).norm(dim=1)


def _update_metrics(report: UpdateReport) -> Metrics:
    """What the meta-update did."""
    encoder = {} if report.encoder_loss is None else {"update/encoder_loss": report.encoder_loss}
    return {
        **encoder,
        "update/surrogate_before": report.surrogate_before,
        "update/surrogate_after": report.surrogate_after,
        "update/kl": report.kl,
        "update/line_search_steps": float(report.line_search_steps),
        "update/accepted": float(report.accepted),
        "update/refused_tasks": float(len(report.refused_tasks)),
    }


def initial_params(config: TrainConfig, policy: GaussianPolicy) -> Params:
    """Draw the parameters that training begins with."""
    return policy.initial_params(torch_generator(config.seed, 0, Phase.INITIALISATION))
