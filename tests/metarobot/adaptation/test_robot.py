"""Robots alone and in batches, and those that show and earn what they must not."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from carts import HORIZON, INTERFACE, Cart, make_policy
from exporting import make_policy as make_family_policy
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarobot.adaptation.robot import RobotEnv, rollout_env

GRIP = "metarobot/Grip-v0"


@pytest.mark.parametrize("ending", ["terminated", "truncated"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_of_several_robots_are_those_of_each(mode, ending):
    """Rewards up to and with the last step count; robots that are done are commanded 0."""
    robots = SyncVectorEnv([lambda: Cart(ending=ending)] * 3, autoreset_mode=mode)
    env = RobotEnv(robots, INTERFACE, seed=5)
    env.reset()
    for step in range(HORIZON):
        _, rewards, _, _, info = env.step(np.full((3, 2), 0.7))
        assert (rewards != 0).all() if step < 3 else not rewards.any()
        assert not info["sim_unstable"].any()
    for cart in robots.envs:
        np.testing.assert_allclose(cart.unwrapped.commands[:3], 0.7)
        assert not np.any(cart.unwrapped.commands[3:])


class LastStepCart(Cart):
    """A cart whose last step alone says whether it succeeded, and whose resets say the contrary."""

    def __init__(self, success):
        super().__init__()
        self.success = success

    def reset(self, **kwargs):
        return super().reset(**kwargs)[0], {"is_success": not self.success}

    def step(self, action):
        *step, _ = super().step(action)
        return *step, {"is_success": self.success and step[2]}


@pytest.mark.parametrize("mode", AutoresetMode)
def test_success_is_that_of_the_episode_that_ends_not_of_the_one_that_begins(mode):
    outcomes = [True, False, True]
    carts = [lambda success=success: LastStepCart(success) for success in outcomes]
    env = RobotEnv(SyncVectorEnv(carts, autoreset_mode=mode), INTERFACE, seed=5)
    env.reset()
    seen = [env.step(np.zeros((3, 2)))[4]["is_success"] for _ in range(3)]
    assert np.array(seen).tolist() == [[False] * 3, [False] * 3, outcomes]


def test_one_robot_after_the_other_is_the_first_of_several():
    """The others are commanded 0, the middle of the action range."""
    robots = SyncVectorEnv([Cart] * 3)
    env = rollout_env(robots, INTERFACE, one_after_the_other=True, seed=0)
    assert env.num_envs == 1
    env.reset()
    env.step(np.full((1, 2), 0.7))
    commands = [cart.unwrapped.commands[0] for cart in robots.envs]
    np.testing.assert_allclose(commands, [[0.7, 0.7], [0, 0], [0, 0]])


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


Box = gym.spaces.Box


@pytest.mark.parametrize(
    ("spaces", "words"),
    [
        ({"observation_space": Box(-1, 1, (4,))}, "observations are of shape (4,)"),
        ({"observation_space": Box(-1, 2, (3,))}, "needs observations of shape (3,)"),
        ({"observation_space": gym.spaces.Discrete(3)}, "observations are a Discrete"),
        ({"action_space": Box(-9, 9, (2,))}, "actions are of shape (2,) in [-9. -9.]"),
        ({"action_space": Box(-9, 9, (2,))}, "wrappers.RescaleAction turns these"),
        ({"action_space": Box(-1, 1, (3,))}, "a gymnasium.ActionWrapper of yours turns"),
        ({"action_space": Box(-1, 1, (2,), np.int8)}, "actions are int8 of shape (2,)"),
        ({"action_space": gym.spaces.Discrete(3)}, "ActionWrapper of yours turns these into those"),
    ],
)
def test_spaces_that_do_not_fit_are_refused_in_one_line(spaces, words):
    robot = Cart()
    vars(robot).update(spaces)
    with pytest.raises(ValueError, match=r"^the robot's") as refusal:
        make_policy("maml").adapt(robot, episodes=1)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert robot.num_episodes == 0


def test_what_is_no_robot_or_does_not_adapt_is_refused():
    with pytest.raises(TypeError, match=r"adapts to a gymnasium\.Env or VectorEnv, got a str"):
        make_policy("maml").adapt("robot", episodes=1)
    with pytest.raises(ValueError, match="domain_randomisation does not adapt: take one of maml"):
        make_policy("domain_randomisation").adapt(Cart(), episodes=1)
    for episodes in (0, -1, 1.5, None):
        with pytest.raises(ValueError, match=r"episodes must be an integer in \[1,"):
            make_policy("maml").adapt(Cart(), episodes=episodes)


PARTS = ("observation", "reward", "terminated", "truncated", "is_success")


class Broken(Cart):
    """A cart of which one part of a step is something else."""

    def __init__(self, part, value):
        super().__init__()
        self.part, self.value = part, value

    def step(self, action):
        *step, info = super().step(action)
        step.append(info["is_success"])
        step[PARTS.index(self.part)] = self.value
        return *step[:4], {"is_success": step[4]}


@pytest.mark.parametrize("algorithm", ["maml", "latent"])
@pytest.mark.parametrize("part", PARTS)
def test_a_step_that_is_no_numbers_of_the_right_shape_is_refused(algorithm, part):
    policy, flags = make_policy(algorithm), (None, "no", np.nan, [True], np.zeros(2), 2)
    values = {
        "observation": (np.zeros((3, 3)), np.zeros((1, 3)), np.zeros(2), 0.0, "x"),
        "reward": ("1", [1.0], np.array([1.0]), 1 + 2j, np.inf, 1e300),
    }.get(part, flags[part == "is_success" :])  # success is optional
    for value in values:
        robot = Broken(part, value)
        with pytest.raises(ValueError, match=rf"^the robot's {part}s? (must be|have)") as refused:
            policy.adapt(robot, episodes=1, progress=False)
        assert "\n" not in str(refused.value)
        assert len(robot.commands) == 1


def test_a_reward_that_is_none_counts_as_not_measured():
    none, nan = Broken("reward", None), Broken("reward", np.nan)
    with pytest.raises(ValueError, match=r"rewards must be finite numbers, got \[nan\]"):
        make_policy("maml").adapt(none, episodes=1, progress=False)
    adapted, expected = (
        make_policy("latent").adapt(robot, episodes=1, progress=False) for robot in (none, nan)
    )
    assert all(torch.equal(leaf, expected.params[name]) for name, leaf in adapted.params.items())


class Changing(SyncVectorEnv):
    """Three carts, of which a step returns a part in another number."""

    def __init__(self, part, number):
        super().__init__([Cart] * 3)
        self.part, self.number = part, number

    def step(self, actions):
        parts = list(super().step(actions))
        parts[self.part] = np.resize(parts[self.part], (self.number, *parts[self.part].shape[1:]))
        return tuple(parts)


@pytest.mark.parametrize("algorithm", ["maml", "latent"])  # on three robots, and on the first
@pytest.mark.parametrize("part", range(4))
def test_a_batch_that_changes_its_number_of_rows_is_refused(algorithm, part):
    for number in (1, 4, 0):
        with pytest.raises(ValueError, match=r"^the robot's .*3") as refused:
            make_policy(algorithm).adapt(Changing(part, number), episodes=3, progress=False)
        assert "\n" not in str(refused.value)
