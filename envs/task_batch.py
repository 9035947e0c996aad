"""Base of a batch: N tasks, held by E simulations each, whatever simulates them.

`TaskVectorEnv` simulates with MuJoCo, `GymnasiumVectorEnv` with any environment of Gymnasium.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.seeding import np_random as make_generator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarobot.envs.checks import (
    MOST_HORIZON,
    is_integer,
    read_numbers,
    read_options,
    read_start,
    require_integer,
    show,
)
from metarobot.envs.family import TaskFamily
from metarobot.envs.tasks import TaskError, Tasks

MOST_SIMULATIONS = 100_000


class GymnasiumMixin:
    """The horizon in the spec of an environment, and copies by ``copy``, ``deepcopy``, ``pickle``.

    The horizon is an argument, which the registered spec cannot hold: Gymnasium would end episodes
    at the family's own horizon.

    A copy is a new environment with the same arguments and tasks, which must be reset before the
    first step: a simulation cannot be copied.
    """

    horizon: Any
    tasks: Any
    _spec: EnvSpec | None = None
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, also those of a subclass with a constructor of its own."""
        env = super().__new__(cls)
        env._made_with = args, kwargs
        return env

    def __reduce__(self) -> tuple[Any, ...]:
        args, kwargs = self._made_with
        tasks = {name: self.tasks[name] for name in self.tasks.names}
        return _make_copy, (self._maker(), args, kwargs, tasks, self.spec)

    def _maker(self) -> Any:
        """Return what makes a copy from the same arguments; it must be found by its name."""
        return type(self)

    def _get_spec(self) -> EnvSpec | None:
        return self._spec

    def _set_spec(self, spec: EnvSpec | None) -> None:
        limit = {"max_episode_steps": self.horizon}
        self._spec = None if spec is None else dataclasses.replace(spec, **limit)

    # An attribute for type checkers, as Gymnasium declares it.
    spec: Any = property(_get_spec, _set_spec, doc="Spec; None without ``gym.make``.")


def _make_copy(
    make: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tasks: Any, spec: Any
) -> Any:
    env = make(*args, **kwargs)
    env.set_tasks(Tasks(tasks))
    if spec is not None:
        env.spec = spec
    return env


class Outcome(NamedTuple):
    """Results of a control step of a batch, (num_envs,) each; those not running are not read."""

    rewards: np.ndarray
    success: np.ndarray
    """Whether the task is solved now."""
    unstable: np.ndarray
    """Whether the simulation has failed in this step, which then does not count."""
    finished: np.ndarray
    """Whether the episode has ended by itself."""
    truncated: np.ndarray | bool = False
    """Whether the simulator has ended it before the horizon, for no reason of the task."""


