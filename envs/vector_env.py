"""All simulations of a task family as one native batch: the primary environment.

N tasks are held by E simulations each.  Every simulation is a row of one ``mujoco.batch.Batch``,
stepped together on native threads; no Python loop runs over environments or tasks in a step.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from metarobot.envs.checks import require_integer, require_memory, simulation_bytes
from metarobot.envs.disturbances import Change, Disturbances, Disturber
from metarobot.envs.family import MujocoFamily
from metarobot.envs.renderer import BatchRenderer, Pictures
from metarobot.envs.scene import SceneError, SceneRecord, load_family_scene, load_recorded_scene
from metarobot.envs.task_batch import Outcome, TaskBatch
from metarobot.envs.tasks import TaskError, Tasks
from metarobot.machine import MOST_THREADS, import_mujoco

if TYPE_CHECKING:
    from mujoco.batch import Batch

    from metarobot.envs.variants import Variant

_mj = import_mujoco()

SENSORS_CURRENT: int = _mj.mjtStage.mjSTAGE_VEL.value
"""Stage up to which positions, velocities and their sensors describe the new state."""
_NO_STAGE: int = _mj.mjtStage.mjSTAGE_NONE.value
_BAD_STATE_WARNINGS = [
    _mj.mjtWarning.mjWARN_BADQPOS.value,
    _mj.mjtWarning.mjWARN_BADQVEL.value,
    _mj.mjtWarning.mjWARN_BADQACC.value,
    _mj.mjtWarning.mjWARN_BADCTRL.value,
]


_threaded: weakref.WeakSet[Batch] = weakref.WeakSet()
"""Batches with threads of their own, which stay in the parent when the process is forked."""


def _keep_batches() -> None:
    """Keep the parent's batches: at its end one joins its threads, and a child waits forever."""
    for batch in _threaded:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(batch))
    _threaded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_batches)


class TaskVectorEnv(MujocoFamily, TaskBatch):
    """A batch of simulations of one task family.

    A family is a subclass that implements ``MujocoFamily``.  A copy, also by ``pickle``, is a new
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
        require_integer("num_threads", num_threads, 0, MOST_THREADS)
        super().__init__(
            num_envs,
            horizon=horizon,
            max_episode_steps=max_episode_steps,
            observe_task=observe_task,
            render_mode=render_mode,
            autoreset_mode=autoreset_mode,
        )
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
        self._sensors = self.batch.bind("sensordata")
        self._qpos, self._qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._ctrl, self._act = self.batch.bind("ctrl"), self.batch.bind("act")
        self._home = self.model.key("home").id

        self._pid = os.getpid()
        if self.batch.nthread > 1:
            _threaded.add(self.batch)
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
        self._changed = np.zeros(num_envs, bool)  # physics has changed in this episode
        self.set_tasks(self.distribution.nominal())

    def _check_tasks(self, tasks: Tasks) -> None:
        if self._change:
            self.distribution.validate(self._change.apply(tasks))

    def _take_tasks(self) -> None:
        self._changed[:] = False
        self._apply_tasks(self._tasks)
        self.batch.set_const()

    def _simulate(self, actions: np.ndarray, running: np.ndarray, held: np.ndarray) -> Outcome:
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
        return Outcome(rewards, success, unstable, self._find_finished())

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
        super()._require_usable()
        if self.batch.nthread > 1 and self._pid != os.getpid():
            raise RuntimeError(
                f"this batch of {self.batch.nthread} threads was made before the process was "
                "forked: make it in the child, start processes by 'spawn', or use num_threads=1"
            )

    def _reset_rows(self, ids: np.ndarray, start: np.ndarray) -> None:
        if self._change:
            self._change_physics(self._changed & np.isin(np.arange(self.num_envs), ids), False)
        self._disturber.restart(ids, start)
        self.batch.reset(ids, keyframe=self._home, stage=_NO_STAGE)
        self._start(ids, start)
        self.batch.forward(ids, stage=SENSORS_CURRENT)

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

    def _measure(self) -> np.ndarray:
        return self._disturber.distort(self._observe(), self._elapsed)

    def _see(self, held: np.ndarray) -> np.ndarray:
        """Return the observations; where a sensor is lost, the last ones."""
        return super()._see(held | self._disturber.lost(self._elapsed))

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
