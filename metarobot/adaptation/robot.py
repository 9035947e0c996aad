"""Robots: the interface that a policy needs, and any Gymnasium environment as one to collect in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv

from metarobot.envs import TaskBatch
from metarobot.envs.checks import read_numbers, show
from metarobot.rollout.collect import RolloutEnv
from metarobot.rollout.episodes import Episodes

_RELATIVE_TOLERANCE = 1e-5
"""Bounds that differ by less are equal: single precision, or a unit converted and back."""
LARGEST_REWARD = float(np.finfo(np.float32).max)
"""Rewards are kept in single precision."""


@dataclass(frozen=True)
class Interface:
    """The observations, actions and episodes of a task family."""

    observation_low: tuple[float, ...]
    """Lowest value of every observation element, in the family's units, (O,)."""
    observation_high: tuple[float, ...]
    """Highest value, (O,)."""
    action_size: int
    """A, action elements, each in half action ranges: [-1, 1]."""
    horizon: int
    """T, control steps of an episode at most."""

    def observe(self, observations: np.ndarray, where: str = "observation") -> np.ndarray:
        """Return observations (..., O) as the family reports them: float32, within the bounds."""
        observations = np.asarray(observations, np.float64)
        size = len(self.observation_low)
        if observations.ndim == 0 or observations.shape[-1] != size:
            raise ValueError(f"{where} must have {size} elements, got shape {observations.shape}")
        if not np.isfinite(observations).all():
            *_, element = place = tuple(np.argwhere(~np.isfinite(observations))[0])
            raise ValueError(
                f"{where} must hold finite numbers, got {observations[place]} as element {element}"
            )
        return np.clip(observations, self.observation_low, self.observation_high, dtype=np.float32)

    def shares_at_bounds(self, episodes: Episodes) -> tuple[float, ...]:
        """Return the share of the steps of episodes in which each element is at a bound, (O,)."""
        seen = episodes.observations[episodes.mask > 0.0].numpy()
        low, high = (np.array(b, np.float32) for b in (self.observation_low, self.observation_high))
        return tuple(((seen <= low) | (seen >= high)).mean(0).tolist())

    def require_spaces(self, observations: Space, actions: Space) -> None:
        """Refuse a robot with other spaces than those of the family.

        Observation bounds must be the family's, or infinite: then observations are clipped to the
        family's.  Actions must be of floats; their bounds lie within [-1, 1], or are infinite.
        """
        low, high = (np.array(b, np.float32) for b in (self.observation_low, self.observation_high))
        if not (isinstance(observations, Box) and _same(observations, low, high)):
            raise ValueError(
                f"the robot's observations are {_words(observations)}, but the policy needs "
                f"observations {_words(Box(low, high))}"
            )
        shape = (self.action_size,)
        alike = isinstance(actions, Box) and actions.shape == shape and actions.dtype.kind == "f"
        if not (alike and isinstance(actions, Box) and _within(actions)):
            wrapper = "wrappers.RescaleAction" if alike else "ActionWrapper of yours"
            raise ValueError(
                f"the robot's actions are {_words(actions)}, but the policy gives actions "
                f"{_words(Box(-1.0, 1.0, shape))}: a gymnasium.{wrapper} turns these into those"
            )


def _same(space: Box, low: np.ndarray, high: np.ndarray) -> bool:
    if space.shape != low.shape:
        return False
    tolerance = _RELATIVE_TOLERANCE * (high - low)
    lows = np.isneginf(space.low) | (np.abs(space.low - low) <= tolerance)
    highs = np.isposinf(space.high) | (np.abs(space.high - high) <= tolerance)
    return bool((lows & highs).all())


def _within(space: Box) -> bool:
    lows = np.isneginf(space.low) | (space.low >= -1.0)
    highs = np.isposinf(space.high) | (space.high <= 1.0)
    return bool((lows & highs).all())


def _words(space: Space) -> str:
    """Describe a space in one line."""
    if not isinstance(space, Box):
        return f"a {type(space).__name__}"
    low, high = (np.array2string(b, max_line_width=10**6) for b in (space.low, space.high))
    kind = "" if space.dtype.kind == "f" else f"{space.dtype} "
    return f"{kind}of shape {space.shape} in {low} .. {high}".replace("\n", " ")


def read_reward(
    reward: Any, shape: tuple[int, ...] = (), *, may_be_missing: bool = True
) -> np.ndarray:
    """Return the reward of a step in double precision; NaN where it was not measured.

    Args:
        reward: A number, or an array with one for each robot; NaN or None if not measured.
        shape: Shape of such an array; () for one robot.
        may_be_missing: Whether it may be NaN or None.
    """
    values = _to_array(np.nan if reward is None else reward)
    fits = values.dtype.kind in "fiub" and values.shape in ((), shape)
    is_known = np.abs(values) <= LARGEST_REWARD if fits else np.asarray(False)  # NaN is not
    if fits and not is_known.all() and may_be_missing:
        is_known = is_known | np.isnan(values)
    if not is_known.all():
        each = f", or {shape} of them" if shape else ""
        raise ValueError(f"reward must be a finite number{each}, got {show(reward)}")
    return values.astype(np.float64)


