"""The outer loop: learn an initialisation from which a few episodes of adaptation suffice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms import algorithm_class, fit_policy, make_algorithm
from metarobot.algorithms.base import Algorithm, adapt_in_steps, initial_params
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.meta_update import MetaBatch, UpdateReport
from metarobot.policies import GaussianPolicy, Params, flatten_params, repeat_params
from metarobot.policies.params import TASK_CODE
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator

if TYPE_CHECKING:
    from metarobot.envs import TaskBatch
    from metarobot.envs.tasks import Tasks


COLLECTING = 0.25
"""Approximate share of collecting in the time of `finish`; learning takes the rest."""


Metrics = dict[str, float]
"""Numbers of one meta-iteration, by name."""


class TrainerState(NamedTuple):
    """State of a training beside its configuration; random generators keep none."""

    tensors: dict[str, Tensor]
    counters: dict[str, int]


def state_of(
    params: Params, algorithm: Algorithm[Any], iteration: int = 0, total_steps: int = 0
) -> TrainerState:
    """Return the state of a trainer with these parameters, by default before the first step."""
    parts = {"params": params, "algorithm": algorithm.state()}
    tensors = {
        f"{part}.{name}": leaf for part, tree in parts.items() for name, leaf in tree.items()
    }
    return TrainerState(tensors, {"iteration": iteration, "total_steps": total_steps})


def num_simulations(config: TrainConfig, workers: Workers = ALONE) -> int:
    """Return the number of simulations for the tasks of this process.

    Raises:
        WorkerError: The tasks cannot be shared equally.
    """
    num_tasks, num_episodes = config.block_shape
    held = len(workers.share(num_tasks))
    wanted = algorithm_class(config.algorithm).num_training_simulations(held, num_episodes)
    return find_family(config.env_id).num_side_by_side(wanted, held)


class MetaTrainer:
    """Trains the initialisation θ of a policy on a task family.

    Attributes:
        params: θ, each leaf in its own shape.
        iteration: Number of meta-updates taken.
        total_steps: Number of control steps simulated, by all processes.
        rejected: Tasks of this process for which the last meta-update was rejected, as their
            numbers are not finite.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: TaskBatch,
        workers: Workers = ALONE,
    ) -> None:
        """Prepare a run.

        Args:
            config: Configuration of the training.
            env: Batch of `num_simulations` simulations; with observe_task for the oracle.
            workers: The processes that share the run.

        Raises:
            WorkerError: The tasks cannot be shared equally.
        """
        self.tasks = workers.share(config.num_tasks)
        self.config = config
        self.env = env
        self.workers = workers
        self.policy = fit_policy(config, env.single_observation_space, env.single_action_space)
        self.algorithm = make_algorithm(config, self.policy, workers)
        self.params: Params = initial_params(config, self.policy)
        self.iteration = 0
        self._sampling_s = 0.0
        self.total_steps = 0
        self.rejected: list[dict[str, float]] = []

    @property
    def finished(self) -> bool:
        """Whether the budget of meta-iterations is spent: all but the share for `finish`."""
        return self.spent >= 1.0

    @property
    def spent(self) -> float:
        """Share of the budget of meta-iterations that is spent."""
        total_steps = self.config.total_steps
        budget = total_steps - self.algorithm.finish_steps(total_steps)
        return self.total_steps / budget

    def state(self) -> TrainerState:
        """Return the state from which `restore` continues exactly."""
        return state_of(self.params, self.algorithm, self.iteration, self.total_steps)

    def restore(self, state: TrainerState) -> None:
        """Continue from a state; all random numbers are addressed by the iteration."""
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
            for k = 0 .. K-1 (`adapt_in_steps`):
                collect pre-update episodes with θ_k, and their advantages
                θ_{k+1} = adapt θ_k (MAML: θ_k - α ∇ L(θ_k))
            collect post-update episodes with θ_K, and their advantages
            meta-update θ (MAML: differentiating through every adaptation)

        With K = 0 and TRPO this is domain randomisation. Where several processes share the run,
        each does this for its own tasks, and all of them end with the same θ.

        Returns:
            Metrics by name, over all tasks; those of `rollout/` are of the post-update episodes.
        """
        started, self._sampling_s = time.perf_counter(), 0.0
        batch, adapted = self._collect_batch()
        before, algorithm = self.params, self.algorithm
        self.params, report = algorithm.update(before, batch)
        self.rejected = self._rejected(report.rejected_tasks)

        num_steps = self._num_steps(batch)
        self.iteration += 1
        self.total_steps += num_steps
        if algorithm.is_careful(batch.spent) and not algorithm.is_careful(self.spent):
            self.params = algorithm.end_careful(self.params)
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

    def finish(self, progress: Callable[[float], None]) -> None:
        """Spend the rest of the budget on learning that needs the final policy.

        A state from before this call can continue meta-training with a larger budget.

        Args:
            progress: Called with the share of the work that is done, 0 to 1.
        """
        algorithm, batches = self.algorithm, []
        if not algorithm.finish_share:
            return
        progress(0.0)
        self.params = algorithm.begin_finish(self.params)
        num_tasks, num_episodes = self._calibration_shape
        reserved = num_tasks * num_episodes * self.env.horizon
        first, budget = self.total_steps, self.config.total_steps - reserved
        while not batches or self.total_steps < budget:
            batch, _ = self._collect_batch(finishing=True)
            batches.append(batch)
            self.iteration += 1
            self.total_steps += self._num_steps(batch)
            spent = (self.total_steps - first) / max(budget - first, 1)
            progress(COLLECTING * min(1.0, spent))
        self.params = algorithm.finish(
            self.params, batches, lambda share: progress(COLLECTING + (1.0 - COLLECTING) * share)
        )

    def calibrate(self, env: TaskBatch) -> None:
        """Measure the errors of adaptation on training tasks, one for each simulation of `env`."""
        config, tasks = self.config, range(env.num_envs)
        rng = numpy_generator(config.seed, self.iteration, Phase.CALIBRATION)
        drawn = env.distribution.sample(rng, env.num_envs)
        env.set_tasks(drawn)
        _, num_episodes = self._calibration_shape
        draws = draw_episodes(
            config.seed,
            self.iteration,
            Phase.CALIBRATION,
            tasks=tasks,
            episode_shape=(num_episodes, env.horizon, env.start_size, self.policy.action_size),
        )
        params = repeat_params(self.params, env.num_envs)
        explorer = self.algorithm.exploring_policy
        episodes = collect(env, explorer, params, noise=draws.noise, start=draws.start)
        codes = torch.from_numpy(type(env).distribution.encode(drawn)).float()
        self.params = self.algorithm.calibrate(self.params, codes, episodes)
        self.total_steps += int(episodes.mask.sum())

    @property
    def _calibration_shape(self) -> tuple[int, int]:
        return self.algorithm.calibration_shape(self.config.total_steps, self.env.horizon)

    def _collect_batch(self, *, finishing: bool = False) -> tuple[MetaBatch, Params]:
        """Collect a meta-batch, and return the adapted parameters of its tasks as well."""
        algorithm, K = self.algorithm, self.config.adaptation_steps
        tasks = self._sample_tasks()
        self.env.set_tasks(tasks)
        adapted = repeat_params(self.params, len(self.tasks))
        steps = list(adapt_in_steps(algorithm, adapted, K, self._collect_pre_update))
        adapted = steps[-1].params if steps else adapted
        task_codes = self._task_codes(tasks, finishing)
        acting = adapted if task_codes is None else {**adapted, TASK_CODE: task_codes}
        post_episodes = self._collect(self.policy, acting, Phase.POST_UPDATE, K)
        batch = MetaBatch(
            pre_episodes=tuple(step.episodes for step in steps),
            pre_advantages=tuple(step.advantages for step in steps),
            post_episodes=post_episodes,
            post_advantages=algorithm.outer_advantages(adapted, post_episodes),
            task_codes=task_codes,
            spent=self.spent,
        )
        return batch, adapted

    def _sample_tasks(self) -> Tasks:
        rng = numpy_generator(self.config.seed, self.iteration, Phase.TASKS)
        return self.env.distribution.sample(rng, self.config.block_shape[0]).rows(self.tasks)

    def _task_codes(self, tasks: Tasks, finishing: bool) -> Tensor | None:
        """Return the task codes of post-update episodes, (N, E, C); None if there are none."""
        if not self.algorithm.gives_task_codes:
            return None
        codes = torch.from_numpy(type(self.env).distribution.encode(tasks)).float()
        seed, num_episodes = self.config.seed, self.config.block_shape[1]
        candidates = [
            numpy_generator(seed, self.iteration, Phase.CANDIDATES, task=task).random(num_episodes)
            for task in self.tasks
        ]
        uniforms = torch.from_numpy(np.stack(candidates)).float()
        return self.algorithm.task_codes(codes, uniforms, self.spent, finishing=finishing)

    def _collect_pre_update(self, step: int, policy: GaussianPolicy, params: Params) -> Episodes:
        return self._collect(policy, params, Phase.PRE_UPDATE, step)

    def _num_steps(self, batch: MetaBatch) -> int:
        """Return the number of control steps of all processes in a meta-batch."""
        num_episodes = sum(block.num_episodes for block in batch.blocks)
        return self.config.num_tasks * num_episodes * self.env.horizon

    def _collect(
        self, policy: GaussianPolicy, params: Params, phase: Phase, adaptation_step: int
    ) -> Episodes:
        """Collect one block of episodes, (N, E, T)."""
        config, env = self.config, self.env
        started = time.perf_counter()
        num_episodes = config.block_shape[1]
        if phase is Phase.PRE_UPDATE:
            num_episodes = self.algorithm.num_adaptation_episodes(self.iteration)
        draws = draw_episodes(
            config.seed,
            self.iteration,
            phase,
            tasks=self.tasks,
            episode_shape=(num_episodes, env.horizon, env.start_size, self.policy.action_size),
            adaptation_step=adaptation_step,
        )
        episodes = collect(env, policy, params, noise=draws.noise, start=draws.start)
        self._sampling_s += time.perf_counter() - started
        return episodes

    def _task_metrics(self, batch: MetaBatch, adapted: Params, initial: Params) -> Metrics:
        """Return means over all tasks, before the first adaptation step and after the last.

        Numbers of a task that are not finite stay in the means, so that the log shows them.
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

    def _rejected(self, rejected_tasks: Sequence[int]) -> list[dict[str, float]]:
        """Return the rejected tasks of this process."""
        own = [task - self.tasks.start for task in rejected_tasks if task in self.tasks]
        return self._sample_tasks().rows(own).to_dicts() if own else []


def _distances(adapted: Params, initial: Params) -> Tensor:
    """Return the distance of adapted from initial parameters for each task, (N,)."""
    return (flatten_params(adapted) - flatten_params(repeat_params(initial, 1))).norm(dim=1)


def _update_metrics(report: UpdateReport) -> Metrics:
    """Return the metrics of a meta-update."""
    encoder = {} if report.encoder_loss is None else {"update/encoder_loss": report.encoder_loss}
    return {
        **encoder,
        "update/surrogate_before": report.surrogate_before,
        "update/surrogate_after": report.surrogate_after,
        "update/kl": report.kl,
        "update/line_search_steps": float(report.line_search_steps),
        "update/accepted": float(report.accepted),
        "update/rejected_tasks": float(len(report.rejected_tasks)),
    }
