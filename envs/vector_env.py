"""All simulations of a task family as one native batch: the primary environment.

N tasks are held by E simulations each.  Every simulation is a row of one ``mujoco.batch.Batch``,
stepped together on native threads; no Python loop runs over environments or tasks in a step.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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
    require_memory,
    show,
    simulation_bytes,
)
from metarobot.envs.disturbances import Change, Disturbances, Disturber
from metarobot.envs.family import TaskFamily
from metarobot.envs.renderer import BatchRenderer, Pictures
from metarobot.envs.scene import SceneError, SceneRecord, load_family_scene, load_recorded_scene
from metarobot.envs.tasks import TaskError, Tasks
from metarobot.machine import MOST_THREADS, import_mujoco

if TYPE_CHECKING:
    from mujoco.batch import Batch

    from metarobot.envs.variants import Variant

_mj = import_mujoco()

SENSORS_CURRENT: int = _mj.mjtStage.mjSTAGE_VEL.value
"""Stage up to which positions, velocities and their sensors describe the new state."""
MOST_SIMULATIONS = 100_000
_NO_STAGE: int = _mj.mjtStage.mjSTAGE_NONE.value
_BAD_STATE_WARNINGS = [
    _mj.mjtWarning.mjWARN_BADQPOS.value,
    _mj.mjtWarning.mjWARN_BADQVEL.value,
    _mj.mjtWarning.mjWARN_BADQACC.value,
    _mj.mjtWarning.mjWARN_BADCTRL.value,
]


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
        tasks = {name: self.tasks[name] for name in self.tasks.names}
        return _make_copy, (type(self), *self._made_with, tasks, self.spec)

    def _get_spec(self) -> EnvSpec | None:
        return self._spec

    def _set_spec(self, spec: EnvSpec | None) -> None:
        limit = {"max_episode_steps": self.horizon}
        self._spec = None if spec is None else dataclasses.replace(spec, **limit)

    # An attribute for type checkers, as Gymnasium declares it.
    spec: Any = property(_get_spec, _set_spec, doc="Spec; None without ``gym.make``.")


def _make_copy(
    env_class: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tasks: Any, spec: Any
) -> Any:
    env = env_class(*args, **kwargs)
    env.set_tasks(Tasks(tasks))
    if spec is not None:
        env.spec = spec
    return env


_threaded: weakref.WeakSet[Batch] = weakref.WeakSet()
"""Batches with threads of their own, which stay in the parent when the process is forked."""


def _keep_batches() -> None:
    """Keep the parent's batches: at its end one joins its threads, and a child waits forever."""
    for batch in _threaded:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(batch))
    _threaded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_batches)