def read_flags(name: str, flags: Any, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return flags of one robot or several, such as the end of an episode; 0 and 1 are flags."""
    values = _to_array(flags)
    fits = values.dtype.kind in "fiub" and values.shape == shape
    if not fits or not ((values == 0) | (values == 1)).all():
        each = f" for each of {shape[0]} robots" if shape else ""
        raise ValueError(f"{name} must be true or false{each}, got {show(flags)}")
    return values.astype(bool)


def _to_array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception:  # the conversion of an unknown type may raise any
        return np.asarray(None)


Robot = gym.Env | VectorEnv
"""One robot, or several on the same task."""


class _Step(NamedTuple):
    """Results of a control step of V robots, (V, ...) each."""

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray


class RobotEnv:
    """A `RolloutEnv` over any ``gymnasium.Env`` or ``VectorEnv``.

    It is reset and stepped by Gymnasium's rules alone.  An episode that has ended is never stepped
    again, and once all have ended nothing is, until the next reset.  Where some robots of a
    ``VectorEnv`` are done and others are not, the former follow the autoreset mode: they begin an
    episode that does not count, and are commanded 0, the middle of the action range.

    Args:
        robot: The environment; the caller closes it.
        interface: Interface of the policy.
        num_used: M, robots in which episodes count; all by default.
        seed: Seed of the first reset; none when None.
        needs_rewards: Whether rewards must be measured; else they may be NaN.
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
    ) -> None:
        single = isinstance(robot, gym.Env)
        observations, box = (
            getattr(robot, name if single else f"single_{name}")
            for name in ("observation_space", "action_space")
        )
        interface.require_spaces(observations, box)
        self.num_envs = num_used or getattr(robot, "num_envs", 1)
        self.horizon = interface.horizon
        self.autoreset_mode = AutoresetMode.DISABLED
        self._interface, self._seed = interface, seed
        self._needs_rewards = needs_rewards
        self._low, self._high = np.maximum(box.low, -1.0), np.minimum(box.high, 1.0)
        self._dtype = box.dtype
        self._robots = _One(robot) if isinstance(robot, gym.Env) else _Several(robot)
        self._running = np.zeros(self.num_envs, bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every robot that is used, or in some; see `RolloutEnv.reset`."""
        self._running = (options or {}).get("reset_mask", np.ones(self.num_envs, bool)).copy()
        seed, self._seed = (self._seed if seed is None else seed), None
        return self._observe(self._robots.reset(seed)), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one control step in every robot with a running episode; see `RolloutEnv.step`."""
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
        ended = running & (terminated | truncated)
        observations = self._observe(step.observations)  # an episode that ends shows its last one
        self._running = running & ~ended
        return observations, rewards, terminated, truncated, _info(success)

    def _observe(self, observations: np.ndarray) -> np.ndarray:
        """Return the observations of the running robots; 0 for the others."""
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
            # Observations and infos are those of the episodes that begin.
            success = np.where(self._ended, self._success(infos.get("final_info", {})), success)
            shown = self._with_final(infos.get("final_obs"))
        return _Step(shown, rewards, terminated, truncated, success)

    def _with_final(self, final: Any) -> np.ndarray:
        """Return observations, and for episodes that have ended their last ones."""
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


def _info(success: np.ndarray) -> dict[str, np.ndarray]:
    return {"is_success": success, "sim_unstable": np.zeros_like(success)}


def rollout_env(
    robot: Robot,
    interface: Interface,
    *,
    one_after_the_other: bool,
    seed: int,
    needs_rewards: bool = True,
) -> RolloutEnv:
    """Return an environment in which episodes on one task can be collected; see `RobotEnv`.

    A batch of this package is taken as it is, and places the starts itself.  With
    `one_after_the_other`, each episode must come after the one before, on one robot.

    Raises:
        TypeError: It is neither a ``gymnasium.Env`` nor a ``VectorEnv``.
        ValueError: Its spaces are not the family's, or a batch of this package holds several tasks.
    """
    if not isinstance(robot, (gym.Env, VectorEnv)):
        raise TypeError(
            f"a policy adapts to a gymnasium.Env or VectorEnv, got a {type(robot).__name__}"
        )
    batch = robot.unwrapped
    if isinstance(batch, TaskBatch):
        number = len(np.unique(batch.tasks.values, axis=0))
        if number > 1:
            raise ValueError(
                f"a policy adapts to one task, but the batch holds {number}: give each task a "
                "batch of its own, as env.set_tasks does with one value for each parameter"
            )
    if isinstance(robot, TaskBatch) and not (one_after_the_other and robot.num_envs > 1):
        interface.require_spaces(robot.single_observation_space, robot.single_action_space)
        return robot
    return RobotEnv(
        robot,
        interface,
        num_used=1 if one_after_the_other else None,
        seed=seed,
        needs_rewards=needs_rewards,
    )
