"""Robots that show and earn what they must not, and batches of several tasks."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from carts import INTERFACE, make_policy
from exporting import make_policy as make_family_policy
from robots import Cart

from metarobot.adaptation.robot import RobotEnv, rollout_env

GRIP = "metarobot/Grip-v0"


class Broken(Cart):
    """A cart that shows or earns something else."""

    def __init__(self, observation=None, reward=0.5):
        super().__init__()
        self.shown, self.earned = observation, reward

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation if self.shown is None else self.shown, self.earned, *rest


def refusal(robot, algorithm="maml"):
    with pytest.raises(ValueError, match=r"^the robot's") as refused:
        make_policy(algorithm).adapt(robot, episodes=1, progress=False)
    assert "\n" not in str(refused.value)
    assert len(robot.commands) == 1
    return str(refused.value)


@pytest.mark.parametrize("algorithm", ["maml", "latent"])
@pytest.mark.parametrize("reward", ["1", [1.0], np.array([1.0]), 1 + 2j, np.inf, 1e300])
def test_a_reward_that_is_no_finite_number(algorithm, reward):
    assert "rewards" in refusal(Broken(reward=reward), algorithm)


def test_a_reward_that_is_none_counts_as_not_measured():
    assert "rewards must be finite numbers, got [nan]" in refusal(Broken(reward=None))
    adapted = make_policy("latent").adapt(Broken(reward=None), episodes=1, progress=False)
    expected = make_policy("latent").adapt(Broken(reward=np.nan), episodes=1, progress=False)
    assert all(torch.equal(leaf, expected.params[name]) for name, leaf in adapted.params.items())


@pytest.mark.parametrize("algorithm", ["maml", "latent"])
@pytest.mark.parametrize("shown", [np.zeros((3, 3)), np.zeros((1, 3)), np.zeros(2), 0.0, "x"])
def test_an_observation_of_another_shape(algorithm, shown):
    assert "observation must be numbers of shape (3,), got" in refusal(Broken(shown), algorithm)


class Flagged(Cart):
    """A cart that says something else of its end, or of its success."""

    def __init__(self, name, flag):
        super().__init__()
        self.name, self.flag = name, flag

    def step(self, action):
        observation, reward, *ended, info = super().step(action)
        flags = {"terminated": ended[0], "truncated": ended[1], **info, self.name: self.flag}
        terminated, truncated = flags.pop("terminated"), flags.pop("truncated")
        return observation, reward, terminated, truncated, flags


@pytest.mark.parametrize("name", ["terminated", "truncated", "is_success"])
@pytest.mark.parametrize("flag", [None, "no", np.nan, [True], np.zeros(2), 2, [[1], [1, 2]]])
def test_what_is_neither_true_nor_false(name, flag):
    robot = Flagged(name, flag)
    if name == "is_success" and flag is None:  # which is optional
        make_policy("maml").adapt(robot, episodes=1, progress=False)
    else:
        assert refusal(robot).startswith(f"the robot's {name} must be true or false, got ")


class Changing(gym.vector.SyncVectorEnv):
    """Three carts, of which a step returns a part in another number."""

    def __init__(self, part, number):
        super().__init__([Cart] * 3)
        self.part, self.number = part, number

    def step(self, actions):
        parts = list(super().step(actions))
        parts[self.part] = np.resize(parts[self.part], (self.number, *parts[self.part].shape[1:]))
        return tuple(parts)


@pytest.mark.parametrize("algorithm", ["maml", "latent"])  # on three robots, and on the first
@pytest.mark.parametrize("number", [1, 2, 4, 0])
@pytest.mark.parametrize("part", range(4))
def test_a_batch_that_changes_its_number_of_rows_is_refused(algorithm, part, number):
    with pytest.raises(ValueError, match=r"^the robot's .*3") as refused:
        make_policy(algorithm).adapt(Changing(part, number), episodes=3, progress=False)
    assert "\n" not in str(refused.value)


def test_a_batch_of_several_tasks_is_refused():
    env = gym.make_vec(GRIP, num_envs=4)
    policy = make_family_policy("maml", GRIP)
    before = policy.num_episodes
    for wrapped in (env, gym.wrappers.vector.RecordEpisodeStatistics(env)):
        env.set_tasks({"block_mass_kg": [0.1, 0.6]})
        with pytest.raises(ValueError, match="adapts to one task, but the batch holds 2: give"):
            policy.adapt(wrapped, episodes=4, progress=False)
        env.set_tasks({"block_mass_kg": 0.6})
        assert policy.adapt(wrapped, episodes=4, progress=False).num_episodes == before + 4
    env.close()


def test_one_robot_after_the_other_is_the_first_of_several():
    """The others are commanded 0, the middle of the action range."""
    robots = gym.vector.SyncVectorEnv([Cart] * 3)
    env = rollout_env(robots, INTERFACE, one_after_the_other=True, seed=0)
    assert isinstance(env, RobotEnv)
    assert env.num_envs == 1
    env.reset()
    env.step(np.full((1, 2), 0.7))
    commands = [cart.unwrapped.commands[0] for cart in robots.envs]
    np.testing.assert_allclose(commands, [[0.7, 0.7], [0, 0], [0, 0]])
