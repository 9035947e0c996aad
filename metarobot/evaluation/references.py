"""The references of the protocol.

Domain randomisation and the oracle are trained; the others need no training of their own. Random
actions and iterative learning control need no trained policy either.
`ORACLE_REFERENCES` estimate the task input of a trained oracle. `STARTS` adapt by MAML's inner
loop on the same adaptation episodes as the learners: from the policy of domain randomisation, and
from initial parameters. Their adaptation statistics, which MAML measures in training (noise and
noise-free length of a step, values), are measured on training-range tasks that no result uses.
Their step size is chosen on the same tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import cast

from metarobot.algorithms import configure, make_policy
from metarobot.algorithms.base import Algorithm, initial_params
from metarobot.algorithms.iterative_learning import CorrectingPolicy, IterativeLearning
from metarobot.algorithms.maml import GradientLearner, MamlOptions
from metarobot.algorithms.references import Identification, StrategySearch
from metarobot.config import TrainConfig, find_preset
from metarobot.envs import find_family
from metarobot.evaluation.protocol import (
    ITERATIVE,
    MADE_OF,
    NEVER_ADAPTS,
    ORACLE,
    RANDOM,
    EvaluationConfig,
    in_order,
)
from metarobot.evaluation.task_set import TaskSet
from metarobot.learning.inner_loop import VALUE_PRIOR
from metarobot.policies import Params, repeat_params
from metarobot.policies.search import SearchingPolicy
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import TrainedPolicy, TrainedRun

_TUNING_SEED_SHIFT = 1
"""Added to the seed of the test tasks, so that references are prepared on different tasks."""
_TUNING_TASKS = 20


def measured_names(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return the names of the measured policies: all of a run and the requested references.

    A reference needs the trained policy that it is made from. Iterative learning control is
    measured wherever the family repeats a motion: it costs little. Hidden rewards exclude policies
    that need them to adapt.

    Raises:
        ValueError: No policy that adapts is left.
    """
    left_out = names_left_out(run, config)
    there = [name for name in _asked_for(run, config) if name not in left_out]
    if left_out and not {*there} & {*run.learners}:
        needing = ", ".join(left_out)
        raise ValueError(
            f"rewards 'hidden' leaves no policy that adapts: {needing} need rewards; use 'seen'"
        )
    return there


