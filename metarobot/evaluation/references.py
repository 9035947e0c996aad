"""The references of the protocol: what adaptation is held against.

This is the one place that names them. Domain randomisation and the oracle are trained; the others
are not trained for themselves. Those of `STARTS` adapt by MAML's inner loop, those of
`TOLD_ORACLES` use the trained oracle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from metarobot.algorithms import configure
from metarobot.algorithms.maml import MamlOptions
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.task_set import TaskSet
from metarobot.evaluation.told_oracles import TOLD_ORACLES, make_told_oracle
from metarobot.evaluation.untrained_adaptation import STARTS, prepare
from metarobot.presets import find_preset
from metarobot.training.load import TrainedPolicy, TrainedRun

RANDOM = "random"
"""Uniformly random actions."""
NEVER_ADAPTS = "domain_randomisation"
"""One policy for all tasks: the lower end of the headroom."""
ORACLE = "oracle"
"""The policy that is told the task: the upper end of the headroom."""

_TUNING_SEED_SHIFT = 1
"""Tasks on which references are prepared are drawn with another seed than those reported on."""
_TUNING_TASKS = 20

MADE_OF = {**dict.fromkeys(STARTS, NEVER_ADAPTS), **dict.fromkeys(TOLD_ORACLES, ORACLE)}
"""Which trained policy each reference is made of that adapts and is not trained itself."""


def in_order(algorithms: Iterable[str]) -> list[str]:
    """Return algorithms and references in the order of tables and pictures.

    References that are not told the task come first and the oracle last; the learners stand between
    them, in the order given; before the oracle come those that are made of it.
    """
    first, given = [RANDOM, "from_scratch", NEVER_ADAPTS, "fine_tuning"], list(algorithms)
    last = [*TOLD_ORACLES, ORACLE]
    learners = [name for name in given if name not in (*first, *last)]
    return [name for name in (*first, *learners, *last) if name in given]


def measured_names(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return who is measured: everybody in a run, and those asked for that need no training.

    A reference needs the trained policy that it is made of. Where rewards are hidden, those that
    need them are left out.

    Raises:
        ValueError: Nobody who adapts is left.
    """
    left_out = names_left_out(run, config)
    there = [name for name in _asked_for(run, config) if name not in left_out]
    if left_out and not any(_adapts(name, run) for name in there):
        needing = ", ".join(left_out)
        raise ValueError(f"without rewards nobody adapts: they are needed by {needing}")
    return there


def names_left_out(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return who would be measured if rewards were not hidden, in the order of tables.

    The references that adapt though nobody has trained them for that all need rewards.
    """
    if config.rewards == "seen":
        return []
    return [
        name
        for name in _asked_for(run, config)
        if name in MADE_OF or (_adapts(name, run) and run.policies[name].algorithm.needs_rewards)
    ]


def _asked_for(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    asked = [name for name in config.untrained if name == RANDOM or MADE_OF[name] in run.policies]
    return in_order([*asked, *run.policies])


def _adapts(name: str, run: TrainedRun) -> bool:
    return name in run.policies and run.policies[name].algorithm.adapts


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
    tuning = replace(config, seed=config.seed + _TUNING_SEED_SHIFT, num_tasks=_TUNING_TASKS)
    task_set = TaskSet.of_split(run.env_id, "train", tuning, scene=run.scene)
    start = STARTS[name](run.policies[NEVER_ADAPTS], _maml_options(run))
    return prepare(start, task_set, config.episodes_per_block)


def _maml_options(run: TrainedRun) -> MamlOptions:
    """Return how MAML adapts in a run; as the family's preset says where it was not trained."""
    if "maml" in run.policies:
        return cast(MamlOptions, run.policies["maml"].config.options)
    return cast(MamlOptions, configure(find_preset(run.env_id), "maml").options)
