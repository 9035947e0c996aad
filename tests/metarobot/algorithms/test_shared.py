"""Whatever the algorithm, processes that share a training end at the parameters of one."""

import pytest
import torch
from fakes import FakeEnv, config_of, train_shared

from metarobot.algorithms import ALGORITHMS
from metarobot.training.trainer import MetaTrainer, num_simulations


def make_trainer(algorithm, workers):
    sizes = {"num_tasks": 8, "episodes_per_task": 4, "hidden_sizes": (16, 16)}
    config = config_of(algorithm, **sizes, adaptation_min_std=0.3)
    return MetaTrainer(config, FakeEnv(num_simulations(config, workers)), workers)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_processes_end_at_the_parameters_of_one(algorithm):
    alone, shared = train_shared(lambda workers: make_trainer(algorithm, workers))
    expected = alone.state().tensors
    for trainer in shared:
        found = trainer.state().tensors
        assert all(torch.equal(found[name], leaf) for name, leaf in expected.items())
