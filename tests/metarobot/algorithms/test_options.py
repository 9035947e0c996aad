"""An option of some algorithms decides what those learn, and nothing about the others."""

from dataclasses import fields

import pytest
import torch
from fakes import FakeEnv

from metarobot.config import ALGORITHM_NAMES, TrainConfig
from metarobot.training.memory import num_simulations
from metarobot.training.meta_trainer import MetaTrainer

OTHER_VALUES = {
    "outer_lr": 3e-3,
    "outer_epochs": 3,
    "outer_max_kl": 1e-7,
    "clip_ratio": 0.01,
    "inner_kl_penalty": 0.0,
    "reptile_steps": 2,
    "reptile_rate": 0.3,
    "embedding_size": 3,
    "encoder_epochs": 3,
    "trial_episodes": 2,
}


def learned(algorithm, **options):
    config = TrainConfig(
        algorithm=algorithm, num_tasks=4, episodes_per_task=4, hidden_sizes=(8,), trial_min_std=0.3
    )
    config = TrainConfig(**{**vars(config), **options})
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config)))
    trainer.step()
    trainer.step()
    return trainer.params


def alike(found, expected):
    return all(
        found[name].shape == leaf.shape and torch.equal(found[name], leaf)
        for name, leaf in expected.items()
    )


def test_every_option_of_some_algorithms_is_tried_here():
    everywhere = {*TrainConfig().decisive_fields}
    for algorithm in ALGORITHM_NAMES:
        everywhere &= {*TrainConfig(algorithm=algorithm).decisive_fields}
    names = {field.name for field in fields(TrainConfig)}
    assert names - everywhere == {*OTHER_VALUES, "num_threads"}


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_options_of_other_algorithms_decide_nothing_and_own_ones_do(algorithm):
    own = TrainConfig(algorithm=algorithm).decisive_fields
    foreign = {name: value for name, value in OTHER_VALUES.items() if name not in own}
    expected = learned(algorithm)
    assert alike(learned(algorithm, **foreign), expected)
    for name in OTHER_VALUES.keys() - foreign.keys():
        assert not alike(learned(algorithm, **{name: OTHER_VALUES[name]}), expected), name
