"""What a policy at work is told: refused in one line, and then as if it had not been told."""

import numpy as np
import pytest
import torch
from carts import make_policy

from metarobot.policies.latent import LatentPolicy

REMEMBERING = ["latent", "rl2"]
"""Those that remember from episode to episode, and read rewards."""
SEEN = np.random.default_rng(0).uniform(-0.5, 0.5, (8, 3, 3))
"""8 steps of 3 robots."""


def changed(algorithm):
    """A policy whose memory changes what it does."""
    options = {"reward_products": True} if algorithm == "rl2" else {}
    policy = make_policy(algorithm, **options)
    params = {name: leaf + 0.1 for name, leaf in policy.params.items()}
    return type(policy)(policy.config, params, policy.interface)


def act(policy, robots, reward=1.0):
    """Act through an episode on some of the robots; return the actions."""
    rewards = [None] + [reward] * (len(SEEN) - 1)
    return [
        policy.act(seen[robots], reward=earned) for seen, earned in zip(SEEN, rewards, strict=True)
    ]


@pytest.mark.parametrize("robots", [0, slice(3)])
@pytest.mark.parametrize(
    "algorithm", ["maml", "prototype", "recurrent_randomisation", "teacher_student", *REMEMBERING]
)
def test_it_acts_as_it_does_where_episodes_are_collected(algorithm, robots):
    """In single precision there, in double precision here; an unmeasured reward is no reward."""
    policy, rng, reward = changed(algorithm), np.random.default_rng(1), None
    state = policy.policy.start(policy.task_params)
    for t, seen in enumerate(np.concatenate([SEEN, SEEN])[:, robots].astype(np.float32)):
        if begins := t % len(SEEN) == 0:
            state.begin()
            policy.begin(reward)
        found = policy.act(seen, reward=None if begins else reward)
        with torch.no_grad():
            mean = state.act(torch.from_numpy(seen).view(1, -1, 3)).mean
        np.testing.assert_allclose(found, mean.clamp(-1.0, 1.0).view(found.shape), 0, 1e-5)
        reward = np.where(t % 5 == 3, np.nan, rng.normal(size=seen.shape[:-1]))
        earned = torch.from_numpy(reward).float().reshape(1, -1)
        state.observe(mean, earned, torch.ones_like(earned, dtype=torch.bool))


@pytest.mark.parametrize("algorithm", ["teacher_student", *REMEMBERING])
def test_begin_is_an_episode_of_the_same_robot_and_forget_is_another_robot(algorithm):
    policy = changed(algorithm)
    first = act(policy, 0)
    policy.begin(1.0)
    assert np.array_equal(act(policy, 0), first) == (algorithm not in REMEMBERING)
    policy.forget()
    np.testing.assert_array_equal(act(policy, 0), first)
    for robots in (slice(3), 0, slice(2)):  # another number of robots: others
        policy.begin()
        np.testing.assert_array_equal(act(policy, robots), act(changed(algorithm), robots))


@pytest.mark.parametrize("algorithm", REMEMBERING)
def test_nan_is_a_reward_that_nobody_measured(algorithm, monkeypatch):
    def always(policy, params, candidates, log_weights, task_codes):
        return torch.ones(*task_codes.shape[:-1], 1)

    monkeypatch.setattr(LatentPolicy, "gains", always)
    policy, expected = changed(algorithm), changed(algorithm)
    np.testing.assert_array_equal(act(policy, 0, np.nan), act(expected, 0, None))
    actions = []
    for reward in (None, np.nan, 0.0):  # nothing is not 0, which is the best there is on Slide
        policy = changed(algorithm)
        act(policy, 0)
        policy.begin(reward)
        actions.append(act(policy, 0))
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])
    some = np.array([0.5, np.nan, 0.5])
    assert np.isfinite(act(changed(algorithm), slice(3), some)).all()


@pytest.mark.parametrize("algorithm", ["maml", *REMEMBERING])
def test_an_observation_that_is_refused_is_not_remembered(algorithm):
    policy, expected = changed(algorithm), changed(algorithm)
    for shape in ((1, 1, 3), (0, 3), (0, 2, 3)):
        with pytest.raises(ValueError, match=r"^observation must have shape \(3,\), or \(M") as no:
            policy.act(np.zeros(shape))
        assert str(no.value).endswith(f"M at least 1, got {shape}")
    for t, seen in enumerate(SEEN[:, 0]):
        with pytest.raises(ValueError, match=r"must hold finite numbers, got nan as element 1$"):
            policy.act(np.where(np.arange(3) == 1, np.nan, seen), reward=2.0)
        reward = None if t == 0 else 1.0
        np.testing.assert_array_equal(
            policy.act(seen, reward=reward), expected.act(seen, reward=reward)
        )
