"""Adaptation turned inside out, for controllers that own the loop: a ROS node, a PLC bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from metarobot.adaptation.interface import read_flags, read_reward
from metarobot.policies import Distribution, PolicyState, log_prob
from metarobot.rollout.collect import replay
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes

if TYPE_CHECKING:
    from metarobot.adaptation.policy import AdaptablePolicy


class SessionError(RuntimeError):
    """A session was used in another order than begin, act, record, act, record, .., adapt."""


class AdaptationSession:
    """Records adaptation episodes that somebody else's loop runs, and learns from them.

    Example::

        session = policy.session(episodes=5)
        while not session.complete:
            observation = robot.home()
            session.begin()
            while session.running:
                observation, reward, done = robot.move(session.act(observation))
                session.record(reward, terminated=done, final_observation=observation)
        adapted = session.adapt()

    The adapted parameters are, bit for bit, those that ``policy.adapt`` finds in the same episodes.
    After `adapt` the session goes on with the adapted policy and another block of episodes.

    Args:
        policy: Who explores, and adapts.
        episodes: E, adaptation episodes before each adaptation step.
        seed: Seed of the action noise.
    """

    def __init__(self, policy: AdaptablePolicy, episodes: int, seed: int = 0) -> None:
        self._num_episodes, self._seed = episodes, seed
        self._adapted: AdaptablePolicy | None = None
        self._take(policy)

    @property
    def num_recorded(self) -> int:
        """Episodes that have ended since the last adaptation step."""
        return len(self._episodes)

    @property
    def complete(self) -> bool:
        """Whether there are as many as an adaptation step takes."""
        return self.num_recorded == self._num_episodes

    @property
    def running(self) -> bool:
        """Whether an episode has begun and not ended; one ends by its horizon at the latest."""
        return self._steps is not None

    @property
    def recorded(self) -> Episodes:
        """The episodes that have ended since the last adaptation step, (1, E, T).

        Raises:
            SessionError: There is none.
        """
        if not self._episodes:
            raise SessionError("no episode has ended yet: call begin, act and record")
        return Episodes.join(self._episodes)

    @property
    def adapted(self) -> AdaptablePolicy:
        """The policy as the last adaptation step has left it.

        Raises:
            SessionError: There was none.
        """
        if self._adapted is None:
            raise SessionError("nothing has been adapted yet: call adapt after the last episode")
        return self._adapted

    def begin(self) -> None:
        """Begin an episode: the robot stands at its start.

        Raises:
            SessionError: One is running, or there are enough.
        """
        if self.running:
            raise SessionError("an episode is running: record its end, or discard it, before begin")
        if self.complete:
            raise SessionError(f"all {self._num_episodes} episodes are recorded: call adapt")
        self._steps = _Steps()
        self._state.begin()

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return what to command, with the action noise of exploration.

        Args:
            observation: What the robot shows, (O,) in the family's units.

        Returns:
            Action (A,) float32 in half action ranges, within [-1, 1].

        Raises:
            SessionError: No episode is running, or the last action has no reward yet.
            ValueError: The observation has another shape, or numbers that are not finite.
        """
        steps = self._steps
        if steps is None:
            raise SessionError("no episode is running: call begin once the robot is at its start")
        if steps.waiting:
            raise SessionError("the last action has no reward yet: call record before act")
        seen = torch.from_numpy(self._observe(observation)).reshape(1, 1, -1)
        distribution = mean, log_std = self._state.act(seen)
        noise = torch.from_numpy(self._noise[:, [self.num_recorded], len(steps.observations)])
        action = mean + log_std.exp().unsqueeze(1) * noise
        steps.add(seen, distribution, action)
        return np.clip(action[0, 0].numpy(), -1.0, 1.0)

    @torch.no_grad()
    def record(
        self,
        reward: float | None,
        terminated: bool = False,
        truncated: bool = False,
        *,
        success: bool = False,
        final_observation: np.ndarray | None = None,
    ) -> None:
        """Record what the last action brought.

        Args:
            reward: Reward of the step, in the family's unit.  None where nobody measures it, if the
                algorithm can do without.
            terminated: Whether the episode has come to its end.
            truncated: Whether it was cut short.
            success: Whether the task is solved now.
            final_observation: What the robot shows now, (O,), read where the episode ends.  None
                where nobody knows: then what came of the last action is unknown.

        Raises:
            SessionError: There was no action.
            ValueError: The reward is no finite number, or needed and None or NaN; a flag is
                neither true nor false; or the observation has another shape, or numbers that are
                not finite.  Nothing is recorded then.
        """
        steps = self._steps
        if steps is None or not steps.waiting:
            raise SessionError("there is no action to record a reward of: call act before record")
        may_be_missing = not self._policy.algorithm.needs_rewards
        known = float(read_reward(reward, may_be_missing=may_be_missing))
        ended = read_flags("terminated", terminated) | read_flags("truncated", truncated)
        solved = bool(read_flags("success", success))
        final = self._read_final(final_observation)
        steps.rewards.append(known)
        earned = torch.full((1, 1), known, dtype=torch.float32)
        self._state.observe(steps.actions[-1], earned, torch.ones(1, 1, dtype=torch.bool))
        horizon = self._policy.interface.horizon
        if ended or len(steps.rewards) == horizon:
            self._episodes.append(steps.to_episodes(horizon, final, solved))
            self._steps = None
            if len(steps.rewards) < horizon:  # else it knows that the episode has ended
                self._state.act(final)
                nothing = torch.zeros(1, 1)
                self._state.observe(torch.zeros_like(steps.actions[-1]), nothing, nothing > 0)

    def _read_final(self, observation: np.ndarray | None) -> Tensor:
        """Return what was seen after the last step, (1, 1, O); NaN if nobody knows."""
        interface = self._policy.interface
        if observation is None:
            return torch.full(
                (1, 1, len(interface.observation_low)), torch.nan, dtype=torch.float32
            )
        return torch.from_numpy(self._observe(observation)).reshape(1, 1, -1)

    def _observe(self, observation: np.ndarray) -> np.ndarray:
        """Return an observation of one robot, (O,), as the family reports it."""
        shown = self._policy.interface.observe(observation)
        if shown.ndim != 1:
            raise ValueError(f"observation must be of one robot, (O,), got shape {shown.shape}")
        return shown

    @torch.no_grad()
    def discard(self) -> None:
        """Discard the episode that is running, as after an emergency stop: begin it anew.

        Raises:
            SessionError: None is running.
        """
        if not self.running:
            raise SessionError("no episode is running: there is none to discard")
        self._steps = None
        self._state = self._new_state()
        for episode in self._episodes:  # which the policy remembers
            replay(self._state, episode)

    def adapt(self) -> AdaptablePolicy:
        """Take an adaptation step from the episodes, and return the adapted policy.

        Raises:
            SessionError: There are too few episodes, or one is still running.
        """
        if not self.complete:
            state = "one is still running" if self.running else "call begin for the next one"
            raise SessionError(
                f"{self.num_recorded} of {self._num_episodes} episodes are recorded: {state}"
            )
        self._adapted = self._policy.adapt_from(self.recorded)
        self._take(self._adapted)
        return self._adapted

    def _take(self, policy: AdaptablePolicy) -> None:
        """Go on with a policy, before its first episode."""
        self._policy = policy
        self._state = self._new_state()
        self._noise = draw_noise(policy, self._num_episodes, self._seed)
        self._episodes: list[Episodes] = []
        self._steps: _Steps | None = None

    def _new_state(self) -> PolicyState:
        policy = self._policy
        return policy.algorithm.exploring_policy.start(policy.task_params)


