"""Base of all algorithms: adaptation to a task, and training over tasks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from metarobot.config import MOST_KL, AlgorithmOptions, TrainConfig
from metarobot.envs import TaskDistribution, TaskParameter, find_family
from metarobot.envs.checks import show
from metarobot.learning.adam import AdamState
from metarobot.learning.advantages import estimate_advantages, normalise_per_task, scale_over_tasks
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.meta_update import MetaBatch, SurrogateObjective, UpdateReport
from metarobot.learning.trpo import trpo_update
from metarobot.policies import MIN_STD, Distribution, GaussianMLP, GaussianPolicy, Params
from metarobot.policies.mlp import ConditionedMLP
from metarobot.policies.params import TASK_CODE
from metarobot.policies.posterior import weighted_band, weighted_rank
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, torch_generator

PolicyT = TypeVar("PolicyT", bound=GaussianPolicy)
MOST_FINISH_STEPS = 1_000_000
"""Control steps that are kept in memory at the end of a training, at most."""

WORTHWHILE = 0.05
"""Gain in return for which another episode is run, in standard deviations of training's returns."""

TOLD_KL = 3.0
"""Factor of `max_kl` once a policy that began without the task is told it: it has far to go."""


class Belief(NamedTuple):
    """Posterior of an algorithm over K candidate tasks, for each of N tasks."""

    codes: Tensor
    """K tasks as the oracle observes them, (N, K, C)."""
    weights: Tensor
    """(N, K), each row sums to 1."""
    is_used: Tensor
    """Whether the policy acts on it, (N,) bool."""
    misfit: Tensor
    """Error on the reward and on the change of each observation element, as a share of the largest
    one on training tasks, (N, 1 + O): above 1 the family does not explain it."""
    band_scale: Tensor
    """Factor by which a band of each parameter is wider than its weights say, (N, P)."""
    gain: Tensor
    """Gain in return that it expects of acting on it, over acting without, (N,)."""
    worth_of_knowing: Tensor
    """Gain in return that it expects of being told the task, over acting as now, (N,)."""
    training_returns: Tensor
    """Mean and standard deviation of returns on training tasks, (N, 2)."""
    corrects: Tensor
    """Whether the policy repeats a motion with corrections learned from its errors, (N,) bool."""
    errors_fall: Tensor
    """Whether the errors of that motion still fall from episode to episode, (N,) bool."""

    @property
    def fits(self) -> Tensor:
        """Whether the family explains the robot, (N,) bool."""
        return (self.misfit <= 1.0).all(1)

    @property
    def more_pays(self) -> Tensor:
        """Whether more episodes are expected to pay, (N,) bool; not where nothing fits."""
        worthwhile = self.worth_of_knowing > WORTHWHILE * self.training_returns[:, 1]
        return torch.where(self.corrects, self.errors_fall, self.fits & worthwhile)

    def bands(self, distribution: TaskDistribution) -> dict[str, np.ndarray]:
        """Return the 5 % quantile, median and 95 % quantile of each parameter, (N, 3), in its unit.

        They are calibrated on training tasks. Angles are unwrapped about their median.

        Args:
            distribution: That of the family, whose scale task codes have.
        """
        codes, weights = self.codes.double().numpy(), self.weights.double().numpy()
        bands = dict[str, np.ndarray]()
        for index, parameter in enumerate(distribution.parameters):
            columns = distribution.encoded_columns[parameter.name]
            values = _on_a_line(parameter, codes[..., columns])
            rows = [
                weighted_band(*row, circular=parameter.circular)
                for row in zip(values, weights, strict=True)
            ]
            low, middle, high = np.transpose(rows)
            scale = self.band_scale[:, index].double().numpy()
            band = np.stack(
                [middle - scale * (middle - low), middle, middle + scale * (high - middle)]
            )
            if not parameter.circular:
                edges = distribution[parameter.name].encoded_bounds[:, 0]
                band = parameter.decode(band.clip(*edges).reshape(-1, 1)).reshape(3, -1)
            bands[parameter.name] = band.T
        return bands

    def ranks(self, distribution: TaskDistribution, codes: Tensor) -> np.ndarray:
        """Return the belief that each parameter lies below its true value, 0 to 1, (N, P).

        A true belief makes ranks that are uniform over tasks, and its 90 % bands are the ranks from
        0.05 to 0.95.

        Args:
            distribution: That of the family, whose scale task codes have.
            codes: The tasks, (N, C).

        Source: Talts et al. 2018, arXiv:1804.06788.
        """
        ranks = np.empty((len(codes), len(distribution.parameters)))
        weights = self.weights.double().numpy()
        for index, parameter in enumerate(distribution.parameters):
            columns = distribution.encoded_columns[parameter.name]
            values = _on_a_line(parameter, self.codes.double().numpy()[..., columns])
            true = _on_a_line(parameter, codes.double().numpy()[:, columns])
            for row, number in enumerate(true):
                scale = float(self.band_scale[row, index])
                ranks[row, index] = weighted_rank(
                    number, values[row], weights[row], scale, circular=parameter.circular
                )
        return ranks


