import dataclasses
import json

import numpy as np
import pytest

from metarobot.algorithms import ALGORITHMS, config_from_dict, configure, train_config
from metarobot.config import PRESETS
from metarobot.evaluation.protocol import EvaluationConfig


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_json_round_trip(preset, algorithm):
    config = configure(PRESETS[preset], algorithm)
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_file_holds_all_that_ran_and_nothing_is_read_besides(algorithm):
    values = train_config(algorithm, hidden_sizes=(8,), seed=3).to_dict()
    for table, name in [(values, name) for name in values] + [
        (values["options"], name) for name in values["options"]
    ]:
        kept = table.pop(name)
        with pytest.raises(ValueError, match=f"lacks {name}$"):
            config_from_dict(values)
        table[name] = kept


def test_what_an_algorithm_always_does_stands_in_its_configuration():
    found = {name: train_config(name).to_dict()["options"] for name in ALGORITHMS}
    assert found["promp"]["inner_objective"] == "lvc"
    assert found["fomaml"]["first_order"] is True
    for name in ("domain_randomisation", "oracle"):
        assert found[name]["num_adaptation_steps"] == 0
        assert found[name]["min_std"] == 0.02
    for name, option, other in [
        ("promp", "inner_objective", "dice"),
        ("fomaml", "first_order", False),
        ("oracle", "min_std", 0.1),
        ("rl2", "num_adaptation_steps", 1),
    ]:
        with pytest.raises(ValueError, match=f"^{option} must be .*as the algorithm has it"):
            train_config(name, **{option: other})


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown configuration field 'iner_lr'.*'inner_lr'"):
        train_config(iner_lr=0.1)
    with pytest.raises(ValueError, match=r"unknown option 'iner_lr': nearest is 'inner_lr'"):
        configure(PRESETS["grip"].with_options(iner_lr=0.1), "maml")


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
        train_config(**{field: value})


def test_every_field_is_checked():
    class Alien:
        """Fits no field."""

    for algorithm in ALGORITHMS:
        config = train_config(algorithm)
        for values in (config, config.options):
            for field in dataclasses.fields(values):
                with pytest.raises(ValueError, match=f"^{field.name} must be"):
                    dataclasses.replace(values, **{field.name: Alien()})


def test_a_trial_is_as_long_as_configured_and_no_longer_than_a_block():
    sizes = {"num_tasks": 6, "episodes_per_task": 20}
    assert train_config(**sizes).block_shape == (6, 20)
    rl2 = train_config("rl2", **sizes, trial_episodes=8)
    assert rl2.block_shape == (6, 8)
    assert rl2.adaptation_steps == 0
    assert dataclasses.replace(rl2, episodes_per_task=4).block_shape == (6, 4)


def test_numpys_integers_are_integers_and_written_as_such():
    fields = {"seed": np.int64(3), "total_steps": np.uint32(8000), "hidden_sizes": (np.int16(8),)}
    config = train_config("maml", **fields)
    assert type(config.seed) is int
    plain = {**fields, "seed": 3, "total_steps": 8000, "hidden_sizes": (8,)}
    assert json.dumps(config.to_dict()) == json.dumps(train_config("maml", **plain).to_dict())
    with pytest.raises(ValueError, match="seed must be an integer"):
        train_config("maml", seed=True)
    numbers = (np.int64(0), np.int64(2))
    measured = EvaluationConfig(num_tasks=np.int64(4), adaptation_episodes=numbers)
    assert json.dumps(dataclasses.asdict(measured))