class TaskVectorEnv(GymnasiumMixin, TaskFamily, VectorEnv):
    """A batch of simulations of one task family.

    A family is a subclass that implements ``TaskFamily``.  A copy, also by ``pickle``, is a new
    batch with the same arguments and tasks, which must be reset before the first step.

    Args:
        num_envs: Number of simulations, as many as there is memory for.
        horizon: Control steps per episode T; the family's own when None.
        max_episode_steps: Upper limit of the horizon, as Gymnasium calls it; none when None.
        num_threads: Native threads of the batch; 0 takes every processor.  Results do not depend
            on it.  A batch of several threads is refused in a process that was forked after it
            was made.
        observe_task: Append the task parameters to the observation, scaled to the training range,
            an angle as its cosine and sine, as the oracle observes them.
        render_mode: ``rgb_array`` or None.
        variant: Other tasks and disturbances, of this family: the name of a shipped variant, the
            path of a TOML file, or a ``Variant``; None for the family as it is.
        scene_path: A user's scene, an MJCF file with the elements that the family needs, or the
            record of one in a run; the family's own, ``scene_path`` of the class, when None.
            docs/scenes.md describes how to write one.
        autoreset_mode: Behaviour of a step after an episode's end: ``NEXT_STEP`` begins the next
            one, ``DISABLED`` holds the simulation until it is reset.

    Raises:
        ValueError: An argument is out of range, or the variant is unknown or of another family.
        SceneError: The user's scene is not allowed or lacks elements that the family needs.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own type
        "render_modes": ["rgb_array"],
        "render_fps": 20,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    on_advance: Callable[[], None] | None = None
    """Called whenever a control step's time has passed: a film takes its pictures here."""

    pictures: Pictures = Pictures()
    """Size and content of the pictures; set before the first one."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        horizon: int | None = None,
        max_episode_steps: int | None = None,
        num_threads: int = 0,
        observe_task: bool = False,
        render_mode: str | None = None,
        variant: Variant | str | Path | None = None,
        scene_path: Path | str | SceneRecord | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        require_integer("num_envs", num_envs, 1, MOST_SIMULATIONS)
        require_integer("num_threads", num_threads, 0, MOST_THREADS)
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
        from metarobot.envs.variants import find_variant  # variants know the families

        self.variant = None if variant is None else find_variant(variant)
        self._change: Change | None = None
        if self.variant is not None:
            if not isinstance(self, self.variant.vector_class):
                raise TaskError(
                    f"variant {self.variant.name!r} is one of "
                    f"{self.variant.vector_class.family}, not of {self.family}"
                )
            self.distribution = self.variant.distribution
            self._change = self.variant.disturbances.change
            self.start_size = max(1, self.start_size)  # the start is the key of disturbances
        self.model = self._load_model(scene_path)
        simulations = {f"{num_envs} simulations": num_envs * simulation_bytes(self.model)}
        require_memory(simulations, "take fewer (num_envs)")
        self.batch = _mj.batch.Batch(self.model, num_envs, num_threads, persistent=True)
        self.control_dt_s = self.control_step_s()
        self.metadata = {**self.metadata, "render_fps": round(1 / self.control_dt_s)}
        self.autoreset_mode = autoreset_mode
        self._sensors = self.batch.bind("sensordata")
        self._qpos, self._qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._ctrl, self._act = self.batch.bind("ctrl"), self.batch.bind("act")
        self._home = self.model.key("home").id

        self._pid = os.getpid()
        if self.batch.nthread > 1:
            _threaded.add(self.batch)
        self._elapsed = np.zeros(num_envs, np.int64)  # control steps since the reset
        self._needs_reset = np.ones(num_envs, bool)
        self._begun = False  # whether there was a reset
        self._generators: list[np.random.Generator] = []  # of the starts, one a simulation
        self._renderer: BatchRenderer | None = None
        self._bind()
        self._disturber = Disturber(
            self.variant.disturbances if self.variant else Disturbances(),
            self.batch,
            units=[element.unit for element in self.observation_elements],
            action_size=len(self.action_elements),
            control_dt_s=self.control_dt_s,
            push_body=self.push_body,
        )
        spaces = self.spaces(self.observe_task)
        self.single_observation_space, self.single_action_space = spaces
        self._bounds = spaces[0]
        self._last = np.zeros((num_envs, *spaces[0].shape), np.float32)  # last observations
        self.observation_space, self.action_space = (batch_space(s, num_envs) for s in spaces)
        self._changed = np.zeros(num_envs, bool)  # physics has changed in this episode
        self.set_tasks(self.distribution.nominal())

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

        The physics changes at once and stays, across resets, until the next call.  Call ``reset``
        before the next step.

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
        if self._change:
            self.distribution.validate(self._change.apply(tasks))
        self._tasks = tasks.repeat(self.num_envs // len(tasks))
        self._changed[:] = False
        self._apply_tasks(self._tasks)
        self.batch.set_const()
        if self.observe_task:
            self._encoded_tasks = type(self).distribution.encode(self._tasks)
        self._needs_reset[:] = True

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
        self._reset_rows(ids, self._draw_starts(ids) if start is None else start)
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
        if self._change:
            self._change_physics(running & (self._elapsed == self._change.at_step), True)
        actions = self._disturber.delay(actions)
        self._disturber.push(self._elapsed)
        self._command_except(held, actions)
        self._advance(running)
        settling = running & (self._elapsed == self.horizon - 1)
        if self.settle_steps and settling.any():
            self._disturber.release(settling)
            for _ in range(self.settle_steps):
                self._advance(settling)
        self._elapsed += running
        rewards, success = self._evaluate(actions)
        warned = self.batch.warning[:, _BAD_STATE_WARNINGS, 1].any(axis=1)
        unstable = (warned | ~np.isfinite(self.batch.state).all(axis=1)) & running
        terminated = self._find_finished() & running & ~unstable
        ids = np.flatnonzero(ended & ~held)
        if ids.size:
            self._reset_rows(ids, self._draw_starts(ids))
        observations = self._see(held=unstable | held)
        rewards = np.where(running & ~unstable, rewards, 0.0)
        truncated = running & (unstable | (self._elapsed >= self.horizon))
        self._needs_reset = terminated | truncated | held
        info = {"is_success": success & running & ~unstable, "sim_unstable": unstable}
        return observations, rewards, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw every simulation from its ``video`` camera, as `pictures` says.

        Returns:
            A frame a simulation, (height, width, 3) uint8, or None without a render mode.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = BatchRenderer(
                self.model, self.num_envs, self.pictures, self.contact_force_m_per_n
            )
        return self._renderer.render(self.copy_drawn)

    def copy_drawn(self, sim: int, model: Any, data: Any) -> None:
        """Copy a simulation as it is drawn, its task, colours and state, into a model and data."""
        self.batch.get_model(sim, model)
        self._paint(sim, model)
        self.batch.get_data(sim, data)
        _mj.mj_forward(model, data)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer, which holds about 100 MB."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _load_model(self, scene_path: Path | str | SceneRecord | None) -> Any:
        """Compile the family's own scene, or load a user's and check it."""
        family: Any = type(self)  # type checkers see this file under two names
        if isinstance(scene_path, SceneRecord):
            return load_recorded_scene(family, scene_path)
        if scene_path is not None:
            return load_family_scene(family, scene_path)
        model = self.compile_own_scene()
        if model.opt.timestep != self.timestep_s:
            raise SceneError(
                f"{self.family} declares timestep_s {self.timestep_s:g}, "
                f"its scene has {model.opt.timestep:g}"
            )
        return model

    def _require_usable(self) -> None:
        """Refuse to go on after the end, or in a process that lacks the batch's threads."""
        if self.closed:
            raise ClosedEnvironmentError(f"this {self.family} environment is closed: make another")
        if self.batch.nthread > 1 and self._pid != os.getpid():
            raise RuntimeError(
                f"this batch of {self.batch.nthread} threads was made before the process was "
                "forked: make it in the child, start processes by 'spawn', or use num_threads=1"
            )

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

    def _reset_rows(self, ids: np.ndarray, start: np.ndarray) -> None:
        if self._change:
            self._change_physics(self._changed & np.isin(np.arange(self.num_envs), ids), False)
        self._disturber.restart(ids, start)
        self.batch.reset(ids, keyframe=self._home, stage=_NO_STAGE)
        self._elapsed[ids] = 0
        self._start(ids, start)
        self.batch.forward(ids, stage=SENSORS_CURRENT)
        self._needs_reset[ids] = False

    def _command_except(self, held: np.ndarray, actions: np.ndarray) -> None:
        """Command the simulations that are not held, (num_envs,) bool."""
        if not held.any():
            self._command(actions)
            return
        commanded = (self._ctrl, self._act, self._qvel)
        before = [field[held] for field in commanded]
        self._command(actions)
        for field, values in zip(commanded, before, strict=True):
            field[held] = values

    def _advance(self, chosen: np.ndarray) -> None:
        """Let a control step's time pass in the chosen simulations, (num_envs,) bool."""
        ids = None if chosen.all() else np.flatnonzero(chosen)
        self.batch.step(ids, nstep=self.substeps, stage=SENSORS_CURRENT)
        if self.on_advance is not None:
            self.on_advance()

    def _see(self, held: np.ndarray) -> np.ndarray:
        """Return the observations (num_envs, O), float32: with noise, the task, and in bounds.

        Simulations that are held, (num_envs,) bool, show their last observation.
        """
        measured = self._disturber.distort(self._observe(), self._elapsed)
        held = held | self._disturber.lost(self._elapsed)
        if self.observe_task:
            measured = np.concatenate([measured, self._encoded_tasks], axis=1)
        observations, space = np.empty_like(self._last), self._bounds
        np.clip(measured, space.low, space.high, out=observations, casting="same_kind")
        observations[held] = self._last[held]
        self._last = observations
        return observations.copy()

    def _change_physics(self, chosen: np.ndarray, changed: bool) -> None:
        """Give the chosen simulations, (num_envs,) bool, the changed physics or their own."""
        if self._change is None or not chosen.any():
            return
        self._changed[chosen] = changed
        ids, rows = np.flatnonzero(chosen), self._changed[:, None]
        values = np.where(rows, self._change.apply(self._tasks).values, self._tasks.values)
        names = self._tasks.names
        self._apply_tasks(Tasks(dict(zip(names, values.T, strict=True))))
        self.batch.set_const(ids)
        # A step goes on from the stage of the last one, which knew the old masses.
        self.batch.forward(ids, stage=SENSORS_CURRENT)