def names_left_out(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return the policies that hidden rewards exclude, in the order of tables.

    All references that are made from a trained policy need rewards.
    """
    if config.rewards == "seen":
        return []
    needing = [n for n in run.learners if run.policies[n].algorithm.needs_rewards]
    return [name for name in _asked_for(run, config) if name in MADE_OF or name in needing]


def _asked_for(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    asked = [name for name in config.untrained if name == RANDOM or MADE_OF[name] in run.policies]
    if find_family(run.env_id).repeated_motion:
        asked.append(ITERATIVE)
    return in_order([*asked, *run.policies])


def find_policy(name: str, run: TrainedRun, config: EvaluationConfig) -> TrainedPolicy:
    """Return a policy by name; prepare the step size of an untrained reference.

    Args:
        name: A name of `measured_names` other than random actions.
        run: Source of the trained policies.
        config: Extent of the measurement.
    """
    if name in run.policies:
        return run.policies[name]
    if name == ITERATIVE:
        return make_iterative_learning(run.config)
    if name in ORACLE_REFERENCES:
        return make_oracle_reference(name, run.policies[ORACLE])
    # Options of MAML in the run, or of the family's preset if the run has no MAML.
    maml = run.policies["maml"].config if "maml" in run.policies else None
    options = (maml or configure(find_preset(run.env_id), "maml")).options
    tuning = replace(config, seed=config.seed + _TUNING_SEED_SHIFT, num_tasks=_TUNING_TASKS)
    task_set = TaskSet.of_split(run.env_id, "train", tuning, scene=run.scene)
    start = STARTS[name](run.policies[NEVER_ADAPTS], cast(MamlOptions, options))
    return prepare(start, task_set, config.episodes_per_block)


@dataclass(frozen=True, kw_only=True)
class ReferencePolicy(TrainedPolicy):
    """A policy that an algorithm adapts which never trained it."""

    reference: type[Algorithm]
    """The algorithm."""

    @cached_property
    def algorithm(self) -> Algorithm:
        """The algorithm that adapts it."""
        return self.reference(self.config, self.policy)


def make_iterative_learning(config: TrainConfig) -> ReferencePolicy:
    """Return iterative learning control of a family, with no correction yet.

    Args:
        config: Configuration of any algorithm on the family.

    Raises:
        ValueError: The family repeats no motion in view of its errors.
    """
    policy = CorrectingPolicy(config)
    params = initial_params(config, policy)
    return ReferencePolicy(policy, params, config, reference=IterativeLearning)


ORACLE_REFERENCES: dict[str, type[StrategySearch]] = {
    "strategy_search": StrategySearch,
    "identification": Identification,
}
"""References that estimate the oracle's task input, by name."""


def make_oracle_reference(name: str, oracle: TrainedPolicy) -> TrainedPolicy:
    """Return the reference of this name, made from a trained oracle."""
    reference, config = ORACLE_REFERENCES[name], oracle.config
    family = find_family(config.env_id)
    low, high = family.observation_bounds(observe_task=True).tolist()
    policy = reference.make_policy(config, low, high, len(family.action_elements))
    search = reference(config, cast(SearchingPolicy, policy))
    own = {field.name: getattr(oracle, field.name) for field in fields(oracle)}
    own.update(policy=policy, params=search.beginning(oracle.params))
    return ReferencePolicy(**own, reference=reference)


STEP_SIZE_FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Candidate step sizes of a reference, as multiples of inner_lr."""


def from_scratch(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy that adapts from initial parameters."""
    config = replace(domain_randomisation.config, algorithm="maml", options=options)
    policy = make_policy(config)
    return TrainedPolicy(policy, initial_params(config, policy), config)


def fine_tuning(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy that adapts from the parameters of domain randomisation."""
    start = from_scratch(domain_randomisation, options)
    return replace(start, params={**start.params, **domain_randomisation.params})


STARTS = {"from_scratch": from_scratch, "fine_tuning": fine_tuning}
"""Functions that make the start of a reference from domain randomisation, by name."""


def prepare(start: TrainedPolicy, task_set: TaskSet, num_episodes: int) -> TrainedPolicy:
    """Return a reference with its best step size and its adaptation statistics.

    The presets' step size is tuned for MAML, so each reference gets its own.

    Args:
        start: A policy of `STARTS`.
        task_set: Tasks that no result uses.
        num_episodes: E, adaptation episodes on each of them, in one block.
    """
    episodes = task_set.explore(start, num_episodes)
    candidates = [with_adaptation_statistics(each, episodes) for each in with_step_sizes(start)]
    return max(candidates, key=lambda each: task_set.return_after(each, episodes))


def with_step_sizes(start: TrainedPolicy) -> list[TrainedPolicy]:
    """Return a copy of the policy for each candidate step size."""
    inner_lr = cast(MamlOptions, start.config.options).inner_lr
    sizes = [factor * inner_lr for factor in STEP_SIZE_FACTORS]
    return [replace(start, config=start.config.with_options(inner_lr=size)) for size in sizes]


def with_adaptation_statistics(start: TrainedPolicy, episodes: Episodes) -> TrainedPolicy:
    """Return a policy with the adaptation statistics that training would measure.

    Args:
        start: A policy of `STARTS`.
        episodes: Its own adaptation episodes (N, E, T), on other tasks than the test tasks.
    """
    algorithm = cast(GradientLearner, start.algorithm)

    def measured(known: Params) -> Params:
        params = {**start.params, **known}
        tasks = repeat_params(params, episodes.num_tasks)
        advantages = algorithm.adaptation_advantages(tasks, episodes)
        return algorithm.measured(params, episodes, advantages)

    # Values first: advantages need values, and steps need advantages.
    values = {name: leaf for name, leaf in measured({}).items() if name == VALUE_PRIOR}
    return replace(start, params={**start.params, **measured(values)})
