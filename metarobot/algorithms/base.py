"""The base of all algorithms: how one adapts to a task, and improves over tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from metarobot.config import AlgorithmOptions, TrainConfig
from metarobot.envs import TaskDistribution, find_family
from metarobot.envs.checks import show
from metarobot.learning.advantages import estimate_advantages, normalise_per_task, scale_over_tasks
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.policies import (
    Distribution,
    GaussianMLP,
    GaussianPolicy,
    LatentPolicy,
    Params,
    TeacherStudentPolicy,
)
from metarobot.policies.gaussian import MIN_STD
from metarobot.policies.params import TOLD
from metarobot.rollout.episodes import Episodes

PolicyT = TypeVar("PolicyT", bound=GaussianPolicy)
MOST_CONCLUDING_STEPS = 1_000_000
"""Control steps that are kept in memory at the end of a training, at most."""


class Belief(NamedTuple):
    """What an algorithm takes N tasks for: many tasks, and how likely each is."""

    codes: Tensor
    """K tasks as the oracle observes them, (K, C)."""
    weights: Tensor
    """(N, K), each row sums to 1."""
    is_used: Tensor
    """Whether the policy acts on it, (N,) bool."""


class Algorithm(ABC, Generic[PolicyT]):
    """How an algorithm adapts to a task, and how it is trained over tasks.

    Args:
        config: What is trained and how.
        policy: The policy's functional module, from `make_policy`.
        workers: The processes that share its training; each holds some tasks of a meta-batch.
    """

    title: ClassVar[str]
    """Its name in tables and figures."""
    adapts: ClassVar[bool] = True
    """Whether it learns from adaptation episodes; references for comparison do not."""
    observes_task: ClassVar[bool] = False
    """Whether the task parameters are part of what its policy observes."""
    is_told: ClassVar[bool] = False
    """Whether training tells its policy something of the task in each episode, by `tell`."""
    concluding_share: ClassVar[float] = 0.0
    """Part of the budget that is kept for `conclude`, if it is not too large."""
    options_class: ClassVar[type[AlgorithmOptions]]
    """The dataclass of what it reads besides the common configuration."""
    policy_class: ClassVar[Callable[..., GaussianPolicy]] = GaussianMLP
    """What `make_policy` lays out."""

    def __init__(self, config: TrainConfig, policy: PolicyT, workers: Workers = ALONE) -> None:
        self.config = config
        self.policy = policy
        self.workers = workers

    @classmethod
    def make_policy(
        cls,
        config: TrainConfig,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
    ) -> GaussianPolicy:
        """Lay out the policy for observations within bounds (O,) and A action elements."""
        policy = cls.policy_class(
            observation_low,
            observation_high,
            action_size,
            hidden_sizes=config.hidden_sizes,
            initial_std=config.initial_std,
            **cls.policy_options(config),
        )
        return policy.with_min_std(cls.min_std(config))

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return what else the class of the policy asks for."""
        del config
        return {}

    @classmethod
    def min_std(cls, config: TrainConfig) -> float:
        """Return the floor of the action noise, in half action ranges."""
        return getattr(config.options, "min_std", MIN_STD)

    @classmethod
    def num_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return how many simulations a block of adaptation episodes takes: here, one for each."""
        return num_tasks * num_episodes

    @classmethod
    def num_training_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return how many simulations a block takes in training: here, as many as elsewhere."""
        return cls.num_simulations(num_tasks, num_episodes)

    @classmethod
    def concluding_steps(cls, total_steps: int) -> int:
        """Return how many control steps of a budget are kept for `conclude`."""
        return min(int(cls.concluding_share * total_steps), MOST_CONCLUDING_STEPS)

    def num_adaptation_episodes(self, iteration: int) -> int:
        """Return from how many episodes of a task an adaptation step of a meta-iteration learns."""
        del iteration
        return self.config.block_shape[1]

    @property
    def needs_rewards(self) -> bool:
        """Whether `adapt` reads the rewards of the episodes; if not, its policy takes NaN too."""
        return True

    @property
    def needs_log_probs(self) -> bool:
        """Whether `adapt` reads the log-probabilities of the policy that acted in the episodes."""
        return False

    @property
    def exploring_policy(self) -> PolicyT:
        """The policy as it explores in adaptation episodes: as it is, unless an algorithm says."""
        return self.policy

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) for adaptation, in the unit of the return.

        Args:
            params: Parameters the episodes were collected with, each leaf (N, ...).
            episodes: Adaptation episodes (N, E, T).
        """
        del params
        config = self.config
        return estimate_advantages(
            self.policy, episodes, discount=config.discount, gae_lambda=config.gae_lambda
        )

    def tell(self, codes: Tensor, guesses: Tensor) -> Tensor:
        """Return what training tells the policy in each post-update episode, (N, E, C).

        Args:
            codes: The tasks as the oracle observes them, (N, C).
            guesses: Uniforms in [0, 1), (N, E), for those episodes that are told another task.
        """
        return codes[:, None].expand(*guesses.shape, -1)

    def tell_at_the_end(self, codes: Tensor, guesses: Tensor) -> Tensor:
        """Return what it is told in the episodes that `conclude` learns from, as `tell`."""
        return self.tell(codes, guesses)

    @abstractmethod
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Learn from a block of adaptation episodes, and keep no graph.

        Args:
            params: Parameters the episodes were collected with, each leaf (N, ...).
            episodes: Adaptation episodes (N, E, T) of the `exploring_policy`.
            advantages: Their advantages (N, E, T), from `adaptation_advantages`.

        Returns:
            Adapted parameters, each leaf (N, ...).
        """

    def adapted_state(self, before: Params, adapted: Params) -> Tensor:
        """Return what adaptation has changed, as a row for every task, (N, F).

        Args:
            before: Parameters before adapting, each leaf (N, ...).
            adapted: Parameters after, likewise.
        """
        changes = [
            (adapted[name] - leaf).flatten(1)
            for name, leaf in before.items()
            if not torch.equal(adapted[name], leaf)
        ]
        nothing = torch.zeros(len(next(iter(before.values()))), 1)
        return torch.cat(changes, dim=1) if changes else nothing

    def belief(self, params: Params) -> Belief | None:
        """Return what it takes the tasks for, given each leaf (N, ...); None if it weighs none."""
        del params
        return None

    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) that a meta-update climbs, on the scale that is configured.

        Args:
            params: Parameters the episodes were collected with, each leaf (N, ...).
            episodes: Post-update episodes (N, E, T) of this process' tasks.
        """
        del params
        config = self.config
        advantages = estimate_advantages(
            self.policy, episodes, discount=config.discount, gae_lambda=config.gae_lambda
        )
        return self.scale_outer(advantages, episodes.mask)

    def scale_outer(self, advantages: Tensor, mask: Tensor) -> Tensor:
        """Put advantages (N, E, T) on one scale for all tasks, or on one for each."""
        if self.config.normalise_outer:
            return normalise_per_task(advantages, mask)
        return scale_over_tasks(advantages, mask, self.workers)

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the episodes before anything was learned about the tasks, and the last ones."""
        return batch.blocks[0], batch.post_episodes

    @abstractmethod
    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Improve the initialisation.

        Args:
            params: θ, each leaf in its own shape.
            batch: Episodes of this process' tasks, from θ and from the policies adapted from it.

        Returns:
            The new θ and a report. Where a number is not finite, θ is returned as it came.
        """

    def conclude(
        self, params: Params, batches: Sequence[MetaBatch], watch: Callable[[float], None]
    ) -> Params:
        """Learn what has to wait until the policy stays as it is; here, nothing.

        Args:
            params: θ as meta-training has left it.
            batches: Of the last part of the budget, all collected with θ.
            watch: Takes the share of the work that is done, now and then.

        Returns:
            What the trained policy is.
        """
        del batches, watch
        return params

    def state(self) -> dict[str, Tensor]:
        """Return what training depends on besides θ, such as an optimiser's moments."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        del state


