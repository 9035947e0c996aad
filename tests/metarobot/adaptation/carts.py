"""A robot that knows nothing of this package, and untrained policies of it."""

import gymnasium as gym
import numpy as np
import torch

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.algorithms import ALGORITHMS, train_config
from metarobot.learning.inner_loop import STEP_VARIANCE

LOW, HIGH = np.full(3, -1.0), np.ones(3)
HORIZON = 12
ADAPTING = [name for name, kind in ALGORITHMS.items() if kind.adapts]
INTERFACE = Interface(tuple(LOW), tuple(HIGH), action_size=2, horizon=HORIZON)


def make_policy(algorithm, **options):
    """An untrained policy of the cart, whose parameters are all used."""
    config = train_config(algorithm=algorithm, hidden_sizes=(8,), **options)
    bare = AdaptablePolicy(config, {}, INTERFACE)
    params = bare.policy.initial_params(torch.Generator().manual_seed(0))
    if STEP_VARIANCE in params:  # else so few episodes move nothing
        params[STEP_VARIANCE] += 1e-9
    return AdaptablePolicy(config, params, INTERFACE)


class Cart(gym.Env):
    """A point that is to reach 0.5; each episode ends early, at another length.

    It refuses to be stepped before a reset and after an end, and notes every command.
    """

    def __init__(self, ending="terminated"):
        self.observation_space = gym.spaces.Box(LOW, HIGH, dtype=np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,))
        self.ending, self.commands, self.num_episodes, self.running = ending, [], 0, False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-0.5, 0.5, 2)
        self.length = 3 + 2 * (self.num_episodes % 4)
        self.num_episodes, self.elapsed, self.running = self.num_episodes + 1, 0, True
        return self._observe(), {}

    def step(self, action):
        assert self.running, "commanded after the end"
        assert self.action_space.contains(action)
        self.commands.append(action)
        self.position = np.clip(self.position + 0.1 * action, -1, 1)
        self.elapsed += 1
        ended = self.elapsed == self.length
        self.running = not ended
        distance = float(np.abs(self.position - 0.5).sum())
        terminated = ended and self.ending == "terminated"
        info = {"is_success": distance < 0.1}
        return self._observe(), -distance, terminated, ended and not terminated, info

    def _observe(self):
        return np.append(self.position, self.elapsed / HORIZON)