def _on_a_line(parameter: TaskParameter, columns: np.ndarray) -> np.ndarray:
    """Return the values (...) of a parameter's columns of a task code (..., 1 or 2)."""
    return np.arctan2(columns[..., 1], columns[..., 0]) if parameter.circular else columns[..., 0]


class Algorithm(ABC, Generic[PolicyT]):
    """An algorithm: adapts a policy to a task, and trains it over tasks.

    Args:
        config: Configuration of its training.
        policy: The policy's functional module, from `make_policy`.
        workers: The processes that share its training; each holds some tasks of a meta-batch.
    """

    title: ClassVar[str]
    """Its name in tables and figures."""
    options_class: ClassVar[type[AlgorithmOptions]]
    """Dataclass of its options, besides the common configuration."""
    policy_class: ClassVar[Callable[..., GaussianPolicy]] = GaussianMLP
    """The policy's class, which `make_policy` lays out."""
    adapts: ClassVar[bool] = True
    """Whether it learns from adaptation episodes; references for comparison do not."""
    in_sequence: ClassVar[bool] = False
    """Whether adaptation episodes of a task follow each other, as its policy remembers them."""
    reads_advantages: ClassVar[bool] = True
    """Whether `adapt` reads advantages; if not, they are 0."""
    needs_rewards: ClassVar[bool] = True
    """Whether `adapt` reads the rewards of the episodes; if not, its policy takes NaN too."""
    observes_task: ClassVar[bool] = False
    """Whether its policy observes the task parameters."""
    gives_task_codes: ClassVar[bool] = False
    """Whether training gives its policy a task code in each episode, by `task_codes`."""
    finish_share: ClassVar[float] = 0.0
    """Share of the budget for `finish`, limited by `MOST_FINISH_STEPS`."""

    def __init__(self, config: TrainConfig, policy: PolicyT, workers: Workers = ALONE) -> None:
        self.config = config
        self.policy = policy
        self.workers = workers
        self.moments = AdamState.fresh({})
        """Running moments of its Adam, if it has one."""

    @property
    def options(self) -> Any:
        """Its options, an `options_class`."""
        return self.config.options

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
        return policy.with_min_std(getattr(config.options, "min_std", MIN_STD))

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return further arguments of `policy_class`."""
        del config
        return {}

    @classmethod
    def num_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return the number of simulations of a block of adaptation episodes."""
        return num_tasks if cls.in_sequence else num_tasks * num_episodes

    @classmethod
    def num_training_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return the number of simulations of a block in training: with task codes, one each."""
        return (
            num_tasks * num_episodes
            if cls.gives_task_codes
            else cls.num_simulations(num_tasks, num_episodes)
        )

    @classmethod
    def finish_steps(cls, total_steps: int) -> int:
        """Return the number of control steps of a budget that are kept for `finish`."""
        return min(int(cls.finish_share * total_steps), MOST_FINISH_STEPS)

    def num_adaptation_episodes(self, iteration: int) -> int:
        """Return the episodes of a task that an adaptation step of a meta-iteration learns from."""
        del iteration
        return self.config.block_shape[1]

    @property
    def needs_log_probs(self) -> bool:
        """Whether `adapt` reads the log-probabilities of the policy that acted in the episodes."""
        return False

    @property
    def exploring_policy(self) -> PolicyT:
        """The policy in adaptation episodes: with the floor `adaptation_min_std` of its noise."""
        floor = getattr(self.config.options, "adaptation_min_std", None)
        return self.policy if floor is None else self.policy.with_min_std(floor)

    def adaptation_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) for adaptation, in the unit of the return; see `adapt`."""
        del params
        if not self.reads_advantages:
            return torch.zeros_like(episodes.rewards)
        return self.advantages(episodes)

    def advantages(self, episodes: Episodes, value_prior: Tensor | None = None) -> Tensor:
        """Estimate advantages (N, E, T) from a value baseline fitted per task."""
        config = self.config
        return estimate_advantages(
            self.policy,
            episodes,
            discount=config.discount,
            gae_lambda=config.gae_lambda,
            value_prior=value_prior,
        )

    def task_codes(
        self, codes: Tensor, uniforms: Tensor, spent: float, *, finishing: bool = False
    ) -> Tensor:
        """Return the task codes of the policy in training's post-update episodes, (N, E, C).

        Args:
            codes: The tasks as the oracle observes them, (N, C).
            spent: Share of the meta-iterations' budget that is spent.
            uniforms: In [0, 1), (N, E), for those episodes that are given another task's code.
            finishing: Whether `finish` learns from the episodes.
        """
        del spent, finishing
        return codes[:, None].expand(*uniforms.shape, -1)

    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Learn from a block of adaptation episodes, and keep no graph; here, nothing adapts.

        Args:
            params: Parameters the episodes were collected with, each leaf (N, ...).
            episodes: Adaptation episodes (N, E, T) of the `exploring_policy`.
            advantages: Their advantages (N, E, T), from `adaptation_advantages`.

        Returns:
            Adapted parameters, each leaf (N, ...).
        """
        del episodes, advantages
        return params

    def adapt_to_first(
        self, params: Params, episodes: Episodes, numbers: Sequence[int]
    ) -> dict[int, Params]:
        """Return what `adapt` makes of the first episodes of a block, by their number.

        Args:
            params: As of `adapt`.
            episodes: As of `adapt`.
            numbers: Numbers of episodes, from 1 to E.
        """
        return {
            number: adapt_once(self, params, episodes.first(number)).params for number in numbers
        }

    def adapted_state(self, before: Params, adapted: Params) -> Tensor:
        """Return the changes by adaptation as a row for every task, (N, F), of leaves (N, ...)."""
        changes = [
            (adapted[name] - leaf).flatten(1)
            for name, leaf in before.items()
            if not torch.equal(adapted[name], leaf)
        ]
        nothing = torch.zeros(len(next(iter(before.values()))), 1)
        return torch.cat(changes, dim=1) if changes else nothing

    def belief(self, params: Params) -> Belief | None:
        """Return its posterior over tasks, given each leaf (N, ...); None if it has none."""
        del params
        return None

    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) that a meta-update climbs, on the scale that is configured.

        The episodes are post-update ones of this process' tasks, of parameters with leaves (N,
        ...).
        """
        del params
        return self.scale_outer(self.advantages(episodes), episodes.mask)

    def scale_outer(self, advantages: Tensor, mask: Tensor) -> Tensor:
        """Put advantages (N, E, T) on one scale for all tasks, or on one for each."""
        if self.config.normalise_outer:
            return normalise_per_task(advantages, mask)
        return scale_over_tasks(advantages, mask, self.workers)

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the episodes before adaptation, and the last ones."""
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

    def is_careful(self, spent: float) -> bool:
        """Whether a policy that observes the task learns without it, at this share of the budget.

        One that is told many task parameters from the start learns more slowly than one that is
        told none; and a policy that is not told is needed where the task is not known.
        """
        return spent < self.options.share_without_task

    def end_careful(self, params: Params) -> Params:
        """Return the parameters with which the policy begins to be told: with the first noise."""
        least = math.log(self.config.initial_std)
        return {**params, "log_std": params["log_std"].clamp(min=least)}

    @classmethod
    def calibration_shape(cls, total_steps: int, horizon: int) -> tuple[int, int]:
        """Return the training tasks, and the adaptation episodes on each, for `calibrate`; or 0."""
        del total_steps, horizon
        return 0, 0

    def calibrate(self, params: Params, codes: Tensor, episodes: Episodes) -> Params:
        """Measure the errors of adaptation on training tasks, when all else is trained.

        Args:
            params: θ as `finish` has left it.
            codes: The tasks, (N, C).
            episodes: Adaptation episodes (N, E, T) of the exploring policy on them.
        """
        del codes, episodes
        return params

    def begin_finish(self, params: Params) -> Params:
        """Return the parameters that the episodes of `finish` are collected with; here, θ."""
        return params

    def finish(
        self, params: Params, batches: Sequence[MetaBatch], watch: Callable[[float], None]
    ) -> Params:
        """Learn the parts that need a fixed policy; here, nothing.

        Args:
            params: θ as meta-training has left it.
            batches: Meta-batches of the last part of the budget, all collected with θ.
            watch: Called from time to time with the share of the work that is done.
        """
        del batches, watch
        return params

    def state(self) -> dict[str, Tensor]:
        """Return the state of training besides θ: the moments of an optimiser, if any."""
        return self.moments.to_tensors() if self.moments.first else {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state."""
        if self.moments.first:
            self.moments = AdamState.from_tensors(state)


