import dataclasses
import hashlib

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


def fingerprint(params):
    digest = hashlib.sha256()
    for name, leaf in sorted(params.items()):
        digest.update(name.encode() + leaf.numpy().tobytes())
    return digest.hexdigest()


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


def test_the_same_seed_gives_the_same_parameters():
    first, same, other = (make_trainer(seed=seed) for seed in (5, 5, 6))
    for trainer in (first, same, other):
        train(trainer, 3)
    assert fingerprint(first.params) == fingerprint(same.params)
    assert fingerprint(first.params) != fingerprint(other.params)


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


@pytest.mark.parametrize("normalise_outer", [False, True])
def test_tasks_count_as_in_the_mean_return_or_alike(normalise_outer):
    trainer = make_trainer(normalise_outer=normalise_outer)
    seen, outer = [], trainer.algorithm.outer_advantages
    trainer.algorithm.outer_advantages = lambda *args: seen.append(args) or outer(*args)
    trainer.step()
    ((params, episodes),) = seen
    rewards = episodes.rewards * torch.linspace(1.0, 3.0, 8)[:, None, None]  # more is at stake
    episodes = dataclasses.replace(episodes, rewards=rewards)
    stds = outer(params, episodes).std((1, 2), correction=0)
    if normalise_outer:
        torch.testing.assert_close(stds, torch.ones(8))
    else:
        assert stds.max() > 1.5 * stds.min()


def test_metrics_are_finite_numbers_under_the_names_dashboards_expect():
    metrics = make_trainer().step()
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())
    assert {
        *("rollout/ep_rew_mean", "rollout/success_rate", "time/fps", "time/sampling_s"),
        *("meta/pre_return", "meta/post_return", "meta/gain", "adapt/distance", "update/kl"),
    } <= set(metrics)


def test_unstable_simulations_do_not_spoil_the_parameters():
    trainer = make_trainer()
    trainer.env.unstable_at = {0: 0, 17: 3, 40: 1}
    metrics = trainer.step()
    assert metrics["rollout/counted_steps"] == pytest.approx(1 - (5 + 2 + 4) / 400)
    assert metrics["update/accepted"] == 1.0
    assert all(torch.isfinite(leaf).all() for leaf in trainer.params.values())


def test_a_task_without_any_steps_is_left_out_and_counted():
    trainer = make_trainer()
    trainer.env.unstable_at = dict.fromkeys(range(10, 20), 0)
    metrics = trainer.step()
    assert metrics["sim/unstable_episodes"] == 2 * 10
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
