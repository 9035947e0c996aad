"""A stranger's environment, in a module that imports nothing else."""

import os
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box


class Drive(gym.Env):
    """Drives to 1 with an unknown gain."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    steps = 0

    def __init__(self, doomed=Path("no such file"), render_mode=None):
        self.doomed, self.render_mode = doomed, render_mode
        self.observation_space, self.action_space = Box(-5.0, 5.0, (1,)), Box(-2.0, 2.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.gain = options["tasks"]["gain"]
        self.place = self.np_random.uniform(-0.1, 0.1)
        return np.array([self.place], np.float32), {}

    def step(self, action):
        Drive.steps += 1
        if Drive.steps > 1500 and self.doomed.exists():
            os._exit(1)
        self.place += 0.5 * self.gain * action[0]
        error = self.place - 1.0
        return np.array([self.place], np.float32), -(error**2), False, False, {}

    def render(self):
        return np.full((48, 64, 3), 100, np.uint8)
