"""Pairs of episodes without and with adaptation: a test that may stop at every pair."""

import math
from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from carts import make_policy

from metarobot.adaptation.comparison import Comparison, log_wealth

ROBOTS, PAIRS = 200, 20


def verdicts(differences, alpha=0.05):
    """Verdicts on robots with paired differences (R, n)."""
    limits = {"most_pairs": differences.shape[1], "alpha": alpha}
    nothing = (0.0,) * differences.shape[1]
    return [
        Comparison(**limits, without=nothing, adapted=tuple(row)).verdict for row in differences
    ]


def share(found, *words):
    return sum(verdict in words for verdict in found) / len(found)


def test_whatever_the_sizes_signs_of_a_coin_earn_nothing():
    """The mean of the products over all signs is 1 after every pair, for any sizes."""
    sizes = np.array([1.0, 0.0, 1e6, 3.0, 1e-9, 2.0, 2.0, 0.1])
    signs = np.array(list(product([-1, 1], repeat=len(sizes))))
    for bet in (0.2, 0.67, 5.0):
        wealth = np.exp(log_wealth(signs * sizes, bet))
        np.testing.assert_allclose(wealth.mean(1), 1.0)


def test_error_rates_and_power():
    rng = np.random.default_rng(0)
    shape = ROBOTS, PAIRS
    coin = rng.choice([-1, 1], shape)
    drift = np.arange(PAIRS) * 0.3 + rng.normal(size=shape)
    alike = (rng.normal(size=shape), coin * rng.standard_cauchy(shape), coin * drift)
    for differences in alike:
        assert share(verdicts(differences), "helped", "harmed") <= 0.05
    assert share(verdicts(rng.normal(1.0, 1.0, shape)), "helped") >= 0.9
    assert share(verdicts(rng.normal(-1.0, 1.0, shape)), "harmed") >= 0.9
    half = verdicts(rng.normal(0.5, 1.0, (ROBOTS, 60)))
    assert share(half, "helped") >= 0.8


def test_pairs_that_are_still_needed():
    def after(*differences):
        nothing = (0.0,) * len(differences)
        return Comparison(most_pairs=PAIRS, alpha=0.05, without=nothing, adapted=differences)

    needed = math.log(2 / 0.05)
    of_one = math.log1p(math.tanh(1.56 * math.sqrt(needed / PAIRS)))  # all of one size
    assert after(1.0).pairs_more == math.ceil(needed / of_one) - 1
    assert after(*[1.0] * 6).pairs_more < after(*[1.0] * 3).pairs_more
    assert after(0.0, 0.0).pairs_more is None
    assert after(1.0, -1.0, 1.0, -1.0).pairs_more is None
    assert after(*[1.0] * PAIRS).pairs_more == 0
    assert "told after 20 pairs" in str(after(*[1.0] * PAIRS))
    assert "adapting helped" in after(*[1.0] * PAIRS)._repr_html_()


class Drifting(gym.Env):
    """A robot that earns more from episode to episode, plus what its first action is worth."""

    def __init__(self, like, noise=0.3, seed=0):
        low, high = (np.float32(b) for b in (like.observation_low, like.observation_high))
        self.observation_space = gym.spaces.Box(low, high)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (like.action_size,))
        self.rng, self.noise, self.seeds, self.first = np.random.default_rng(seed), noise, [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action):
        self.first.append(float(action[0]))
        earned = len(self.seeds) + self.noise * self.rng.normal() + 100 * float(action[0])
        return np.zeros(self.observation_space.shape, np.float32), earned, True, False, {}


@pytest.fixture(scope="module")
def policies():
    """A policy, and one that commands more."""
    policy, adapted = make_policy("maml"), make_policy("maml")
    last = f"layers.{len(policy.policy.layers) - 1}.bias"
    adapted.params[last] += 0.2
    return policy, adapted


def test_a_robot_that_drifts(policies):
    policy, better = policies
    robot = Drifting(policy.interface)
    found = policy.compare(robot, better, progress=False)
    assert found.verdict == "helped"
    assert 6 <= found.num_pairs < PAIRS
    assert len(robot.seeds) == 2 * found.num_pairs
    assert robot.seeds[::2] == robot.seeds[1::2]  # simulations start alike in a pair
    assert len(set(robot.seeds)) == found.num_pairs
    both = np.reshape(robot.first, (-1, 2))
    assert 0 < (both[:, 0] > both[:, 1]).sum() < found.num_pairs  # the coin has decided
    assert better.compare(robot, policy, progress=False).verdict == "harmed"
    same = policy.compare(Drifting(policy.interface), policy, progress=False)
    assert (same.verdict, same.num_pairs) == ("not yet to be told", PAIRS)


def test_whoever_compares_what_does_not_go_together_is_told(policies):
    policy, better = policies
    robot = Drifting(policy.interface)

    def refuses(words, other=better, **options):
        with pytest.raises(ValueError, match=words) as refusal:
            policy.compare(robot, other, progress=False, **options)
        assert "\n" not in str(refusal.value)

    refuses("most_pairs must be an integer in", most_pairs=1)
    refuses(r"alpha must be a number in \[1e-6, 0.5\], got 5", alpha=5)
    refuses("seed must be an integer of 0 or more", seed=-1)
    refuses("compare needs two policies of metarobot/Grip-v0, got ", other="adapted.safetensors")
    robot.noise = math.nan
    refuses("the robot's rewards must be finite numbers")
