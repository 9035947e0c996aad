import dataclasses
import json

import pytest

from metarobot.config import TrainConfig
from metarobot.presets import PRESETS


@pytest.mark.parametrize("config", [*PRESETS.values(), TrainConfig(hidden_sizes=(8,), seed=3)])
def test_json_round_trip(config):
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown configuration field 'iner_lr'.*'inner_lr'"):
        TrainConfig.from_dict({"iner_lr": 0.1})


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("algorithm", "mamml", "one of maml, "),
        ("inner_objective", "ppo", "one of lvc, likelihood_ratio"),
        ("seed", -1, r"an integer in \[0, "),
        ("num_tasks", 2.5, r"an integer in \[1, 10000\]"),
        ("discount", 1.01, r"a number in \[0, 1\]"),
        ("inner_lr", float("nan"), r"a number in \[1e-06, 100\]"),
        ("inner_lr", "0.1", "a number in"),
        ("line_search_decay", 1.0, r"a number in \[0\.01, 0\.99\]"),
        ("hidden_sizes", (64, 0), "up to 16 integers in"),
        ("env_id", 3, "a string"),
        ("first_order", 1, "true or false"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(field, value, allowed):
    with pytest.raises(ValueError, match=f"^{field} must be {allowed}.*, got "):
        TrainConfig(**{field: value})


def test_every_field_is_checked():
    class Alien:
        """Fits no field."""

    for field in dataclasses.fields(TrainConfig):
        with pytest.raises(ValueError, match=f"^{field.name} must be"):
            TrainConfig(**{field.name: Alien()})


def test_only_maml_adapts():
    assert TrainConfig(num_adaptation_steps=2).adaptation_steps == 2
    assert TrainConfig(algorithm="oracle").adaptation_steps == 0
    assert TrainConfig(algorithm="domain_randomisation").adaptation_steps == 0


def test_a_trial_is_as_long_as_configured_and_no_longer_than_a_block():
    sizes = {"num_tasks": 6, "episodes_per_task": 20, "trial_episodes": 8}
    assert TrainConfig(**sizes).block_shape == (6, 20)
    rl2 = TrainConfig(algorithm="rl2", **sizes)
    assert rl2.block_shape == (6, 8)
    assert rl2.adaptation_steps == 0
    assert dataclasses.replace(rl2, episodes_per_task=4).block_shape == (6, 4)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1
