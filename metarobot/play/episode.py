"""An episode in progress in two simulations: one that is shown, or a trial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarobot.adaptation.acting import Acting
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.session import AdaptationSession


class Result(NamedTuple):
    """How an episode went in one simulation."""

    total: float
    """Its return."""
    success: bool
    """Whether it ended in success."""
    mean_action: np.ndarray
    """Mean over its steps, (A,), in half action ranges."""


class Episode(ABC):
    """An episode in two simulations, which may end at different steps."""

    def __init__(self) -> None:
        self.num_steps = 0
        """Control steps since it began."""
        self._running, self._success = np.ones(2, bool), np.zeros(2, bool)
        self._returns, self._lengths = np.zeros(2), np.zeros(2)
        self._actions: np.ndarray | float = 0.0  # sum over steps, (2, A)

    @property
    def over(self) -> bool:
        """Whether it has ended in both."""
        return not self._running.any()

    @property
    def results(self) -> list[Result]:
        """How it went, by simulation."""
        means = self._actions / np.maximum(self._lengths, 1.0)[:, None]
        return [
            Result(float(total), bool(success), mean)
            for total, success, mean in zip(self._returns, self._success, means, strict=True)
        ]

    @abstractmethod
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return actions (2, A) for observations (2, O)."""

    def take(
        self, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, success: np.ndarray
    ) -> None:
        """Take note of a step: actions (2, A), and the others (2,) each."""
        running = self._running
        self.num_steps += 1
        self._lengths = self._lengths + running
        self._returns = self._returns + np.where(running, rewards, 0.0)
        self._actions = self._actions + actions * running[:, None]
        self._success = np.where(running, success, self._success)
        self._running = running & ~ended


class ShownEpisode(Episode):
    """An episode without action noise, as policies are judged: no memory of the ones before.

    Args:
        policies: Who acts in each of the simulations.
    """

    def __init__(self, policies: Sequence[AdaptablePolicy]) -> None:
        super().__init__()
        self._policies = [Acting(each.interface, each.policy, each.params) for each in policies]
        self._rewards: Sequence[float | None] = [None] * len(policies)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return actions (2, A) for observations (2, O)."""
        steps = zip(self._policies, observations, self._rewards, strict=True)
        return np.stack([policy.act(seen, reward) for policy, seen, reward in steps])

    def take(
        self, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, success: np.ndarray
    ) -> None:
        """Take note of a step, and tell the policies what it earned."""
        super().take(actions, rewards, ended, success)
        self._rewards = rewards.tolist()


class TrialEpisode(Episode):
    """An adaptation episode, the same in both simulations.

    Args:
        session: Who explores, and keeps the episode.
    """

    def __init__(self, session: AdaptationSession) -> None:
        super().__init__()
        self._session = session
        session.begin()

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return actions (2, A) for observations (2, O)."""
        action = self._session.act(observations[-1])
        return np.stack([action, action])

    def take(
        self, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, success: np.ndarray
    ) -> None:
        """Take note of a step, and record it."""
        super().take(actions, rewards, ended, success)
        self._session.record(
            float(rewards[-1]), truncated=bool(ended[-1]), success=bool(success[-1])
        )
