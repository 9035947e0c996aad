"""The outer loop: learn an initialisation from which one adaptation step goes far."""

import time
from typing import TYPE_CHECKING

import torch
from gymnasium.spaces import Box
from torch import Tensor

from metarobot.adapt import adapt, inner_advantages, trial_policy
from metarobot.advantages import estimate_advantages, scale_over_tasks
from metarobot.config import TrainConfig
from metarobot.episodes import Episodes
from metarobot.policies import GaussianMLP, Params, repeat_params
from metarobot.randomness import Phase, draw_episodes, numpy_generator, torch_generator
from metarobot.rollout import collect
from metarobot.trpo import MetaBatch, TrpoReport, meta_update

if TYPE_CHECKING:
    from metarobot.envs import ManipulationVectorEnv
    from metarobot.envs.tasks import Tasks

Metrics = dict[str, float]


class MetaTrainer:
    """Trains the initialisation θ of a policy on a task family.

    Attributes:
        params: θ, each leaf in its own shape.
        iteration: Number of meta-updates taken.
        total_steps: Number of control steps simulated.

    With `iteration`, `total_steps` and `params` restored, a run goes on as if never interrupted:
    every draw is addressed by the iteration.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: "ManipulationVectorEnv",
        policy: GaussianMLP | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            config: What to train and how.
            env: num_tasks · episodes_per_task simulations; with observe_task for the oracle.
            policy: Policy skeleton; built for the environment's spaces when None.

        Raises:
            ValueError: The environment has another number of simulations.
        """
        wanted = config.num_tasks * config.episodes_per_task
        if env.num_envs != wanted:
            raise ValueError(
                f"num_tasks {config.num_tasks} x episodes_per_task {config.episodes_per_task} "
                f"needs an environment of {wanted} simulations, got {env.num_envs}"
            )
        self.config = config
        self.env = env
        self.policy = policy or make_policy(config, env)
        generator = torch_generator(config.seed, 0, Phase.INITIALISATION)
        self.params: Params = self.policy.initial_params(generator)
        self.iteration = 0
        self.total_steps = 0

    @property
    def finished(self) -> bool:
        """Whether the budget of control steps is spent."""
        return self.total_steps >= self.config.total_steps

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

        Returns:
            Metrics of the iteration by name. `rollout/` describes the post-update episodes.

        Raises:
            EmptyEpisodesError: All simulations of a task became unstable at once.
        """
        started, self._sampling_s = time.perf_counter(), 0.0
        K, trials = self.config.adaptation_steps, trial_policy(self.policy, self.config)
        self.env.set_tasks(self._sample_tasks())
        adapted = repeat_params(self.params, self.config.num_tasks)
        pre_episodes, pre_advantages = [], []
        for k in range(K):
            episodes = self._collect(trials, adapted, Phase.PRE_UPDATE, k)
            advantages = inner_advantages(self.policy, episodes, self.config)
            adapted = self._adapt(trials, adapted, episodes, advantages)
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
        self.params, report = meta_update(self.policy, before, batch, self.config)

        num_steps = (K + 1) * self.env.num_envs * self.env.horizon
        self.iteration += 1
        self.total_steps += num_steps
        seconds = time.perf_counter() - started
        return {
            **_episode_metrics(batch),
            **_policy_metrics(adapted, before),
            **_update_metrics(report),
            "time/iteration": float(self.iteration),
            "time/total_steps": float(self.total_steps),
            "time/sampling_s": self._sampling_s,
            "time/update_s": seconds - self._sampling_s,
            "time/fps": num_steps / seconds,
        }

    def _sample_tasks(self) -> "Tasks":
        rng = numpy_generator(self.config.seed, self.iteration, Phase.TASKS)
        return self.env.distribution.sample(rng, self.config.num_tasks)

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
            tasks=range(config.num_tasks),
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
        """Advantages (N, E, T) on one scale for all tasks."""
        config = self.config
        advantages = estimate_advantages(
            self.policy, episodes, discount=config.discount, gae_lambda=config.gae_lambda
        )
        return scale_over_tasks(advantages, episodes.mask)

    def _adapt(
        self, policy: GaussianMLP, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        config = self.config
        return adapt(
            policy,
            params,
            episodes,
            advantages,
            config.inner_lr,
            config.inner_objective,
            config.first_order,
        )


def make_policy(config: TrainConfig, env: "ManipulationVectorEnv") -> GaussianMLP:
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


def _episode_metrics(batch: MetaBatch) -> Metrics:
    """Returns and success rates before the first adaptation step and after the last."""
    post = batch.post_episodes
    pre = batch.pre_episodes[0] if batch.pre_episodes else post
    pre_return, post_return = float(pre.returns.mean()), float(post.returns.mean())
    pre_success, post_success = (
        float(pre.success.float().mean()),
        float(post.success.float().mean()),
    )
    return {
        "meta/pre_return": pre_return,
        "meta/post_return": post_return,
        "meta/gain": post_return - pre_return,
        "meta/pre_success_rate": pre_success,
        "meta/post_success_rate": post_success,
        "rollout/ep_rew_mean": post_return,
        "rollout/success_rate": post_success,
        "rollout/counted_steps": float(post.mask.mean()),
    }


def _policy_metrics(adapted: Params, initial: Params) -> Metrics:
    """How far adaptation moves the parameters, and how much action noise is left."""
    squares = sum(
        (adapted[name] - leaf).square().flatten(1).sum(1) for name, leaf in initial.items()
    )
    return {
        "adapt/distance": float(torch.as_tensor(squares).sqrt().mean()),
        "adapt/std": float(adapted["log_std"].exp().mean()),
        "meta/std": float(initial["log_std"].exp().mean()),
    }


def _update_metrics(report: TrpoReport) -> Metrics:
    """What the meta-update did."""
    return {
        "update/surrogate_before": report.surrogate_before,
        "update/surrogate_after": report.surrogate_after,
        "update/kl": report.kl,
        "update/line_search_steps": float(report.line_search_steps),
        "update/accepted": float(report.accepted),
    }
