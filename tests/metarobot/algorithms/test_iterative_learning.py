"""Iterative learning control: its law by hand, in sequence as at once, and in the tables."""

import numpy as np
import pytest
import torch
from fakes import config_of, untrained_run

from metarobot.envs import find_family
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import make_iterative_learning
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import repeat_params

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
