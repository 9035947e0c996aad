"""Machines: drawn by their numbers, and never both to train on and to test on."""

from dataclasses import fields

import numpy as np
import pytest

from metarobot.diagnosis import sample_machines
from metarobot.envs import TaskError


def columns(machines):
    return {field.name: np.asarray(getattr(machines, field.name)) for field in fields(machines)}


def test_a_machine_does_not_depend_on_how_many_are_drawn():
    few, many = (
        columns(sample_machines(3, seed=5)),
        columns(sample_machines(9, seed=5).rows([0, 1, 2])),
    )
    for name, values in few.items():
        np.testing.assert_array_equal(values, many[name])


@pytest.mark.parametrize("other", [{"split": "test"}, {"seed": 1}])
def test_other_splits_and_seeds_have_other_machines(other):
    first, second = columns(sample_machines(40)), columns(sample_machines(40, **other))
    for name in set(first) - {"seed", "number"}:
        assert not set(first[name].ravel().tolist()) & set(second[name].ravel().tolist()), name


def test_train_and_test_machines_have_no_number_in_common():
    train, test = sample_machines(3), sample_machines(3, "test")
    assert train.number.tolist() == [0, 1, 2]
    assert test.number.tolist() == [1_000_000, 1_000_001, 1_000_002]  # no more are trained on


def test_machines_of_a_series_differ_in_everything():
    for name, values in columns(sample_machines(20)).items():
        if name != "seed":
            assert len(np.unique(values)) == values.size, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, "trian"), "did you mean 'train'"),
        ((0,), "count of machines"),
        ((1_000_001,), "count of machines"),
    ],
)
def test_what_there_is_not_is_refused(arguments, words):
    with pytest.raises(TaskError, match=words):
        sample_machines(*arguments)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", None, True, 2**53])
def test_a_seed_is_an_integer_and_not_negative(seed):
    with pytest.raises(TaskError, match=r"seed must be an integer in \[0, .* got"):
        sample_machines(1, seed=seed)


def test_a_seed_may_be_an_integer_of_numpy():
    assert sample_machines(1, seed=np.int64(3)).payload_kg == sample_machines(1, seed=3).payload_kg