class TrpoLearner(SurrogateObjective, Algorithm[PolicyT]):
    """Improves the surrogate of its adapted policies by TRPO; here, of a policy as it is."""

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations: mean (N, E, T, A), log_std (N, A)."""
        policy = cast(GaussianMLP, self.policy)
        return policy.distribution(params, batch.post_episodes.observations)

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        region = self.options
        if region.share_without_task and not self.is_careful(batch.spent):
            region = replace(region, max_kl=min(TOLD_KL * region.max_kl, MOST_KL))
        return trpo_update(self, params, batch, region, self.workers)


ConditionedT = TypeVar("ConditionedT", bound=ConditionedMLP)


class TaskCodeLearner(TrpoLearner[ConditionedT]):
    """Improves its policy by TRPO on those episodes that have the task's code, which come first.

    The policy's second network learns from the others.
    """

    gives_task_codes = True

    @abstractmethod
    def num_with_code(self, num_episodes: int) -> int:
        """Return the number of episodes of a task that have its code."""

    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T); 0 in episodes without the task's code."""
        task_codes = episodes.first(self.num_with_code(episodes.num_episodes))
        advantages = super().outer_advantages(params, task_codes)
        others = torch.zeros_like(episodes.rewards[:, task_codes.num_episodes :])
        return torch.cat([advantages, others], dim=1)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_θ given the task codes: mean (N, E, T, A) and log_std (N, A)."""
        return super().adapted_distribution({**params, TASK_CODE: task_codes_of(batch)}, batch)

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the parameters that decide how the policy acts."""
        task_codes = batch.first(self.num_with_code(batch.post_episodes.num_episodes))
        acting, report = super().update(self.policy.acting_params(params), task_codes)
        return {**params, **acting}, report


