import dataclasses

import numpy as np
import pytest
import torch
from fakes import FakeEnv, config_of

from metarobot.algorithms import train_config
from metarobot.training.trainer import MetaTrainer


def make_trainer(**fields):
    defaults = {
        "num_tasks": 8,
        "episodes_per_task": 10,
        "inner_lr": 0.1,
        "hidden_sizes": (16,),
        "initial_std": 0.4,
        "max_kl": 0.05,
        "inner_objective": "likelihood_ratio",
    }
    config = config_of(**{**defaults, **fields})
    return MetaTrainer(config, FakeEnv(config.num_tasks * config.episodes_per_task))


def train(trainer, iterations):
    metrics = [trainer.step() for _ in range(iterations)]
    return {name: np.array([m[name] for m in metrics]) for name in metrics[0]}


def test_training_makes_adaptation_better():
    history = train(make_trainer(), 25)
    assert history["meta/post_return"][-5:].mean() > history["meta/post_return"][:5].mean() + 1.0
    # The target is hidden: only adaptation can find it.
    assert history["meta/gain"][-5:].mean() > history["meta/gain"][:5].mean() + 0.1
    assert history["update/accepted"].mean() > 0.9
    assert history["update/kl"].max() <= 0.05


def test_the_number_of_adaptation_episodes_varies_and_the_budget_counts_what_was_simulated():
    class Counting(FakeEnv):
        def set_tasks(self, tasks):
            self.num_steps[:] = 0
            super().set_tasks(tasks)

    config = config_of(num_tasks=4, episodes_per_task=6, hidden_sizes=(8,), vary_episodes=True)
    trainer, seen = MetaTrainer(config, Counting(24)), []
    for _ in range(20):
        before = trainer.total_steps
        trainer.step()
        simulated = int(trainer.env.num_steps.sum())
        assert trainer.total_steps - before == simulated
        seen.append(simulated // (4 * trainer.env.horizon) - 6)
    assert {*seen} == {1, 2, 5, 6}
    again = MetaTrainer(dataclasses.replace(config, num_tasks=2), Counting(12))
    assert [again.algorithm.num_adaptation_episodes(i) for i in range(20)] == seen


@pytest.mark.parametrize(("fields", "blocks"), [({}, 2), ({"num_adaptation_steps": 2}, 3)])
def test_steps_are_counted_in_every_phase(fields, blocks):
    trainer = make_trainer(total_steps=2 * blocks * 80 * 5, **fields)
    trainer.step()
    assert trainer.iteration == 1
    assert trainer.total_steps == blocks * 80 * 5
    assert not trainer.finished
    trainer.step()
    assert trainer.finished


@pytest.mark.parametrize("algorithm", ["domain_randomisation", "oracle"])
def test_reference_algorithms_collect_once_and_do_not_adapt(algorithm):
    trainer = make_trainer(algorithm=algorithm)
    metrics = trainer.step()
    assert trainer.total_steps == 80 * 5
    assert metrics["meta/gain"] == 0.0
    assert metrics["adapt/distance"] == 0.0
    assert metrics["update/accepted"] == 1.0


def test_unstable_simulations_do_not_spoil_the_parameters():
    trainer = make_trainer()
    trainer.env.unstable_at = {0: 0, 17: 3, 40: 1}
    metrics = trainer.step()
    assert metrics["rollout/counted_steps"] == pytest.approx(1 - (5 + 2 + 4) / 400)
    assert metrics["update/accepted"] == 1.0
    assert all(torch.isfinite(leaf).all() for leaf in trainer.params.values())


class NanEnv(FakeEnv):
    """Task 3 earns NaN, in a simulation that is stable."""

    def step(self, actions):
        observation, rewards, *rest = super().step(actions)
        rewards[30] = np.nan
        return observation, rewards, *rest


def test_a_task_that_is_not_finite_stops_the_update_and_is_named():
    config = train_config(num_tasks=8, episodes_per_task=10, hidden_sizes=(16,))
    trainer = MetaTrainer(config, NanEnv(80))
    before = trainer.params
    metrics = trainer.step()
    assert trainer.params is before
    assert metrics["update/rejected_tasks"] == 1.0
    assert metrics["update/accepted"] == 0.0
    (task,) = trainer.rejected
    assert set(task) == {"x", "y"}
    trainer.env = FakeEnv(80)
    assert trainer.step()["update/accepted"] == 1.0
    assert trainer.rejected == []
