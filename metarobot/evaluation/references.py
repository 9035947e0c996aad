"""The references of the protocol: what adaptation is held against, made of trained policies.

Domain randomisation and the oracle are trained; the others are not trained for themselves.
`TOLD_ORACLES` estimate the task input of a trained oracle. `STARTS` adapt by MAML's inner loop on
the same adaptation episodes as the learners do: from what domain randomisation has learned, and
from the parameters that training began with. What MAML measures while it is trained, how noisy a
step is, how long one would be without noise, and what values are like, is measured for them on
tasks of the training range that nothing is reported on. Their step size is chosen there too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import cast

from metarobot.algorithms import Algorithm, configure, initial_params, make_policy
from metarobot.algorithms.maml import GradientLearner, MamlOptions
from metarobot.algorithms.references import Identification, StrategySearch
from metarobot.config import find_preset
from metarobot.envs import find_family
from metarobot.evaluation.protocol import (
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
"""Tasks on which references are prepared are drawn with another seed than those reported on."""
_TUNING_TASKS = 20


def measured_names(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return who is measured: everybody in a run, and those asked for that need no training.

    A reference needs the trained policy that it is made of. Where rewards are hidden, those that
    need them are left out.

    Raises:
        ValueError: Nobody who adapts is left.
    """
    left_out = names_left_out(run, config)
    there = [name for name in _asked_for(run, config) if name not in left_out]
    if left_out and not {*there} & {*run.learners}:
        needing = ", ".join(left_out)
        raise ValueError(f"without rewards nobody adapts: they are needed by {needing}")
    return there


def names_left_out(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return who would be measured if rewards were not hidden, in the order of tables.

    The references that adapt though nobody has trained them for that all need rewards.
    """
    if config.rewards == "seen":
        return []
    needing = [n for n in run.learners if run.policies[n].algorithm.needs_rewards]
    return [name for name in _asked_for(run, config) if name in MADE_OF or name in needing]


def _asked_for(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    asked = [name for name in config.untrained if name == RANDOM or MADE_OF[name] in run.policies]
    return in_order([*asked, *run.policies])


def find_policy(name: str, run: TrainedRun, config: EvaluationConfig) -> TrainedPolicy:
    """Return who goes by a name; a reference that is not trained gets the step size that suits it.

    Args:
        name: A name of `measured_names`, but not that of random actions.
        run: Where the trained policies are.
        config: How policies are measured.
    """
    if name in run.policies:
        return run.policies[name]
    if name in TOLD_ORACLES:
        return make_told_oracle(name, run.policies[ORACLE])
    # As MAML adapts in the run; as the family's preset says where it was not trained.
    maml = run.policies["maml"].config if "maml" in run.policies else None
    options = (maml or configure(find_preset(run.env_id), "maml")).options
    tuning = replace(config, seed=config.seed + _TUNING_SEED_SHIFT, num_tasks=_TUNING_TASKS)
    task_set = TaskSet.of_split(run.env_id, "train", tuning, scene=run.scene)
    start = STARTS[name](run.policies[NEVER_ADAPTS], cast(MamlOptions, options))
    return prepare(start, task_set, config.episodes_per_block)


TOLD_ORACLES: dict[str, type[StrategySearch]] = {
    "strategy_search": StrategySearch,
    "identification": Identification,
}
"""Those there are, by name."""


@dataclass(frozen=True, kw_only=True)
class TrainedToldOracle(TrainedPolicy):
    """A trained oracle that adapts though nobody has trained it for that."""

    reference: type[StrategySearch]
    """How it finds out what to tell the oracle."""

    @cached_property
    def algorithm(self) -> Algorithm:
        """How it adapts."""
        return self.reference(self.config, cast(SearchingPolicy, self.policy))


def make_told_oracle(name: str, oracle: TrainedPolicy) -> TrainedPolicy:
    """Return the reference of this name, made of a trained oracle."""
    reference, config = TOLD_ORACLES[name], oracle.config
    family = find_family(config.env_id)
    low, high = family.observation_bounds(observe_task=True).tolist()
    policy = reference.make_policy(config, low, high, len(family.action_elements))
    search = reference(config, cast(SearchingPolicy, policy))
    own = {field.name: getattr(oracle, field.name) for field in fields(oracle)}
    own.update(policy=policy, params=search.beginning(oracle.params))
    return TrainedToldOracle(**own, reference=reference)


STEP_SIZE_FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Multiples of inner_lr among which a reference's step size is chosen."""


def from_scratch(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy that starts from the parameters that training began with."""
    config = replace(domain_randomisation.config, algorithm="maml", options=options)
    policy = make_policy(config)
    return TrainedPolicy(policy, initial_params(config, policy), config)


def fine_tuning(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy that starts from the policy of domain randomisation, and adapts it."""
    start = from_scratch(domain_randomisation, options)
    return replace(start, params={**start.params, **domain_randomisation.params})


STARTS = {"from_scratch": from_scratch, "fine_tuning": fine_tuning}
"""What each starts from, made of domain randomisation."""


def prepare(start: TrainedPolicy, task_set: TaskSet, num_episodes: int) -> TrainedPolicy:
    """Return a reference with the step size that suits it best, and what is measured of its steps.

    The presets' step size was chosen for MAML, and learned with; a reference gets its own.

    Args:
        start: A policy of `STARTS`.
        task_set: Tasks that nothing is reported on.
        num_episodes: E, adaptation episodes on each of them, in one block.
    """
    episodes = task_set.explore(start, num_episodes)
    candidates = [with_measured_leaves(each, episodes) for each in with_step_sizes(start)]
    return max(candidates, key=lambda each: task_set.return_after(each, episodes))


def with_step_sizes(start: TrainedPolicy) -> list[TrainedPolicy]:
    """Return the policy with each of the step sizes that it may get."""
    inner_lr = cast(MamlOptions, start.config.options).inner_lr
    sizes = [factor * inner_lr for factor in STEP_SIZE_FACTORS]
    return [replace(start, config=start.config.with_options(inner_lr=size)) for size in sizes]


def with_measured_leaves(start: TrainedPolicy, episodes: Episodes) -> TrainedPolicy:
    """Return a policy that knows of its adaptation steps what training measures.

    Args:
        start: A policy of `STARTS`.
        episodes: Adaptation episodes of its own (N, E, T), on other tasks than it is used on.
    """
    algorithm = cast(GradientLearner, start.algorithm)

    def measured(known: Params) -> Params:
        params = {**start.params, **known}
        tasks = repeat_params(params, episodes.num_tasks)
        advantages = algorithm.adaptation_advantages(tasks, episodes)
        return algorithm.measured(params, episodes, advantages)

    # Values first: advantages rest on them, and steps on advantages.
    values = {name: leaf for name, leaf in measured({}).items() if name == VALUE_PRIOR}
    return replace(start, params={**start.params, **measured(values)})
