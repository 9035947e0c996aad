"""All simulations of a task family as one native batch: the primary environment.

N tasks are held by E simulations each.  Every simulation is a row of one ``mujoco.batch.Batch``,
stepped together on native threads; no Python loop runs over environments or tasks in a step.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from mujoco.batch import Batch

from metarobot.envs.batch_renderer import BatchRenderer
from metarobot.envs.checked_arrays import read_actions, read_mask, read_options, read_start
from metarobot.envs.disturbances import Change
from metarobot.envs.episode_limit import EpisodeLimit
from metarobot.envs.made_again import MadeAgain
from metarobot.envs.memory import check_counts, require_memory, simulation_bytes
from metarobot.envs.native_threads import NativeThreads
from metarobot.envs.observer import Observer
from metarobot.envs.scene import SceneRecord
from metarobot.envs.simulations import SENSORS_CURRENT
from metarobot.envs.starts import Starts
from metarobot.envs.task_parameter import TaskError
from metarobot.envs.tasks import Tasks
from metarobot.envs.under_variant import UnderVariant

if TYPE_CHECKING:
    from metarobot.envs.variants import Variant

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_NO_STAGE: int = _mj.mjtStage.mjSTAGE_NONE.value


class TaskVectorEnv(MadeAgain, EpisodeLimit, UnderVariant, VectorEnv):
    """A batch of simulations of one task family.

    A family is a subclass that says what ``TaskFamily`` leaves open.

    A copy, also by ``pickle``, is a new batch with the same arguments and tasks, whose episodes
    have not begun (``MadeAgain``).

    Args:
        num_envs: Number of simulations, as many as there is memory for; envs/memory.py has the
            bounds of all numbers.
        horizon: Control steps per episode T; the family's own when None.
        max_episode_steps: Gymnasium's word for an upper limit of the horizon; none when None.
        num_threads: Native threads of the batch; 0 takes every processor.  Results do not depend
            on it.  A batch of several threads is refused in a process that was forked after it
            was made.
        observe_task: Append the task parameters to the observation, scaled to the training range,
            an angle as its cosine and sine.  This is what the oracle sees.
        render_mode: ``rgb_array`` or None.
        variant: Other tasks and disturbances, of this family: the name of a shipped variant, the
            path of a TOML file, or a ``Variant``; None for the family as it is.
        scene_path: A scene of the user's, an MJCF file that has what the family needs, or what a
            run recorded of one; the family's own, ``scene_path`` of the class, when None.
            docs/scenes.md tells how to write one.
        autoreset_mode: What a step does where an episode has ended: ``NEXT_STEP`` begins the next
            one, ``DISABLED`` holds the simulation until it is reset.

    Raises:
        ValueError: An argument is out of range, or the variant is of another family, or there is
            none of that name.
        SceneError: The user's scene is not allowed or lacks what the family needs.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own type
        "render_modes": ["rgb_array"],
        "render_fps": 20,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

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
        check_counts(num_envs, num_threads, horizon)
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not allowed: use 'rgb_array' or None")
        self.num_envs = num_envs
        self.horizon = min(horizon or self.default_horizon, max_episode_steps or sys.maxsize)
        self.observe_task = observe_task
        self.render_mode = render_mode
        self.variant = None if variant is None else self._read_variant(variant)
        self._change: Change | None = None
        if self.variant is not None:
            self._take_variant(self.variant)

        self.model = self._load_model(scene_path)
        simulations = {f"{num_envs} simulations": num_envs * simulation_bytes(self.model)}
        require_memory(simulations, "take fewer (num_envs)")
        self.batch = Batch(self.model, num_envs, num_threads, persistent=True)
        self.control_dt_s = self.control_step_s()
        self.metadata = {**self.metadata, "render_fps": round(1 / self.control_dt_s)}
        self.autoreset_mode = autoreset_mode
        self._sensors = self.batch.bind("sensordata")
        self._commanded = [self.batch.bind(name) for name in ("ctrl", "act", "qvel")]
        self._home = self.model.key("home").id

        self._threads = NativeThreads(self.batch)
        self._elapsed = np.zeros(num_envs, np.int64)  # control steps since the reset
        self._needs_reset = np.ones(num_envs, bool)
        self._begun = False  # whether there was a reset
        self._starts = Starts(num_envs, self.start_size)
        self._renderer: BatchRenderer | None = None
        self._bind()
        self._disturber = self._make_disturber()
        self._observer = self._make_observer()
        self._make_spaces()
        self._changed = np.zeros(num_envs, bool)  # whose physics has changed in this episode
        self.set_tasks(self.distribution.nominal())

    # What every family shares.

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What a step does where an episode has ended; it can be set at any time.

        Raises:
            ValueError: Set to ``SAME_STEP``, which a batch cannot do.
        """
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
            self._observer.show_tasks(type(self).distribution.encode(self._tasks))
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
                states, whatever the seed.  ``{"reset_mask": array}``, (num_envs,) bool, chooses
                simulations, as in Gymnasium; then ``start`` has one row for each of them.
                ``{"tasks": tasks}`` calls ``set_tasks`` first.  Other options are refused.

        Returns:
            Observations (num_envs, O) and an empty info.

        Raises:
            ValueError: An option is unknown or not what it must be; nothing has changed.
        """
        self._require_usable()
        given = read_options(options, ("start", "reset_mask", "tasks"))
        chosen = read_mask(given.get("reset_mask"), self.num_envs)
        ids, start = np.flatnonzero(chosen), given.get("start")
        if start is not None:
            start = read_start(start, (len(ids), self.start_size))
        if "tasks" in given:
            if not chosen.all():
                raise ValueError("tasks are set in all simulations: leave out reset_mask")
            self.set_tasks(given["tasks"])
        if seed is not None:
            self._starts.seed(seed)
        self._reset_rows(ids, self._starts.draw(ids) if start is None else start)
        self._begun = True
        return self._observer.observe(self._observe(), self._elapsed, held=~chosen), {}

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
        actions = read_actions(self.family, actions, self._action_shape)
        ended = self._needs_reset.copy()
        running = ~ended
        held = ended & (self.autoreset_mode is AutoresetMode.DISABLED)
        if self._change:
            self._change_physics(running & (self._elapsed == self._change.at_step), True)
        if self._disturber:
            actions = self._disturber.delay(actions)
            self._disturber.push(self._elapsed)
        self._command_except(held, actions)
        self._simulate(running)
        self._elapsed += running
        rewards, success = self._evaluate(actions)
        unstable = self._find_unstable() & running
        terminated = self._find_finished() & running & ~unstable
        ids = np.flatnonzero(ended & ~held)
        if ids.size:
            self._reset_rows(ids, self._starts.draw(ids))
        observations = self._observer.observe(self._observe(), self._elapsed, held=unstable | held)
        rewards = np.where(running & ~unstable, rewards, 0.0)
        truncated = running & (unstable | (self._elapsed >= self.horizon))
        self._needs_reset = terminated | truncated | held
        info = {"is_success": success & running & ~unstable, "sim_unstable": unstable}
        return observations, rewards, terminated, truncated, info

    def _make_observer(self) -> Observer:
        bounds = self.observation_bounds(self.observe_task)
        task_size = bounds.shape[1] - len(self.observation_elements)
        return Observer(self.num_envs, bounds, task_size, self._disturber)

    def _make_spaces(self) -> None:
        spaces = self.spaces(self.observe_task)
        self.single_observation_space, self.single_action_space = spaces
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._action_shape = (self.num_envs, len(self.action_elements))

    def _reset_rows(self, ids: np.ndarray, start: np.ndarray) -> None:
        if self._change:
            self._change_physics(self._changed & np.isin(np.arange(self.num_envs), ids), False)
        if self._disturber:
            self._disturber.restart(ids, start)
        self.batch.reset(ids, keyframe=self._home, stage=_NO_STAGE)
        self._elapsed[ids] = 0
        self._start(ids, start)
        self.batch.forward(ids, stage=SENSORS_CURRENT)
        self._needs_reset[ids] = False