class Collect(Protocol):
    """Collects a block of adaptation episodes, wherever they come from."""

    def __call__(self, step: int, policy: GaussianPolicy, params: Params, /) -> Episodes:
        """Return episodes (N, E, T).

        Args:
            step: Adaptation steps taken before.
            policy: The policy that explores.
            params: Its parameters, each leaf (N, ...).
        """
        ...


class AdaptationStep(NamedTuple):
    """What one adaptation step learned from, and what it led to."""

    episodes: Episodes
    """Adaptation episodes (N, E, T)."""
    advantages: Tensor
    """Their advantages (N, E, T)."""
    params: Params
    """Adapted parameters, each leaf (N, ...)."""


def adapt_in_steps(
    algorithm: Algorithm[Any],
    params: Params,
    num_steps: int,
    collect: Collect,
    later_step_length: float = 1.0,
) -> Iterator[AdaptationStep]:
    """Collect adaptation episodes and adapt to them, again and again.

    Args:
        algorithm: How a block of episodes is learned from.
        params: Parameters to begin with, each leaf (N, ...).
        num_steps: K, adaptation steps.
        collect: Collects the episodes of a step.
        later_step_length: How far every step after the first goes, as a part of the whole step.

    Yields:
        Every adaptation step, as soon as it is taken.
    """
    for step in range(num_steps):
        episodes = collect(step, algorithm.exploring_policy, params)
        _, advantages, adapted = adapt_once(algorithm, params, episodes)
        if step > 0 and later_step_length != 1.0:
            adapted = _part_of_the_way(params, adapted, later_step_length)
        params = adapted
        yield AdaptationStep(episodes, advantages, params)


