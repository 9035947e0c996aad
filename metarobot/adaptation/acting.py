"""A policy at work on robots, without action noise: what they show and earn is checked first."""

from __future__ import annotations

from typing import Any

import numpy as np

from metarobot.adaptation.interface import Interface
from metarobot.adaptation.rewards import read_reward
from metarobot.policies import Params
from metarobot.policies.gaussian_policy import GaussianPolicy


class Acting:
    """A policy at work on one robot, or on the same M robots.

    Args:
        interface: What the policy needs.
        policy: Its functional module.
        params: Its parameters, each leaf in its own shape.
    """

    def __init__(self, interface: Interface, policy: GaussianPolicy, params: Params) -> None:
        self._interface, self._policy, self._params = interface, policy, params
        self._low = np.array(interface.observation_low)
        self._high = np.array(interface.observation_high)
        self.forget()

    def forget(self) -> None:
        """Act on other robots from now on."""
        self._controller = self._policy.controller(self._params)
        self._robots: tuple[int, ...] | None = None  # (), or (M,), once it has acted
        self._begins = True

    def begin(self, reward: Any) -> None:
        """Begin an episode; see `AdaptablePolicy.begin`."""
        if reward is not None:
            self._controller.learn(read_reward(reward, self._robots or ()))
        self._controller.begin()
        self._begins = True

    def act(self, observation: np.ndarray, reward: Any) -> np.ndarray:
        """Return what to command; see `AdaptablePolicy.act`."""
        seen = np.asarray(observation, np.float64)
        if seen.shape[-1:] != self._low.shape or not np.isfinite(seen).all():
            self._interface.observe(seen)  # says what is wrong
        robots = seen.shape[:-1]
        if robots == (0,) or len(robots) > 1:
            size = len(self._low)
            raise ValueError(
                f"observation must have shape ({size},), or (M, {size}) for M robots, M at least "
                f"1, got {seen.shape}"
            )
        earned = None if reward is None else read_reward(reward, robots)
        if robots != self._robots:
            self._take(robots)
        if earned is not None:
            self._controller.learn(earned)
        action = self._controller.act(np.minimum(np.maximum(seen, self._low), self._high))
        self._begins = False
        return np.minimum(np.maximum(action, -1.0), 1.0).astype(np.float32)

    def _take(self, robots: tuple[int, ...]) -> None:
        """Act on another number of robots, which are others."""
        if self._robots is not None and self._controller.remembers:
            if not self._begins:
                before, now = ((*shape, len(self._low)) for shape in (self._robots, robots))
                raise ValueError(
                    f"observation must have shape {before}, as in the last step, got {now}: "
                    "call begin before the first step of other robots"
                )
            self.forget()
        self._robots = robots
