"""A session takes what it can use, and goes on as if the rest had not been."""

import numpy as np
import pytest
import torch
from carts import ADAPTING, make_policy

from metarobot.adaptation.policy import SessionError

SEEN = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 5, 3))
"""3 episodes of 5 steps."""


def run_episode(session, number, num_steps=5):
    """Run the first steps of an episode, which ends after 5; return the actions."""
    session.begin()
    actions = []
    for t in range(num_steps):
        actions.append(session.act(SEEN[number, t]))
        session.record(0.1 * t - 0.3 * number, terminated=t == 4)
    return actions


@pytest.mark.parametrize("algorithm", ADAPTING)
def test_a_discarded_episode_leaves_no_trace(algorithm):
    """Counters, actions, episodes and the adapted parameters are those without it."""
    policy = make_policy(algorithm)
    session, undisturbed = (policy.session(episodes=3, seed=1) for _ in range(2))
    for number in range(3):
        run_episode(session, 2 - number, num_steps=3)
        if number == 1:
            session.act(SEEN[0, 0])  # whose reward never comes
        session.discard()
        assert (session.num_recorded, session.running) == (number, False)
        found, expected = (run_episode(each, number) for each in (session, undisturbed))
        np.testing.assert_array_equal(found, expected)
    assert torch.equal(session.recorded.log_probs, undisturbed.recorded.log_probs)
    expected = undisturbed.adapt()
    for name, leaf in session.adapt().params.items():
        assert torch.equal(leaf, expected.params[name]), name


def test_there_must_be_an_episode_to_discard():
    session = make_policy("maml").session(episodes=2)
    with pytest.raises(SessionError, match="no episode is running: there is none to discard"):
        session.discard()
    session.begin()
    with pytest.raises(SessionError, match="record its end, or discard it"):
        session.begin()


@pytest.mark.parametrize("name", ["terminated", "truncated", "success"])
@pytest.mark.parametrize("flag", [None, "False", np.nan, [True], np.zeros(2), 2, [[1], [1, 2]]])
def test_what_is_neither_true_nor_false_is_not_recorded(name, flag):
    session = make_policy("maml").session(episodes=1)
    session.begin()
    session.act(SEEN[0, 0])
    with pytest.raises(ValueError, match=f"^{name} must be true or false, got") as refusal:
        session.record(0.5, **{name: flag})
    assert "\n" not in str(refusal.value)
    session.record(0.5, terminated=np.bool_(False), truncated=0)
    session.act(SEEN[0, 1])
    session.record(0.25, terminated=1, success=torch.tensor(True))
    assert session.recorded.rewards[0, 0, :2].tolist() == [0.5, 0.25]
    assert session.recorded.success.all()


def test_what_is_no_log_is_refused():
    with pytest.raises(TypeError, match=r"from Episodes, as of Episodes\.from_log, got a list"):
        make_policy("maml").adapt_from([1, 2])
