"""Whatever the algorithm, a training goes on as if never interrupted."""

import pytest
import torch
from fakes import FakeEnv, config_of

from metarobot.algorithms import ALGORITHMS
from metarobot.training.trainer import MetaTrainer, num_simulations


def trainer_of(algorithm, seed=0):
    config = config_of(
        algorithm=algorithm,
        seed=seed,
        num_tasks=4,
        episodes_per_task=4,
        hidden_sizes=(8,),
        adaptation_min_std=0.3,
    )
    return MetaTrainer(config, FakeEnv(num_simulations(config)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_halves_make_a_whole(algorithm):
    whole, first, second = (trainer_of(algorithm) for _ in range(3))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first.step()
    second.restore(first.state())
    for _ in range(2):
        second.step()
    expected, found = whole.state(), second.state()
    assert expected.counters == found.counters
    assert list(expected.tensors) == list(found.tensors)
    assert all(torch.equal(found.tensors[name], leaf) for name, leaf in expected.tensors.items())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_state_is_of_the_shapes_that_a_fresh_trainer_expects(algorithm):
    """So a checkpoint is checked against them before it is believed."""
    fresh, trained = trainer_of(algorithm), trainer_of(algorithm)
    shapes = {name: leaf.shape for name, leaf in fresh.state().tensors.items()}
    trained.step()
    assert {name: leaf.shape for name, leaf in trained.state().tensors.items()} == shapes
    assert all(leaf.is_cpu and leaf.isfinite().all() for leaf in trained.state().tensors.values())
