"""References that adapt though nobody has trained them for that.

Fine-tuning and learning from scratch adapt by MAML's inner loop on the same adaptation episodes as
the learners do: from what domain randomisation has learned, and from parameters that nobody has
prepared. What MAML measures while it is trained, how noisy a step is, how long one would be without
noise, and what values are like, is measured for them on tasks of the training range that nothing is
reported on. Their step size is chosen there too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from metarobot.algorithms.gradient_learner import GradientLearner
from metarobot.algorithms.maml import MamlOptions
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import VALUE_PRIOR, Params, repeat_params
from metarobot.rollout.episodes import Episodes
from metarobot.training.functional_policy import initial_params, make_policy
from metarobot.training.load import TrainedPolicy

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

    def return_after_one_step(trained: TrainedPolicy) -> float:
        return float(task_set.score_after(trained, episodes).returns.mean())

    candidates = [with_measured_leaves(each, episodes) for each in with_step_sizes(start)]
    return max(candidates, key=return_after_one_step)


def with_step_sizes(start: TrainedPolicy) -> list[TrainedPolicy]:
    """Return the policy with each of the step sizes that it may get."""
    inner_lr = cast(MamlOptions, start.config.options).inner_lr
    return [
        replace(start, config=start.config.with_options(inner_lr=factor * inner_lr))
        for factor in STEP_SIZE_FACTORS
    ]


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
