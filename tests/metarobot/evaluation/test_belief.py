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
    found = believed(distribution, belief_in(distribution, tasks, [0.0, 1.0, 0.0]))
    assert found == pytest.approx({"block_mass_kg": 1.5, "pad_friction": 0.9})


def test_the_mean_is_that_of_the_scale_that_tasks_are_drawn_on():
    distribution = find_family("metarobot/Grip-v0").distribution
    belief = belief_in(distribution, {"block_mass_kg": [0.1, 0.4]}, [0.5, 0.5])
    assert believed(distribution, belief)["block_mass_kg"] == pytest.approx(0.2)


def test_an_angle_has_its_mean_across_the_turn():
    distribution = find_family("metarobot/Reach-v0").distribution
    belief = belief_in(distribution, {"frame_yaw_rad": [np.pi - 0.1, -np.pi + 0.1]}, [0.5, 0.5])
    assert abs(believed(distribution, belief)["frame_yaw_rad"]) == pytest.approx(np.pi)
