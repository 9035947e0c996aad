"""Iterative learning control: its law by hand, its tables, and as a part of latent."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from exporting import make_policy
from fakes import config_of, untrained_run

import metarobot as mr
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.envs import find_family
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import make_iterative_learning
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import repeat_params
from metarobot.policies.corrections import corrected

PANDA = "metarobot/Panda-v0"
CONFIG = EvaluationConfig(
    num_tasks=4,
    adaptation_episodes=(1, 5),
    num_blocks=0,
    test_episodes=1,
    heat_map=False,
    rewards="hidden",
    untrained=(),
)


@pytest.fixture(scope="module")
def learning():
    return make_iterative_learning(config_of("oracle", env_id=PANDA))


def test_an_action_is_corrected_by_half_of_the_error_that_it_leads_to(learning):
    motion = find_family(PANDA).repeated_motion
    assert (motion.lead_steps, motion.pairs[0]) == (3, (1, 0))
    seen = torch.zeros(1, 28, 15)
    seen[0, 13, 1] = 0.5 * motion.error_of_action  # joint 1, shown by the action of step 10
    seen[0, 27, 2] = 0.1 * motion.error_of_action  # the last error of joint 2
    first = learning.policy.learn(repeat_params(learning.params, 1), seen)["corrections"][0]
    by_hand = torch.zeros(28, 7)
    by_hand[9:12, 0] = 0.25 * torch.tensor([0.1, 0.8, 0.1])
    by_hand[23:, 1] = 0.05 * torch.tensor([0.1, 0.9, 1.0, 1.0, 1.0])
    torch.testing.assert_close(first, by_hand)
    far = learning.policy.learn(repeat_params(learning.params, 1), 1e6 * seen)["corrections"]
    assert far.abs().max() == 1.0


def test_it_learns_while_it_explores_as_from_the_episodes_it_collected(learning):
    task_set = TaskSet.of_split(PANDA, "train", CONFIG)
    explored = task_set.explore(learning, 4)
    adapted = task_set.adapted_to(learning, explored, (3,))[3]
    torch.testing.assert_close(explored.actions[:, 3], adapted["corrections"])
    assert explored.actions[:, 0].abs().max() < 1e-5
    fall = explored.returns.mean(0)
    assert (fall[1:] > 0.6 * fall[:-1]).all()  # returns are negative


def test_it_is_in_the_table_of_a_family_that_repeats_a_motion(tmp_path):
    run = untrained_run(tmp_path, PANDA, ("domain_randomisation",))
    table = evaluate_runs([run], CONFIG, lambda *_: None)
    names = [policy.algorithm for policy in table.policies]
    assert names == ["domain_randomisation", "iterative_learning"]
    assert table.learners == ("iterative_learning",)
    rows = [table.curves["iterative_learning", split] for split in table.splits]
    assert [[row.episodes for row in each] for each in rows] == [[0, 1, 5]] * len(table.splits)
    returns = np.array([[row.return_mean.value for row in each] for each in rows])
    assert (returns[:, 2] > 0.15 * returns[:, 0]).all()
    assert all(each[2].success.value > 0.7 for each in rows)


def test_a_family_that_repeats_no_motion_is_an_error_in_one_line():
    with pytest.raises(
        ValueError, match=r"^metarobot/Grip-v0 repeats no motion .*repeated_motion$"
    ):
        make_iterative_learning(config_of("maml", env_id="metarobot/Grip-v0"))


# Latent: its first episode is where iterative learning control goes on from.


@pytest.fixture(scope="module")
def latent():
    """A policy that is hardly trained, with a model that has no effect."""
    drawn = make_policy("latent", PANDA)
    params = drawn.policy.initial_params(torch.Generator().manual_seed(0))
    params |= {name: leaf * 0.0 for name, leaf in params.items() if name.startswith("model.")}
    params |= {name: 0.3 * leaf for name, leaf in params.items() if name.endswith("2.weight")}
    return AdaptablePolicy(drawn.config, params, drawn.interface)


class Flipped(gym.ActionWrapper):
    """A robot whose commands have the wrong sign."""

    def action(self, action):
        return -action


def make_robot():
    robot = gym.make(PANDA)
    robot.unwrapped.set_tasks({"tool_mass_kg": 1.8, "command_delay_s": 0.02})
    return robot


def adapt(policy, robot, episodes, **options):
    return policy.adapt(robot, episodes=episodes, progress=False, **options)


def test_latent_corrects_a_repeated_motion_from_its_first_episode_on(latent):
    adapted = adapt(latent, make_robot(), 5)
    fall = np.array(adapted.returns)
    assert (fall[1:] > 0.7 * fall[:-1]).all()  # returns are negative
    report = adapted.report()
    assert report.corrects
    assert "acts by corrections of its motion" in report.line
    assert "the errors of the motion still fall: another episode is expected" in str(report)
    assert adapted.policy.is_corrected.all()
    found = latent.compare(make_robot(), adapted, progress=False)
    assert found.verdict == "helped"
    assert found.differences.mean() > 0.7 * -fall[0]


def test_what_latent_repeats_is_the_last_episode_corrected_by_its_errors(latent):
    robot, motion = make_robot(), find_family(PANDA).repeated_motion
    block = latent.explore(robot, episodes=4, progress=False)
    for number in (1, 3):
        adapted = latent.adapt_from(mr.Episodes.join([block]).first(number))
        last = block.observations[:, number - 1], block.actions[:, number - 1].clamp(-1, 1)
        expected = corrected(motion, last[1], last[0])
        torch.testing.assert_close(adapted.params["corrections"][None], expected)
        torch.testing.assert_close(expected, block.actions[:, number], atol=0.01, rtol=0.0)
        adapted.begin()
        taken = [adapted.act(seen) for seen in block.observations[0, 0].numpy()]
        np.testing.assert_allclose(taken, expected[0], atol=1e-6)
    again = adapt(latent.adapt_from(block), robot, 1)  # in parts as at once
    assert again.returns[-1] > 0.7 * block.returns[0, -1]


def test_corrections_that_make_the_errors_larger_do_not_act(latent):
    adapted = adapt(latent, Flipped(make_robot()), 3)
    assert adapted.returns[2] < adapted.returns[0]
    assert not adapted.report().corrects
    assert not adapted.report().more_pays
    after_one = adapt(latent, Flipped(make_robot()), 1)
    assert after_one.report().corrects  # it has not tried them yet
    strict = {"largest_errors": torch.full_like(latent.params["largest_errors"], 1e-9)}
    strict["outcome_std"] = torch.ones_like(latent.params["outcome_std"])
    strange = adapt(replace(latent, params={**latent.params, **strict}), make_robot(), 1)
    assert not strange.report().fits
    assert not strange.report().corrects


def test_rewards_are_not_needed_to_correct_a_motion(latent):
    class Unrewarded(gym.RewardWrapper):
        def reward(self, reward):
            return np.nan

    adapted = adapt(latent, Unrewarded(make_robot()), "auto")
    assert adapted.report().corrects
    assert 3 < adapted.num_episodes < 20
