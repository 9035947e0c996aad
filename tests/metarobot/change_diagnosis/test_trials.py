"""Trials: every robot with every change once, the same episodes for the same seed."""

import numpy as np
import pytest
import torch

import metarobot as mr
from metarobot.change_diagnosis.changes import GRIP_CHANGES
from metarobot.change_diagnosis.encoder import EpisodeWindows
from metarobot.change_diagnosis.signals import episode_signals, signal_size, summary_features
from metarobot.change_diagnosis.trials import Trials
from metarobot.rollout.hidden_rewards import hide_rewards

BY_NAME = {change.name: change for change in GRIP_CHANGES}
CHOSEN = tuple(BY_NAME[name] for name in ("unchanged", "greasy_pads", "lost_observations"))


@pytest.fixture(scope="module")
def policy():
    return mr.load("grip")["latent"]


@pytest.fixture(scope="module")
def episodes(policy):
    return Trials(policy, num_robots=4).run(CHOSEN)


def test_rows_are_robot_by_robot_and_do_not_depend_on_the_other_changes(policy, episodes):
    assert (episodes.num_tasks, episodes.num_episodes) == (12, 1)
    alone = Trials(policy, num_robots=4).run(CHOSEN[:1])
    assert torch.equal(alone.observations, episodes.observations[::3])


def test_robots_are_tasks_of_the_split_and_only_what_changes_differs(policy):
    trials = Trials(policy, num_robots=4, split="interpolation")
    robots = np.arange(4)
    variant = CHOSEN[1].variants(policy.config.env_id)[0]
    own, greasy = trials._tasks(0, None, robots), trials._tasks(1, variant, robots)
    assert (own["block_mass_kg"] == greasy["block_mass_kg"]).all()
    assert ((greasy["pad_friction"] >= 0.06) & (greasy["pad_friction"] <= 0.16)).all()
    assert (own["pad_friction"] >= 0.35).all()


def test_signals_hold_no_rewards_and_show_what_is_seen_again(policy, episodes):
    signals = episode_signals(episodes, policy.interface)
    assert signals.shape[-1] == signal_size(policy.interface)
    hidden = episode_signals(hide_rewards(episodes), policy.interface)
    assert torch.equal(signals, hidden)
    again = signals[..., -1].mean((1, 2))
    assert again[2::3].mean() > again[::3].mean()
    assert summary_features(signals[:, 0]).shape == (12, 3 * signals.shape[-1])


def test_a_change_in_the_middle_of_an_episode_is_embedded_elsewhere_than_one_at_its_end():
    encoder, signals = EpisodeWindows(4), torch.zeros(2, 16, 4)
    signals[0, 3], signals[1, 13] = 1.0, 1.0
    first, second = encoder(signals)
    assert not torch.allclose(first, second)


def test_a_policy_that_never_adapts_runs_no_trials():
    with pytest.raises(ValueError, match="runs no trial episodes"):
        Trials(mr.load("grip")["oracle"], num_robots=2)
