"""Identification finds the task whose simulation repeats what was recorded."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from metarobot.algorithms import make_policy, train_config
from metarobot.algorithms.references import Identification, _into_box, fit_tasks, misfits
from metarobot.envs import find_family, make_env
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes

N, E = 2, 2
CONFIG = train_config(
    "oracle", env_id="metarobot/Slide-v0", hidden_sizes=(8,), num_threads=1, initial_std=0.3
)
FAMILY = find_family(CONFIG.env_id)
POINTS = np.array([[0.3, 0.7], [0.85, 0.2]])


@pytest.fixture(scope="module")
def recorded():
    """Episodes of two known tasks, the reference and its parameters."""
    params = make_policy(CONFIG).initial_params(torch.Generator().manual_seed(0))
    low, high = FAMILY.observation_bounds(observe_task=True).tolist()
    algorithm = Identification(CONFIG, Identification.make_policy(CONFIG, low, high, 1))
    begin = repeat_params(algorithm.beginning(params), N)
    env = make_env(CONFIG.env_id, algorithm.num_simulations(N, E), num_threads=1)
    with closing(env):
        env.set_tasks(FAMILY.distribution.spread(POINTS))
        shape = (E, env.horizon, env.start_size, 1)
        draws = draw_episodes(0, 0, Phase.EVALUATION, tasks=range(N), episode_shape=shape)
        policy = algorithm.exploring_policy
        block = collect(env, policy, begin, noise=draws.noise, start=draws.start)
    return algorithm, begin, block


def test_the_true_task_repeats_the_episodes_and_others_do_not(recorded):
    _, _, block = recorded
    candidates = np.stack([POINTS, POINTS[::-1]], axis=1)
    errors, scales = misfits(CONFIG, block, candidates)
    assert errors.shape == (N, 2)
    assert errors[:, 0].max() < 1e-9
    assert errors[:, 1].min() > 0.1
    again, same = misfits(CONFIG, block, candidates, scales)
    assert np.array_equal(errors, again)
    assert same is scales


def test_the_task_is_found_and_told(recorded):
    algorithm, begin, block = recorded
    adapted = algorithm.adapt(begin, block, algorithm.adaptation_advantages(begin, block))
    true = torch.from_numpy(FAMILY.distribution.encode(FAMILY.distribution.spread(POINTS))).float()
    before = (begin["told"] - true).abs().max()
    assert (adapted["told"][:, 1] - true[:, 1]).abs().max() < 0.1 < before  # friction decides
    changed = {name for name, leaf in adapted.items() if not torch.equal(leaf, begin[name])}
    assert changed == {"told", "tried", "earned", "num_tried"}
    assert adapted["tried"][:, :E].tolist() == [[0.0, 1.0]] * N  # in the order of the design


def test_the_same_episodes_are_fitted_once(recorded, monkeypatch):
    algorithm, begin, block = recorded
    fresh, fitted = Identification(CONFIG, algorithm.policy), []
    points = np.full((N, 2), 0.5)
    monkeypatch.setattr(
        "metarobot.algorithms.references.fit_tasks",
        lambda config, episodes: fitted.append(episodes) or points,
    )
    advantages = algorithm.adaptation_advantages(begin, block)
    for _ in range(2):
        fresh.adapt(begin, block, advantages)
    assert len(fitted) == 1
    fresh.adapt(begin, block.first(1), advantages[:, :1])
    other = replace(block, actions=block.actions + 0.1)
    fresh.adapt(begin, other, advantages)
    assert len(fitted) == 3


def test_episodes_without_their_starts_are_refused(recorded):
    _, _, block = recorded
    log = replace(block, start=torch.zeros(N, E, 0))
    with pytest.raises(ValueError, match=r"replays episodes from 2 numbers .* got 0: a log holds"):
        fit_tasks(CONFIG, log)


def test_an_angle_goes_round_and_a_number_stays_at_the_edge():
    box = _into_box(np.array([[[1.25, 1.25], [-0.25, -0.25]]]), np.array([True, False]))
    np.testing.assert_allclose(box, [[[0.25, 1.0], [0.75, 0.0]]])
    assert box.max() < 1.0
