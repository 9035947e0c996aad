"""References that nobody has trained: what they start from, and what is measured for them."""

from dataclasses import replace

import pytest
import torch

from metarobot.algorithms import make_policy, train_config
from metarobot.algorithms.base import adapt_once, initial_params
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import (
    STEP_SIZE_FACTORS,
    fine_tuning,
    from_scratch,
    prepare,
    with_adaptation_statistics,
    with_step_sizes,
)
from metarobot.evaluation.task_set import TaskSet
from metarobot.learning.inner_loop import VALUE_PRIOR
from metarobot.policies import repeat_params
from metarobot.training.load import TrainedPolicy

OPTIONS = train_config("maml").options
NUM_EPISODES = 4


@pytest.fixture(scope="module")
def randomised() -> TrainedPolicy:
    """A policy of domain randomisation, trained to anything."""
    config = train_config("domain_randomisation", hidden_sizes=(4,), seed=1)
    policy = make_policy(config)
    return TrainedPolicy(policy, initial_params(replace(config, seed=2), policy), config)


@pytest.fixture(scope="module")
def task_set() -> TaskSet:
    return TaskSet.of_split(
        train_config("maml").env_id, "train", EvaluationConfig(num_tasks=3, test_episodes=1)
    )


def test_fine_tuning_starts_where_domain_randomisation_ended(randomised):
    tuned, fresh = fine_tuning(randomised, OPTIONS), from_scratch(randomised, OPTIONS)
    for name, leaf in randomised.params.items():
        assert torch.equal(tuned.params[name], leaf)
    assert tuned.config == replace(randomised.config, algorithm="maml", options=OPTIONS)
    weights = fresh.params["layers.0.weight"]
    assert not torch.equal(weights, randomised.params["layers.0.weight"])
    assert torch.equal(weights, from_scratch(randomised, OPTIONS).params["layers.0.weight"])


def test_a_single_episode_moves_it_only_with_what_was_measured(randomised, task_set):
    start = fine_tuning(randomised, OPTIONS)
    episodes = task_set.explore(start, NUM_EPISODES)

    def moves(policy):
        tasks = repeat_params(policy.params, episodes.num_tasks)
        adapted = adapt_once(policy.algorithm, tasks, episodes.first(1)).params
        return not torch.equal(adapted["layers.0.weight"], tasks["layers.0.weight"])

    assert not moves(start)
    assert moves(with_adaptation_statistics(start, episodes))


def test_it_gets_the_step_size_that_suits_it(randomised, task_set):
    start = from_scratch(randomised, OPTIONS)
    sizes = [each.config.options.inner_lr for each in with_step_sizes(start)]
    assert sizes == [factor * OPTIONS.inner_lr for factor in STEP_SIZE_FACTORS]
    episodes = task_set.explore(start, NUM_EPISODES)
    returns = {}
    for each in with_step_sizes(start):
        known = with_adaptation_statistics(each, episodes)
        _, after = task_set.score_by_episodes("maml", known, (NUM_EPISODES,))
        returns[each.config.options.inner_lr] = after.returns.mean()
    assert len(set(returns.values())) == len(sizes)
    chosen = prepare(start, task_set, NUM_EPISODES)
    assert chosen.config.options.inner_lr == max(returns, key=returns.get)
    assert bool(chosen.params[VALUE_PRIOR].any())
