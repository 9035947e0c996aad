"""How a policy does under the shipped variants of its family: noise, delay, pushes, a change.

A variant that leaves the ranges of tasks alone is measured on the same tasks as the family: those
of the split train, drawn with the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from metarobot.envs import Variant, find_variant, shipped_variants
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import NEVER_ADAPTS, measured_names
from metarobot.evaluation.result import UnderVariant
from metarobot.evaluation.scores import join_stages
from metarobot.evaluation.summary import plain_point
from metarobot.evaluation.task_set import TaskSet
from metarobot.training.load import TrainedRun

ROBUSTNESS_EPISODES = (1, 5)
"""Adaptation episodes after which policies are measured, besides before."""


def variants_of(env_id: str) -> list[Variant]:
    """Return the variants of a family that come with the package."""
    variants = [find_variant(name) for name in shipped_variants()]
    return [variant for variant in variants if variant.env_id == env_id]


def who_is_measured(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return who adapts, and the policy that never does, in the order of tables."""
    asked = measured_names(run, config)
    return [name for name in asked if name in (NEVER_ADAPTS, *run.learners)]


def measure_under(
    variant: Variant, runs: Sequence[TrainedRun], config: EvaluationConfig
) -> list[UnderVariant]:
    """Return what policies reach under a variant.

    Args:
        variant: A variant of their family.
        runs: One run per seed.
        config: How much is measured.
    """
    task_set = TaskSet.of_split(runs[0].env_id, "train", config, variant, runs[0].scene)
    found = []
    for name in who_is_measured(runs[0], config):
        seeds = [
            task_set.score_by_episodes(run.policies[name], ROBUSTNESS_EPISODES) for run in runs
        ]
        entry = UnderVariant(
            variant=variant.name,
            description=variant.description,
            other_tasks=variant.distribution != variant.vector_class.distribution,
            algorithm=name,
            points=tuple(
                plain_point(stage.num_episodes, stage.judged, config.seed)
                for stage in join_stages(seeds)
            ),
        )
        found.append(entry)
    return found
