"""The outer loop: learn an initialisation from which one adaptation step goes far."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from metarobot.adapt import adapt_as_trained, inner_advantages, trial_policy
from metarobot.advantages import estimate_advantages, normalise_per_task, scale_over_tasks
from metarobot.config import TrainConfig
from metarobot.episodes import Episodes
from metarobot.policies import GaussianMLP, Params, repeat_params
from metarobot.randomness import Phase, draw_episodes, numpy_generator, torch_generator
from metarobot.replay import Replay
from metarobot.rollout import collect
from metarobot.trpo import MetaBatch, TrpoReport, flatten, meta_update
from metarobot.workers import ALONE, Workers

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
        policy: GaussianMLP | None = None,
        workers: Workers = ALONE,
    ) -> None:
        """Prepare a run.

        Args:
            config: What to train and how.
            env: episodes_per_task simulations for each task held here; with observe_task for the
                oracle.
            policy: Policy skeleton; built for the environment's spaces when None.
            workers: The processes that share the run.

        Raises:
            ValueError: The environment has another number of simulations.
            WorkerError: The tasks cannot be shared equally.
        """
        self.tasks = workers.share(config.num_tasks)
        wanted = len(self.tasks) * config.episodes_per_task
        if env.num_envs != wanted:
            raise ValueError(
                f"num_tasks {len(self.tasks)} x episodes_per_task {config.episodes_per_task} "
                f"needs an environment of {wanted} simulations, got {env.num_envs}"
            )
        self.config = config
        self.env = env
        self.workers = workers
        self.policy = policy or make_policy(config, env)
        generator = torch_generator(config.seed, 0, Phase.INITIALISATION)
        self.params: Params = self.policy.initial_params(generator)
        self.iteration = 0
        self.total_steps = 0
        self.refused: list[Replay] = []

    @property
    def finished(self) -> bool:
        """Whether the budget of control steps is spent."""
        return self.total_steps >= self.config.total_steps

    def state(self) -> TrainerState:
        """Return what `restore` needs to go on as if never interrupted."""
        tensors = {f"params.{name}": leaf for name, leaf in self.params.items()}
        return TrainerState(tensors, {"iteration": self.iteration, "total_steps": self.total_steps})

    def restore(self, state: TrainerState) -> None:
        """Go on from a state: every draw to come is addressed by the iteration."""
        self.params = {name: state.tensors[f"params.{name}"] for name in self.params}
        self.iteration = state.counters["iteration"]
        self.total_steps = state.counters["total_steps"]

    def step(self) -> Metrics:
        """Take one meta-iteration.

        Algorithm (Finn et al. 2017, arXiv:1703.03400, Algorithm 3), with K adaptation steps::

            sample N tasks and give each to E simulations
            θ_0 = θ for every task
            for k = 0 .. K-1:
                collect pre-update episodes with θ_k, and their advantages
                θ_{k+1} = θ_k - α ∇ L(θ_k)
            collect post-update episodes with θ_K, and their advantages
            meta-update θ, differentiating through every adaptation

        With K = 0 this is TRPO on the episodes of all tasks: domain randomisation.

        Where several processes share the run, each does this for its own tasks, and all of them
        end with the same θ.

        Returns:
            Metrics of the iteration by name, over all tasks. `rollout/` describes the post-update
            episodes.
        """
        started, self._sampling_s = time.perf_counter(), 0.0
        K, trials = self.config.adaptation_steps, trial_policy(self.policy, self.config)
        self.env.set_tasks(self._sample_tasks())
        adapted = repeat_params(self.params, len(self.tasks))
        pre_episodes, pre_advantages = [], []
        for k in range(K):
            episodes = self._collect(trials, adapted, Phase.PRE_UPDATE, k)
            advantages = inner_advantages(self.policy, episodes, self.config)
            adapted = adapt_as_trained(self.policy, adapted, episodes, advantages, self.config)
            pre_episodes.append(episodes)
            pre_advantages.append(advantages)
        post_episodes = self._collect(self.policy, adapted, Phase.POST_UPDATE, K)
        batch = MetaBatch(
            pre_episodes=tuple(pre_episodes),
            pre_advantages=tuple(pre_advantages),
            post_episodes=post_episodes,
            post_advantages=self._outer_advantages(post_episodes),
        )
        before = self.params
        self.params, report = meta_update(self.policy, before, batch, self.config, self.workers)
        self.refused = self._replays(report.refused_tasks, batch)

        num_steps = (K + 1) * self.workers.count * self.env.num_envs * self.env.horizon
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
        return self.env.distribution.sample(rng, self.config.num_tasks).rows(self.tasks)

    def _collect(
        self, policy: GaussianMLP, params: Params, phase: Phase, adaptation_step: int
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
                config.episodes_per_task,
                env.horizon,
                env.start_size,
                self.policy.action_size,
            ),
            adaptation_step=adaptation_step,
        )
        episodes = collect(env, policy, params, noise=draws.noise, start=draws.start)
        self._sampling_s += time.perf_counter() - started
        return episodes

    def _outer_advantages(self, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) on one scale for all tasks, or on one for each where configured."""
        config = self.config
        advantages = estimate_advantages(
            self.policy, episodes, discount=config.discount, gae_lambda=config.gae_lambda
        )
        if config.normalise_outer:
            return normalise_per_task(advantages, episodes.mask)
        return scale_over_tasks(advantages, episodes.mask, self.workers)

    def _task_metrics(self, batch: MetaBatch, adapted: Params, initial: Params) -> Metrics:
        """Means over the tasks of all processes: before the first adaptation step, after the last.

        A task whose numbers are not finite makes its means so: the log shows what happened.
        """
        post = batch.post_episodes
        blocks = batch.blocks
        unstable = torch.stack([block.unstable.sum(1) for block in blocks]).sum(0)
        columns = {
            "meta/pre_return": blocks[0].returns.mean(1),
            "meta/post_return": post.returns.mean(1),
            "meta/pre_success_rate": blocks[0].success.float().mean(1),
            "meta/post_success_rate": post.success.float().mean(1),
            "rollout/counted_steps": post.mask.mean((1, 2)),
            "sim/unstable_episodes": unstable * float(self.config.num_tasks),
            "adapt/distance": (flatten(adapted) - flatten(repeat_params(initial, 1))).norm(dim=1),
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


def make_policy(config: TrainConfig, env: "TaskVectorEnv") -> GaussianMLP:
    """Build the policy skeleton that fits the environment's spaces."""
    space = env.single_observation_space
    action_space = env.single_action_space
    if not isinstance(space, Box) or not isinstance(action_space, Box):
        raise ValueError(f"observations and actions must be boxes, got {space}, {action_space}")
    policy = GaussianMLP(
        space.low.tolist(),
        space.high.tolist(),
        action_space.shape[0],
        config.hidden_sizes,
        config.initial_std,
    )
    return policy.with_min_std(config.min_std) if config.agent == "maml" else policy


def _update_metrics(report: TrpoReport) -> Metrics:
    """What the meta-update did."""
    return {
        "update/surrogate_before": report.surrogate_before,
        "update/surrogate_after": report.surrogate_after,
        "update/kl": report.kl,
        "update/line_search_steps": float(report.line_search_steps),
        "update/accepted": float(report.accepted),
        "update/refused_tasks": float(len(report.refused_tasks)),
    }
