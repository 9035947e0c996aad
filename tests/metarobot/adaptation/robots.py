"""Robots that know nothing of this package: a made-up cart, single or several, ended early."""

import gymnasium as gym
import numpy as np

LOW, HIGH = np.full(3, -1.0), np.ones(3)
HORIZON = 12


class Cart(gym.Env):
    """A point that is to reach 0.5; each episode ends early, at another length.

    It refuses to be stepped before a reset and after an end, and notes every command.
    """

    def __init__(self, dtype=np.float64, scale=1.0, succeeds=True, ending="terminated"):
        self.observation_space = gym.spaces.Box(LOW.astype(dtype), HIGH.astype(dtype), dtype=dtype)
        self.action_space = gym.spaces.Box(-scale, scale, (2,))
        self.dtype, self.succeeds, self.ending = dtype, succeeds, ending
        self.commands, self.num_episodes, self.running = [], 0, False

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
        info = {"is_success": distance < 0.1} if self.succeeds else {}
        terminated = ended and self.ending == "terminated"
        return self._observe(), -distance, terminated, ended and not terminated, info

    def _observe(self):
        return np.append(self.position, self.elapsed / HORIZON).astype(self.dtype)
