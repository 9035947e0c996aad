"""Any environment that follows Gymnasium's rules, as one in which episodes are collected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from metarobot.adaptation.interface import LARGEST_REWARD, Interface, read_flags
from metarobot.envs import TaskVectorEnv
from metarobot.envs.checked_arrays import read_numbers
from metarobot.rollout.environment import RolloutEnv

Robot = gym.Env | VectorEnv
"""What a policy adapts to: one robot, or several on the same task."""


class _Step(NamedTuple):
    """What a control step of V robots returns, (V, ...) each."""

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray


class RobotEnv:
    """A `RolloutEnv` over a ``gymnasium.Env`` or ``VectorEnv`` that knows nothing of this package.

    It is reset and stepped by Gymnasium's rules alone.  An episode that has ended is never stepped
    again, and once all have ended nothing is, until the next reset.  Where some robots of a
    ``VectorEnv`` are done and others are not, the autoreset mode decides what happens to those:
    they begin an episode that does not count, and are commanded 0, the middle of the action range.

    Args:
        robot: The environment; it stays the caller's, who closes it.
        interface: What the policy needs.
        num_used: M, robots in which episodes count; all by default.
        seed: Seed of the first reset; none when None.
        needs_rewards: Whether the robot must know its rewards; else they may be NaN.
        on_episodes: Called with the returns of the episodes that have ended together.

    Raises:
        ValueError: The spaces are not the family's.
    """

    start_size = 0

    def __init__(
        self,
        robot: Robot,
        interface: Interface,
        *,
        num_used: int | None = None,
        seed: int | None = None,
        needs_rewards: bool = True,
        on_episodes: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        spaces = robot if isinstance(robot, gym.Env) else _single_spaces(robot)
        interface.require_spaces(spaces.observation_space, spaces.action_space)
        self.num_envs = num_used or getattr(robot, "num_envs", 1)
        self.horizon = interface.horizon
        self.autoreset_mode = AutoresetMode.DISABLED
        self._interface, self._seed, self._on_episodes = interface, seed, on_episodes
        self._needs_rewards = needs_rewards
        box: Any = spaces.action_space
        self._low, self._high = np.maximum(box.low, -1.0), np.minimum(box.high, 1.0)
        self._dtype = box.dtype
        self._robots = _One(robot) if isinstance(robot, gym.Env) else _Several(robot)
        self._running = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs)
        self._elapsed = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every robot that is used, or in some; see `RolloutEnv.reset`."""
        self._running = (options or {}).get("reset_mask", np.ones(self.num_envs, bool)).copy()
        self._returns[:], self._elapsed = 0.0, 0
        seed, self._seed = (self._seed if seed is None else seed), None
        return self._observe(self._robots.reset(seed)), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one control step in every robot whose episode runs; see `RolloutEnv.step`."""
        M, running = self.num_envs, self._running
        nothing = np.zeros(M, bool)
        if not running.any():
            observations = np.zeros((M, len(self._interface.observation_low)), np.float32)
            return observations, np.zeros(M), nothing, nothing, _info(nothing)
        commands = np.zeros((self._robots.num_robots, actions.shape[-1]))
        commands[:M][running] = actions[running]
        commands = np.clip(commands, self._low, self._high).astype(self._dtype)
        step = self._robots.step(commands)
        rewards = read_numbers("the robot's rewards", step.rewards, (self._robots.num_robots,))
        rewards = np.where(running, rewards[:M], 0.0)
        terminated, truncated, success = (flags[:M] for flags in step[2:])
        known = np.abs(rewards) <= LARGEST_REWARD  # NaN is not
        if not (known if self._needs_rewards else known | np.isnan(rewards)).all():
            raise ValueError(f"the robot's rewards must be finite numbers, got {rewards}")
        self._returns += rewards
        self._elapsed += 1
        ended = running & (terminated | truncated)
        observations = self._observe(step.observations)  # an episode that ends shows its last one
        self._running = running & ~ended
        self._tell(ended | (running & (self._elapsed == self.horizon)))
        return observations, rewards, terminated, truncated, _info(success)

    def _observe(self, observations: np.ndarray) -> np.ndarray:
        """Return what the running robots show; 0 for the others."""
        size, rows = len(self._interface.observation_low), self._robots.num_robots
        if observations.shape[:1] != (rows,):
            raise ValueError(
                f"the robot's observations must be {rows}, one for each robot, got an array of "
                f"shape {observations.shape}"
            )
        if observations.shape[1:] != (size,) or observations.dtype.kind not in "fiub":
            raise ValueError(
                f"the robot's observation must be numbers of shape ({size},), got "
                f"{observations.dtype} of shape {observations.shape[1:]}"
            )
        shown = np.where(self._running[:, None], observations[: self.num_envs], 0.0)
        return self._interface.observe(shown, "the robot's observation")

    def _tell(self, ended: np.ndarray) -> None:
        if self._on_episodes is not None and ended.any():
            self._on_episodes(self._returns[ended])


class _One:
    """A single environment as one of several."""

    num_robots = 1

    def __init__(self, env: gym.Env) -> None:
        self._env = env

    def reset(self, seed: int | None) -> np.ndarray:
        """Begin an episode."""
        return np.asarray(self._env.reset(seed=seed)[0])[None]

    def step(self, commands: np.ndarray) -> _Step:
        """Take a step within an episode."""
        observation, reward, terminated, truncated, info = self._env.step(commands[0])
        success = False if info.get("is_success") is None else info["is_success"]
        flags = {"terminated": terminated, "truncated": truncated, "is_success": success}
        read = (read_flags(f"the robot's {name}", flag)[None] for name, flag in flags.items())
        earned = np.asarray([np.nan if reward is None else reward])
        return _Step(np.asarray(observation)[None], earned, *read)


class _Several:
    """A vector environment in any of Gymnasium's autoreset modes."""

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self.num_robots = env.num_envs
        self._mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._ended = np.zeros(env.num_envs, bool)
        self._observations = np.empty(0)

    def reset(self, seed: int | None) -> np.ndarray:
        """Begin an episode in all, unless the last step has just done so."""
        begun = self._mode is AutoresetMode.SAME_STEP and self._ended.all()
        self._ended[:] = False
        if begun and seed is None:
            return self._observations
        return np.asarray(self._env.reset(seed=seed)[0])

    def step(self, commands: np.ndarray) -> _Step:
        """Take a step; where an episode has ended, the next one begins as the mode says."""
        if self._ended.any() and self._mode is AutoresetMode.DISABLED:
            self._env.reset(options={"reset_mask": self._ended.copy()})
        observations, rewards, terminated, truncated, infos = self._env.step(commands)
        terminated = read_flags("the robot's terminated", terminated, (self.num_robots,))
        truncated = read_flags("the robot's truncated", truncated, (self.num_robots,))
        self._observations = np.asarray(observations).copy()
        self._ended = terminated | truncated
        success = self._success(infos)
        shown = self._observations
        if self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            # What is shown, and the infos, are those of the episodes that begin.
            success = np.where(self._ended, self._success(infos.get("final_info", {})), success)
            shown = self._with_final(infos.get("final_obs"))
        return _Step(shown, rewards, terminated, truncated, success)

    def _with_final(self, final: Any) -> np.ndarray:
        """Return what is shown, and for episodes that have ended what they showed last."""
        try:
            ended = np.stack([np.asarray(final[place]) for place in np.flatnonzero(self._ended)])
            shown = self._observations.copy()
            shown[self._ended] = ended
        except (TypeError, ValueError, IndexError, KeyError):
            raise ValueError(
                "a robot that resets in the same step must give the last observation of an episode "
                "as infos['final_obs'], as Gymnasium's vector environments do"
            ) from None
        return shown

    def _success(self, infos: dict[str, Any]) -> np.ndarray:
        return np.broadcast_to(infos.get("is_success", False), self.num_robots).astype(bool)


