"""Chunks of tasks bound the memory of a meta-update, and change no bit of what it computes."""

from itertools import pairwise

import pytest
import torch
from fakes import FakeEnv, config_of

from metarobot.algorithms import ALGORITHMS
from metarobot.learning import meta_batch
from metarobot.training.trainer import MetaTrainer, num_simulations

NUM_TASKS, NUM_EPISODES, HORIZON = 7, 4, 5


@pytest.mark.parametrize("steps_per_task", [1, 100, 20_000, 10**9])
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 5, 20, 101])
def test_chunks_cover_all_tasks_and_hold_two_at_least(num_tasks, steps_per_task):
    chunks = meta_batch.task_chunks(num_tasks, steps_per_task)
    assert [task for chunk in chunks for task in range(num_tasks)[chunk]] == list(range(num_tasks))
    sizes = [chunk.stop - chunk.start for chunk in chunks]
    assert min(sizes) >= min(2, num_tasks)
    assert max(sizes) - min(sizes) <= 1
    assert all(first.stop == second.start for first, second in pairwise(chunks))
    # As many as fit, but for what two tasks take and three where their number is odd.
    assert max(sizes) * steps_per_task <= max(
        meta_batch.STEPS_AT_ONCE + steps_per_task, 3 * steps_per_task
    )


def trained(algorithm, chunk_steps, monkeypatch):
    """Everything that two meta-iterations leave behind, with chunks of so many steps."""
    monkeypatch.setattr(meta_batch, "STEPS_AT_ONCE", chunk_steps)
    monkeypatch.setattr(meta_batch, "STEPS_KEPT", 2 * chunk_steps)
    config = config_of(
        algorithm=algorithm,
        num_tasks=NUM_TASKS,
        episodes_per_task=NUM_EPISODES,
        num_adaptation_steps=2,
        reptile_steps=2,
        hidden_sizes=(16, 16),
        encoder_epochs=3,
        outer_epochs=3,
        num_threads=1,
    )
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config), HORIZON))
    metrics = [trainer.step() for _ in range(2)]
    assert all(m["update/rejected_tasks"] == 0 for m in metrics)
    shown = [{k: v for k, v in m.items() if not k.startswith("time/")} for m in metrics]
    return trainer.state().tensors, shown


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_whatever_the_chunks_training_has_the_same_bits(algorithm, monkeypatch):
    whole, metrics = trained(algorithm, 10**9, monkeypatch)
    block = NUM_EPISODES * HORIZON
    for chunk_steps in (1, 3 * block, 8 * block):
        tensors, shown = trained(algorithm, chunk_steps, monkeypatch)
        assert tensors.keys() == whole.keys()
        assert all(torch.equal(tensors[name], whole[name]) for name in whole), chunk_steps
        assert str(shown) == str(metrics), chunk_steps
