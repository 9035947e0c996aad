"""Whatever the algorithm, processes that share a training end at the parameters of one."""

import threading

import pytest
import torch
from fakes import FakeEnv, Threads, config_of

from metarobot.algorithms import ALGORITHMS
from metarobot.learning.distributed import ALONE
from metarobot.training.memory import num_simulations
from metarobot.training.meta_trainer import MetaTrainer


def make_trainer(algorithm, workers=ALONE):
    sizes = {"num_tasks": 8, "episodes_per_task": 4, "hidden_sizes": (16, 16)}
    config = config_of(algorithm, **sizes, adaptation_min_std=0.3)
    return MetaTrainer(config, FakeEnv(num_simulations(config, workers)), workers)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_processes_end_at_the_parameters_of_one(algorithm):
    barrier, slots = threading.Barrier(2), [None, None]
    shared = [make_trainer(algorithm, Threads(rank, barrier, slots)) for rank in range(2)]
    alone = make_trainer(algorithm)

    def train(trainer):
        for _ in range(2):
            trainer.step()

    threads = [threading.Thread(target=train, args=(trainer,)) for trainer in shared]
    for thread in threads:
        thread.start()
    train(alone)
    for thread in threads:
        thread.join()
    expected = alone.state().tensors
    for trainer in shared:
        found = trainer.state().tensors
        assert all(torch.equal(found[name], leaf) for name, leaf in expected.items())