class _Spaces(NamedTuple):
    observation_space: gym.Space
    action_space: gym.Space


def _single_spaces(robot: VectorEnv) -> _Spaces:
    return _Spaces(robot.single_observation_space, robot.single_action_space)


def _info(success: np.ndarray) -> dict[str, np.ndarray]:
    return {"is_success": success, "sim_unstable": np.zeros_like(success)}


def rollout_env(
    robot: Robot,
    interface: Interface,
    *,
    one_after_the_other: bool,
    seed: int,
    needs_rewards: bool = True,
    on_episodes: Callable[[np.ndarray], None] | None = None,
) -> RolloutEnv:
    """Return an environment in which episodes on one task can be collected.

    Args:
        robot: A ``gymnasium.Env`` or ``VectorEnv``; a native batch of this package is taken as it
            is, and places the starts itself.
        interface: What the policy needs.
        one_after_the_other: Whether each episode must come after the one before, on one robot.
        seed: Seed of the first reset.
        needs_rewards: Whether the robot must know its rewards; else they may be NaN.
        on_episodes: Called with the returns of the episodes that have ended together.

    Raises:
        TypeError: It is neither.
        ValueError: Its spaces are not the family's, or a batch of this package holds several tasks.
    """
    if not isinstance(robot, (gym.Env, VectorEnv)):
        raise TypeError(
            f"a policy adapts to a gymnasium.Env or VectorEnv, got a {type(robot).__name__}"
        )
    _require_one_task(robot.unwrapped)
    if isinstance(robot, TaskVectorEnv) and not (one_after_the_other and robot.num_envs > 1):
        interface.require_spaces(robot.single_observation_space, robot.single_action_space)
        return robot
    num_used = 1 if one_after_the_other else None
    return RobotEnv(
        robot,
        interface,
        num_used=num_used,
        seed=seed,
        needs_rewards=needs_rewards,
        on_episodes=on_episodes,
    )


def _require_one_task(robot: object) -> None:
    """Refuse a batch of this package that holds several tasks: they would adapt as one."""
    if isinstance(robot, TaskVectorEnv):
        number = len(np.unique(robot.tasks.values, axis=0))
        if number > 1:
            raise ValueError(
                f"a policy adapts to one task, but the batch holds {number}: give each task a "
                "batch of its own, as env.set_tasks does with one value for each parameter"
            )