def task_codes_of(batch: MetaBatch) -> Tensor:
    """Return the task codes in post-update episodes, (N, E, C)."""
    if batch.task_codes is None:
        raise ValueError("the policy needs task codes in training")
    return batch.task_codes


def tasks_of(config: TrainConfig) -> TaskDistribution:
    """Return the task distribution of training: that of the family, or of a variant."""
    return (config.variant or find_family(config.env_id)).distribution


def task_grid(config: TrainConfig, points: np.ndarray) -> Tensor:
    """Return the codes (Q, C) of the tasks at points (Q, P) of the box that holds all splits."""
    tasks = tasks_of(config).spread(points)
    return torch.from_numpy(find_family(config.env_id).distribution.encode(tasks)).float()


def sobol_points(num_parameters: int, number: int) -> np.ndarray:
    """Return points of Sobol's sequence, which cover the unit box evenly, (number, P)."""
    return SobolEngine(num_parameters).draw(number, dtype=torch.float64).numpy()


Collect = Callable[[int, GaussianPolicy, Params], Episodes]
"""Collects a block of adaptation episodes (N, E, T), wherever they come from, by the adaptation
steps taken before, the policy that explores, and its parameters, each leaf (N, ...)."""


class AdaptationStep(NamedTuple):
    """Data and result of one adaptation step."""

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
    steps_before: int = 0,
) -> Iterator[AdaptationStep]:
    """Collect adaptation episodes and adapt to them, again and again; yield every step.

    Args:
        algorithm: Algorithm that adapts.
        params: Parameters to begin with, each leaf (N, ...).
        num_steps: K, adaptation steps, with those before.
        collect: Collects the episodes of a step.
        later_step_length: Length of every step after the first, as a share of the whole step.
        steps_before: Steps that have led to the parameters.
    """
    for step in range(steps_before, num_steps):
        taken = adapt_once(algorithm, params, collect(step, algorithm.exploring_policy, params))
        if step > 0 and later_step_length != 1.0:
            part = {
                name: torch.lerp(leaf, taken.params[name], later_step_length)
                for name, leaf in params.items()
            }
            taken = taken._replace(params=part)
        params = taken.params
        yield taken


def adapt_once(algorithm: Algorithm[Any], params: Params, episodes: Episodes) -> AdaptationStep:
    """Learn from one block of adaptation episodes (N, E, T), collected with leaves (N, ...).

    Raises:
        ValueError: The algorithm returns other names or shapes than those of the parameters.
    """
    advantages = algorithm.adaptation_advantages(params, episodes)
    adapted = algorithm.adapt(params, episodes, advantages)
    shapes = {name: tuple(leaf.shape) for name, leaf in params.items()}
    leaves = adapted.items() if isinstance(adapted, Mapping) else ()
    found = {name: tuple(getattr(leaf, "shape", ())) for name, leaf in leaves}
    for name in {**shapes, **found}:
        is_now, wanted = found.get(name, "missing"), shapes.get(name, "left out")
        if is_now != wanted:
            raise ValueError(
                f"{algorithm.config.algorithm}.adapt must return the leaves of the parameters in "
                f"their shapes: {show(name)} is {is_now}, must be {wanted}"
            )
    return AdaptationStep(episodes, advantages, adapted)


def initial_params(config: TrainConfig, policy: GaussianPolicy) -> Params:
    """Draw the parameters that training begins with."""
    return policy.initial_params(torch_generator(config.seed, 0, Phase.INITIALISATION))