def adapt_once(algorithm: Algorithm[Any], params: Params, episodes: Episodes) -> AdaptationStep:
    """Learn from one block of adaptation episodes.

    Args:
        algorithm: How it is learned from.
        params: Parameters the episodes were collected with, each leaf (N, ...).
        episodes: Adaptation episodes (N, E, T).

    Raises:
        ValueError: The algorithm returns other names or shapes than those of the parameters.
    """
    advantages = algorithm.adaptation_advantages(params, episodes)
    adapted = algorithm.adapt(params, episodes, advantages)
    if wrong := _what_is_wrong(params, adapted):
        raise ValueError(f"{algorithm.config.algorithm}.adapt {wrong}")
    return AdaptationStep(episodes, advantages, adapted)


def _what_is_wrong(params: Params, adapted: Any) -> str | None:
    """Say in which name or shape adapted parameters differ from those before; None for nothing."""
    if not isinstance(adapted, Mapping):
        return f"must return the adapted parameters as a dict, got a {type(adapted).__name__}"
    if lacking := [name for name in params if name not in adapted]:
        return f"must return every leaf of the parameters, but {lacking[0]} is missing"
    if unknown := [name for name in adapted if name not in params]:
        return f"must return the leaves of the parameters alone, got {show(unknown[0])} as well"
    for name, leaf in params.items():
        found = getattr(adapted[name], "shape", None)
        if found != leaf.shape:
            got = type(adapted[name]).__name__ if found is None else tuple(found)
            return f"must return {name} as a tensor of shape {tuple(leaf.shape)}, got {got}"
    return None


def _part_of_the_way(start: Params, end: Params, part: float) -> Params:
    """Return the parameters at a part of the way from start to end."""
    return {name: torch.lerp(leaf, end[name], part) for name, leaf in start.items()}


def tasks_of(config: TrainConfig) -> TaskDistribution:
    """Return the tasks of what is trained on: the family, or a variant of it."""
    return (config.variant or find_family(config.env_id)).distribution


def spread_codes(config: TrainConfig, points: np.ndarray) -> Tensor:
    """Return the tasks at points (Q, P) of the box that holds all splits, as told, (Q, C)."""
    tasks = tasks_of(config).spread(points)
    return torch.from_numpy(find_family(config.env_id).distribution.encode(tasks)).float()


ToldT = TypeVar("ToldT", LatentPolicy, TeacherStudentPolicy)


class ToldLearner(SurrogateObjective, Algorithm[ToldT]):
    """Improves its policy by TRPO on those episodes of a task that are told it, which come first.

    The others show something else, from which another part of the parameters learns.
    """

    is_told: ClassVar[bool] = True

    @abstractmethod
    def num_told(self, num_episodes: int) -> int:
        """Return how many episodes of a task are told the task."""

    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T); 0 in episodes that are not told the task."""
        told = episodes.first(self.num_told(episodes.num_episodes))
        advantages = super().outer_advantages(params, told)
        others = torch.zeros_like(episodes.rewards[:, told.num_episodes :])
        return torch.cat([advantages, others], dim=1)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_θ given what was told: mean (N, E, T, A) and log_std (N, A)."""
        told = {**params, TOLD: told_in(batch)}
        return self.policy.distribution(told, batch.post_episodes.observations)

    def improve_acting(
        self, params: Params, batch: MetaBatch, options: TrustRegion
    ) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the parameters that decide how the policy acts."""
        told = batch.first(self.num_told(batch.post_episodes.num_episodes))
        acting = self.policy.acting_params(params)
        return trpo_update(self, acting, told, options, self.workers)


def told_in(batch: MetaBatch) -> Tensor:
    """Return what was told in each post-update episode, (N, E, C)."""
    if batch.told is None:
        raise ValueError("the policy must be told the task in training")
    return batch.told