class _Steps:
    """The steps of an episode so far."""

    def __init__(self) -> None:
        self.observations: list[Tensor] = []
        self.distributions: list[Distribution] = []
        self.actions: list[Tensor] = []
        self.rewards: list[float] = []

    @property
    def waiting(self) -> bool:
        """Whether the last action has no reward yet."""
        return len(self.actions) > len(self.rewards)

    def add(self, seen: Tensor, distribution: Distribution, action: Tensor) -> None:
        """Add what was seen, (1, 1, O), and done, (1, 1, A)."""
        self.observations.append(seen)
        self.distributions.append(distribution)
        self.actions.append(action)

    def to_episodes(self, horizon: int, final: Tensor, success: bool) -> Episodes:
        """Return the episode as a block (1, 1, T): what it lacks does not count."""
        missing = horizon - len(self.rewards)
        mask = [1.0] * len(self.rewards) + [0.0] * missing
        means, log_std = [mean for mean, _ in self.distributions], self.distributions[-1].log_std
        taken = _stack(self.actions, missing)
        return Episodes(
            observations=_stack(self.observations, missing),
            final_observations=final,
            actions=taken,
            log_probs=log_prob(_stack(means, missing), log_std[:, None, None], taken),
            rewards=torch.tensor([[self.rewards + [0.0] * missing]], dtype=torch.float32),
            mask=torch.tensor([[mask]], dtype=torch.float32),
            success=torch.tensor([[success]]),
            unstable=torch.tensor([[False]]),
            start=torch.zeros(1, 1, 0),
        )


def _stack(steps: list[Tensor], missing: int) -> Tensor:
    """Join steps (1, 1, X) and 0 for those that are missing: (1, 1, T, X)."""
    return torch.stack([*steps, *[torch.zeros_like(steps[0])] * missing], dim=2)


def draw_noise(policy: AdaptablePolicy, episodes: int, seed: int) -> np.ndarray:
    """Return the action noise (1, E, T, A) of the policy's next block of adaptation episodes."""
    interface = policy.interface
    return draw_episodes(
        seed,
        0,
        Phase.ADAPTATION,
        tasks=[0],
        episode_shape=(episodes, interface.horizon, 0, interface.action_size),
        adaptation_step=policy.adaptation_steps,
    ).noise
