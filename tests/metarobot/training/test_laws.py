"""Straight = saved and restored = shared out = in chunks, bit for bit, whatever the algorithm."""

import threading
from typing import NamedTuple

import pytest
import torch
from fakes import FakeEnv, Threads, config_of

from metarobot.algorithms import ALGORITHMS
from metarobot.learning import chunks, meta_update
from metarobot.learning.distributed import ALONE
from metarobot.training.trainer import MetaTrainer, TrainerState, num_simulations

EPISODES, HORIZON = 4, 5


class Straight(NamedTuple):
    """Two meta-iterations without a break."""

    algorithm: str
    middle: TrainerState
    end: TrainerState
    metrics: list[dict[str, float]]
    """Of the last one."""


def trainer_of(algorithm, workers=ALONE):
    config = config_of(
        algorithm,
        num_tasks=8,
        episodes_per_task=EPISODES,
        hidden_sizes=(16, 16),
        adaptation_min_std=0.3,
        num_adaptation_steps=2,
        reptile_steps=2,
        encoder_epochs=3,
        outer_epochs=3,
    )
    return MetaTrainer(config, FakeEnv(num_simulations(config, workers), HORIZON), workers)


@pytest.fixture(scope="module", params=ALGORITHMS)
def straight(request):
    trainer = trainer_of(request.param)
    middle = trainer.step() and trainer.state()
    metrics = [trainer.step()]
    assert all(each["update/rejected_tasks"] == 0 for each in metrics)
    return Straight(request.param, middle, trainer.state(), metrics)


def go_on(trainer, straight):
    """Take the last meta-iteration, which ends as the straight one does."""
    trainer.restore(straight.middle)
    metrics = [trainer.step()]
    found = trainer.state()
    assert found.counters == straight.end.counters
    assert list(found.tensors) == list(straight.end.tensors)
    for name, leaf in straight.end.tensors.items():
        assert torch.equal(found.tensors[name], leaf), name
    return [{k: v for k, v in each.items() if not k.startswith("time/")} for each in metrics]


def test_saved_and_restored(straight):
    trainer = trainer_of(straight.algorithm)
    # A checkpoint is checked against the shapes of a fresh trainer before it is believed.
    for name, leaf in trainer.state().tensors.items():
        assert straight.middle.tensors[name].shape == leaf.shape
        assert straight.middle.tensors[name].isfinite().all()
    go_on(trainer, straight)


def test_in_chunks_of_tasks(straight, monkeypatch):
    shown = [
        {k: v for k, v in each.items() if not k.startswith("time/")} for each in straight.metrics
    ]
    chunk_steps = 5 * EPISODES * HORIZON
    monkeypatch.setattr(chunks, "STEPS_AT_ONCE", chunk_steps)
    monkeypatch.setattr(meta_update, "STEPS_KEPT", 2 * chunk_steps)
    assert str(go_on(trainer_of(straight.algorithm), straight)) == str(shown)


def test_shared_by_two_processes(straight):
    barrier, slots, found = threading.Barrier(2), [None, None], [None, None]

    def train(rank):
        trainer = trainer_of(straight.algorithm, Threads(rank, barrier, slots))
        found[rank] = go_on(trainer, straight)

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert str(found[0]) == str(found[1])
    assert found[0] is not None
