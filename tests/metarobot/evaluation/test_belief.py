"""What a policy takes a task for: weights of tasks, in the parameters' own units."""

import numpy as np
import pytest
import torch

from metarobot.algorithms.algorithm import Belief
from metarobot.envs import find_family
from metarobot.evaluation.belief import believed


def belief_in(distribution, columns, weights):
    codes = torch.from_numpy(distribution.encode(distribution.with_values(columns)))
    return Belief(codes, torch.tensor([weights]), torch.tensor([True]))


def test_all_weight_on_one_task_is_that_task():
    distribution = find_family("metarobot/Grip-v0").distribution
    tasks = {"block_mass_kg": [0.1, 1.5, 0.4], "pad_friction": [0.3, 0.9, 0.5]}
    found = believed(
        distribution,
        belief_in(distribution, tasks, [0.0, 1.0, 0.0]),
        {"block_mass_kg": 1.6, "pad_friction": 0.9},
    )
    mass, friction = found
    assert [mass.low, mass.value, mass.high] == pytest.approx([1.5, 1.5, 1.5])
    assert [friction.low, friction.value, friction.high] == pytest.approx([0.9, 0.9, 0.9])
    assert mass.true == 1.6
    assert not mass.is_trained
    assert friction.is_trained


def test_an_interval_holds_95_percent_of_the_weight():
    distribution = find_family("metarobot/Grip-v0").distribution
    masses = np.geomspace(0.08, 1.2, 1001)
    belief = belief_in(distribution, {"block_mass_kg": masses}, [1 / 1001] * 1001)
    mass, _ = believed(distribution, belief, {"block_mass_kg": 0.3, "pad_friction": 0.5})
    inside = np.mean((masses >= mass.low) & (masses <= mass.high))
    assert inside == pytest.approx(0.95, abs=0.003)
    assert mass.value == pytest.approx(np.sqrt(0.08 * 1.2))  # the middle as scaled


def test_an_angle_is_measured_from_its_mean_across_the_turn():
    distribution = find_family("metarobot/Reach-v0").distribution
    yaws = np.array([np.pi - 0.1, -np.pi + 0.1])
    truth = distribution.nominal().to_dicts()[0]
    belief = belief_in(distribution, {"frame_yaw_rad": yaws}, [0.5, 0.5])
    yaw = next(e for e in believed(distribution, belief, truth) if e.parameter == "frame_yaw_rad")
    assert abs(yaw.value) == pytest.approx(np.pi)
    assert yaw.high - yaw.low == pytest.approx(0.2)