class TaskBatch(GymnasiumMixin, TaskFamily, VectorEnv):
    """A batch of simulations of one task family.

    A subclass implements ``_take_tasks``, ``_reset_rows``, ``_simulate`` and ``_observe``.

    Args:
        num_envs: Number of simulations, as many as there is memory for.
        horizon: Control steps per episode T; the family's own when None.
        max_episode_steps: Upper limit of the horizon, as Gymnasium calls it; none when None.
        observe_task: Append the task parameters to the observation, scaled to the training range,
            an angle as its cosine and sine, as the oracle observes them.
        render_mode: ``rgb_array`` or None.
        autoreset_mode: Behaviour of a step after an episode's end: ``NEXT_STEP`` begins the next
            one, ``DISABLED`` holds the simulation until it is reset.

    Raises:
        ValueError: An argument is out of range.
    """

    variant: Any = None
    """The variant of the family that it is; None for the family itself."""

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own type
        "render_modes": ["rgb_array"],
        "render_fps": 20,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        *,
        horizon: int | None,
        max_episode_steps: int | None,
        observe_task: bool,
        render_mode: str | None,
        autoreset_mode: AutoresetMode,
    ) -> None:
        require_integer("num_envs", num_envs, 1, MOST_SIMULATIONS)
        if horizon is not None:
            require_integer("horizon", horizon, 1, MOST_HORIZON)
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not allowed: use 'rgb_array' or None")
        self.num_envs = num_envs
        self.horizon = min(horizon or self.default_horizon, max_episode_steps or sys.maxsize)
        self.observe_task = observe_task
        self.render_mode = render_mode
        self.control_dt_s = self.control_step_s()
        self.metadata = {**self.metadata, "render_fps": round(1 / self.control_dt_s)}
        self.autoreset_mode = autoreset_mode

        self._elapsed = np.zeros(num_envs, np.int64)  # control steps since the reset
        self._needs_reset = np.ones(num_envs, bool)
        self._begun = False  # whether there was a reset
        self._generators: list[np.random.Generator] = []  # of the starts, one a simulation
        spaces = self.spaces(observe_task)
        self.single_observation_space, self.single_action_space = spaces
        self._bounds = spaces[0]
        self._last = np.zeros((num_envs, *spaces[0].shape), np.float32)  # last observations
        self.observation_space, self.action_space = (batch_space(s, num_envs) for s in spaces)

    # Implemented by what simulates.

    def _take_tasks(self) -> None:
        """Give every simulation its task of ``self.tasks``."""
        raise NotImplementedError

    def _reset_rows(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Begin an episode in simulations ``ids`` from uniforms ``start``, (len(ids), S)."""
        raise NotImplementedError

    def _simulate(self, actions: np.ndarray, running: np.ndarray, held: np.ndarray) -> Outcome:
        """Advance the running simulations by a control step, which then counts in ``_elapsed``.

        Args:
            actions: In [-1, 1], (num_envs, A) float64.
            running: Simulations in which an episode runs.
            held: Simulations that may not be touched; all others can.
        """
        raise NotImplementedError

    def _measure(self) -> np.ndarray:
        """Return the observation as sensors report it, (num_envs, O)."""
        return self._observe()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a frame of each simulation, (height, width, 3) uint8; None without the mode."""
        raise NotImplementedError

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """Behaviour of a step after an episode has ended; can be set, but not to SAME_STEP."""
        return self.metadata["autoreset_mode"]

    @autoreset_mode.setter
    def autoreset_mode(self, mode: AutoresetMode) -> None:
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
            raise ValueError(f"autoreset_mode must be NEXT_STEP or DISABLED, got {mode!r}")
        self.metadata = {**self.metadata, "autoreset_mode": AutoresetMode(mode)}

    @property
    def tasks(self) -> Tasks:
        """The task that each simulation holds, (num_envs) tasks."""
        return self._tasks

    def set_tasks(self, tasks: Tasks | Mapping[str, Any]) -> None:
        """Give every simulation its task: task n is held by simulations n*E .. (n+1)*E - 1.

        The tasks stay, across resets, until the next call.  Call ``reset`` before the next step.

        Args:
            tasks: N tasks, where N divides ``num_envs``, with all of their parameters; or a mapping
                of some parameters to N values each, or to one: the others take their nominal
                values, as in ``{"block_mass_kg": 1.5}``.

        Raises:
            TaskError: A value is not allowed, or N does not divide ``num_envs``.
        """
        self._require_usable()
        tasks = self.distribution.read(tasks)
        if len(tasks) == 0 or self.num_envs % len(tasks):
            raise TaskError(
                f"{len(tasks)} tasks cannot share {self.num_envs} simulations equally: "
                "the number of tasks must divide num_envs"
            )
        self._check_tasks(tasks)
        self._tasks = tasks.repeat(self.num_envs // len(tasks))
        self._take_tasks()
        if self.observe_task:
            self._encoded_tasks = type(self).distribution.encode(self._tasks)
        self._needs_reset[:] = True

    def _check_tasks(self, tasks: Tasks) -> None:
        """Refuse tasks for a reason that the distribution does not know."""

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode in every simulation, or in those chosen; tasks stay.

        Args:
            seed: Seed of simulation 0; simulation i gets ``seed + i``.  Or one seed each.
            options: ``{"start": array}`` of uniforms in [0, 1), (num_envs, S), fixes the initial
                states, not the seed.  ``{"reset_mask": array}``, (num_envs,) bool, chooses
                simulations, as in Gymnasium; then ``start`` has one row for each of them.
                ``{"tasks": tasks}`` calls ``set_tasks`` first.  Other options are refused.

        Returns:
            Observations (num_envs, O) and an empty info.

        Raises:
            ValueError: An option is unknown or not valid; nothing has changed.
        """
        self._require_usable()
        given = read_options(options, ("start", "reset_mask", "tasks"))
        chosen = np.asarray(given.get("reset_mask", np.ones(self.num_envs, bool)))
        if chosen.shape != (self.num_envs,) or chosen.dtype != bool or not chosen.any():
            raise ValueError(
                f"reset_mask must be ({self.num_envs},) bool and choose a simulation, "
                f"got {chosen.dtype} {chosen.shape}"
            )
        ids, start = np.flatnonzero(chosen), given.get("start")
        if start is not None:
            start = read_start(start, (len(ids), self.start_size))
        if "tasks" in given:
            if not chosen.all():
                raise ValueError("tasks are set in all simulations: leave out reset_mask")
            self.set_tasks(given["tasks"])
        if seed is not None:
            self._seed(seed)
        self._begin(ids, self._draw_starts(ids) if start is None else start)
        self._begun = True
        return self._see(held=~chosen), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every simulation by one control step.

        Where an episode has ended, the action is ignored and the reward is 0.  With the
        ``autoreset_mode`` NEXT_STEP that simulation is reset instead; with DISABLED it is held: it
        is neither commanded nor simulated, shows its last observation, and ends no second time.

        Args:
            actions: (num_envs, A), clipped to [-1, 1].

        Returns:
            Observations (num_envs, O), rewards, terminated, truncated, and ``info`` with
            ``is_success`` and ``sim_unstable``, (num_envs,) each.

        Raises:
            ValueError: The actions are no real numbers, or of another shape, or one is NaN.
            ResetNeeded: The environment, or a copy of it, was never reset.
            ClosedEnvironmentError: It is closed, as for ``reset`` and ``set_tasks``.
        """
        self._require_usable()
        if not self._begun:
            raise ResetNeeded("call reset before the first step")
        actions = read_numbers("actions", actions, (self.num_envs, len(self.action_elements)))
        actions = np.clip(actions.astype(np.float64), -1.0, 1.0)
        if np.isnan(actions).any():
            sim, element = np.argwhere(np.isnan(actions))[0]
            raise ValueError(
                f"actions of {self.family} must be numbers in [-1, 1], "
                f"got nan in simulation {sim}, element {element}"
            )
        ended = self._needs_reset.copy()
        running = ~ended
        held = ended & (self.autoreset_mode is AutoresetMode.DISABLED)
        rewards, success, unstable, finished, cut = self._simulate(actions, running, held)
        terminated = finished & running & ~unstable
        ids = np.flatnonzero(ended & ~held)
        if ids.size:
            self._begin(ids, self._draw_starts(ids))
        observations = self._see(held=unstable | held)
        rewards = np.where(running & ~unstable, rewards, 0.0)
        truncated = running & (unstable | cut | (self._elapsed >= self.horizon))
        self._needs_reset = terminated | truncated | held
        info = {"is_success": success & running & ~unstable, "sim_unstable": unstable}
        return observations, rewards, terminated, truncated, info

    def _require_usable(self) -> None:
        """Refuse to go on after the end."""
        if self.closed:
            raise ClosedEnvironmentError(f"this {self.family} environment is closed: make another")

    def _seed(self, seed: int | Sequence[int | None]) -> None:
        """Seed the starts of simulation i by ``seed + i``, or by the i-th seed."""
        given: Any = seed
        if is_integer(given, 0, math.inf):
            given = [int(given) + i for i in range(self.num_envs)]
        seeds = [*given] if isinstance(given, Iterable) else []
        known = all(each is None or is_integer(each, 0, math.inf) for each in seeds)
        if not known or len(seeds) != self.num_envs:
            raise ValueError(
                "seed must be an integer of 0 or more, or a list with one for each of the "
                f"{self.num_envs} simulations, got {show(seed)}"
            )
        self._generators = [make_generator(None if s is None else int(s))[0] for s in seeds]

    def _draw_starts(self, ids: np.ndarray) -> np.ndarray:
        """Return uniforms in [0, 1) for simulations ``ids``, (len(ids), S)."""
        if not self._generators:
            self._seed([None] * self.num_envs)
        return np.stack([self._generators[i].random(self.start_size) for i in ids])

    def _begin(self, ids: np.ndarray, start: np.ndarray) -> None:
        self._elapsed[ids] = 0
        self._reset_rows(ids, start)
        self._needs_reset[ids] = False

    def _see(self, held: np.ndarray) -> np.ndarray:
        """Return the observations (num_envs, O), float32: with the task, and in bounds.

        Simulations that are held, (num_envs,) bool, show their last observation.
        """
        measured = self._measure()
        if self.observe_task:
            measured = np.concatenate([measured, self._encoded_tasks], axis=1)
        observations, space = np.empty_like(self._last), self._bounds
        np.clip(measured, space.low, space.high, out=observations, casting="same_kind")
        observations[held] = self._last[held]
        self._last = observations
        return observations.copy()
