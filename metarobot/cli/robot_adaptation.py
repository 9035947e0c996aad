"""Adapts to a robot step by step, and knows what has been learned should the robot fail."""

from __future__ import annotations

from collections.abc import Iterator

from metarobot.adaptation.policy import AdaptablePolicy, require_count
from metarobot.adaptation.robot import Robot
from metarobot.config import MOST_ADAPTATION_STEPS
from metarobot.rollout.episodes import Episodes


class RobotAdaptation:
    """Adaptation steps on a robot, each from episodes of its own; as `AdaptablePolicy.adapt`.

    Args:
        policy: Who adapts.
        robot: What it adapts to.
        episodes: Adaptation episodes before each step.
        steps: Adaptation steps.
        seed: Seed of the action noise.

    Raises:
        ValueError: There are no steps, or too many.
    """

    def __init__(
        self, policy: AdaptablePolicy, robot: Robot, *, episodes: int, steps: int, seed: int
    ) -> None:
        require_count("steps", steps, MOST_ADAPTATION_STEPS)
        self.policy, self._start = policy, policy.num_episodes
        self._robot, self._num_episodes = robot, episodes
        self._num_steps, self._seed = steps, seed
        self._ended: list[Episodes] = []

    def steps(self) -> Iterator[Episodes]:
        """Take the steps, and yield the episodes that each has learned from."""
        for _ in range(self._num_steps):
            episodes = self.policy.explore(
                self._robot,
                episodes=self._num_episodes,
                seed=self._seed,
                on_ended=self._ended.append,
            )
            self._ended.clear()  # learning from them may fail, and would fail again
            self.policy = self.policy.adapt_from(episodes)
            yield episodes

    def learn_what_ended(self) -> int:
        """Learn from the episodes that ended before the robot failed.

        Returns:
            How many episodes have been learned from in all steps.
        """
        if self._ended:
            self.policy = self.policy.adapt_from(Episodes.join(self._ended))
        return self.policy.num_episodes - self._start
