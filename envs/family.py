"""Base of a task family: its declarations and methods, of which a batch is made."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.spaces import Box

from metarobot.envs.checks import own_simulation_bytes
from metarobot.envs.scene import compile_scene
from metarobot.envs.tasks import TaskDistribution, Tasks

if TYPE_CHECKING:
    from mujoco.batch import Batch


_SLACK = 1e-6
"""Share of the width between bounds by which rounding may carry an observation out of them."""


@dataclass(frozen=True)
class ObservationElement:
    """One element of the observation vector."""

    quantity: str
    """Measured quantity."""
    unit: str
    """Its unit; ``1`` for a ratio."""
    low: float
    """Lowest value reported; lower ones saturate."""
    high: float
    """Highest value reported; higher ones saturate."""
    source: str
    """Where the model holds it: a sensor's name, or how it is computed."""

    def is_ever_within(self, values: np.ndarray) -> bool:
        """Whether any of these values is within the bounds, but for rounding."""
        slack = _SLACK * (self.high - self.low)
        return bool(((values >= self.low - slack) & (values <= self.high + slack)).any())


@dataclass(frozen=True)
class ActionScale:
    """Physical quantity that one element of the action commands."""

    quantity: str
    """Its name."""
    unit: str
    """Its unit."""
    low: float
    """Its value at action -1."""
    high: float
    """Its value at action +1."""
    log: bool = False
    """Whether its logarithm is linear in the action."""

    def value(self, action: Any) -> Any:
        """Return the physical value of an action in [-1, 1], a number or an array of any shape."""
        part = (action + 1.0) / 2.0
        if self.log:
            return self.low * (self.high / self.low) ** part
        return self.low + (self.high - self.low) * part


@dataclass(frozen=True, kw_only=True)
class RepeatedMotion:
    """A motion that every episode repeats in view of its errors.

    Iterative learning control then corrects it from one episode to the next.
    """

    pairs: tuple[tuple[int, int], ...]
    """Observation elements that hold an error, wanted minus measured, each with the element of the
    action that corrects it."""
    error_of_action: float
    """Error that an action of 1 corrects, in the unit of the errors."""
    lead_steps: int
    """Control steps after which an action shows in its error."""


class TaskFamily:
    """The tasks, observations and actions of a family, whatever simulates it."""

    family: ClassVar[str]
    distribution: TaskDistribution  # the family's; the variant's in an environment with one
    heat_map_axes: ClassVar[tuple[str, str] | tuple[()]]
    observation_elements: ClassVar[tuple[ObservationElement, ...]]
    action_elements: ClassVar[tuple[str, ...]]
    action_scales: ClassVar[tuple[ActionScale, ...]] = ()
    """Scale of each element of the action; empty where that is no fixed scale."""
    repeated_motion: ClassVar[RepeatedMotion | None] = None
    """The motion that every episode repeats; None where episodes differ, or hide their errors."""
    default_horizon: ClassVar[int]
    start_size: int
    """S, uniforms in [0, 1) that place the start of an episode."""
    envs_per_task: ClassVar[int] = sys.maxsize
    """Most simulations that hold the same task at the same time, where memory limits them."""
    settle_steps: ClassVar[int] = 0
    """Control steps added to the last one of an episode, so that moving bodies come to rest."""

    # Set by `TaskBatch` before the methods of the family run.

    num_envs: int
    """Number of simulations."""
    horizon: int
    """Control steps per episode T."""
    control_dt_s: float
    """Duration of a control step."""
    _elapsed: np.ndarray
    """Control steps since the reset, (num_envs,)."""

    @property
    def tasks(self) -> Tasks:
        """The task that each simulation holds, (num_envs) tasks."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        """Write the observation table into the family's docstring, so that it cannot drift."""
        super().__init_subclass__()
        if cls.__doc__ and hasattr(cls, "observation_elements"):
            cls.__doc__ = cls.__doc__.replace("{observation_table}", cls.observation_table())

    @classmethod
    def observation_table(cls) -> str:
        """Return the observation elements as a Markdown table: index, quantity, unit, range."""
        rows = [
            f"| {index} | {e.quantity} | {e.unit} | {e.low:g} .. {e.high:g} | {e.source} |"
            for index, e in enumerate(cls.observation_elements)
        ]
        header = ["| index | quantity | unit | range | source |", "| --- | --- | --- | --- | --- |"]
        return "\n    ".join(header + rows)

    @classmethod
    def observation_bounds(cls, observe_task: bool = False) -> np.ndarray:
        """Return the lowest and the highest value of every observation element, (2, O), float32.

        With ``observe_task`` it ends with the task parameters, on the scale of the family even in a
        variant, so that a policy of the family can read them.
        """
        low, high = np.array([(e.low, e.high) for e in cls.observation_elements]).T
        bounds = np.stack([low, high])
        if observe_task:
            bounds = np.concatenate([bounds, cls.distribution.encoded_bounds], axis=1)
        return bounds.astype(np.float32)

    @classmethod
    def spaces(cls, observe_task: bool = False) -> tuple[Box, Box]:
        """Return the spaces of one simulation: observations (O,), and actions (A,) in [-1, 1]."""
        low, high = cls.observation_bounds(observe_task)
        return Box(low, high), Box(-1.0, 1.0, (len(cls.action_elements),))

    @classmethod
    def control_step_s(cls) -> float:
        """Return the duration of a control step."""
        raise NotImplementedError

    @classmethod
    def simulation_bytes(cls) -> int:
        """Return the memory that one simulation takes in this process."""
        raise NotImplementedError

    @classmethod
    def num_side_by_side(cls, wanted: int, num_tasks: int) -> int:
        """Return the simulations to make for N tasks: as wanted, unless that is too many a task.

        More episodes then follow in rounds.
        """
        return min(wanted, num_tasks * cls.envs_per_task)

    @classmethod
    def summary(cls) -> str:
        """Return the first sentence of the family's module, which describes the task."""
        line = (sys.modules[cls.__module__].__doc__ or "").strip().partition("\n")[0]
        return line.partition(": ")[2] or line

    def _observe(self) -> np.ndarray:
        """Return the observation without the task, (num_envs, O), not yet clipped."""
        raise NotImplementedError

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return how the episode of simulation ``sim`` has ended, as "block slips"."""
        del sim
        return "success" if success else "missed"


class MujocoFamily(TaskFamily):
    """The physics of a family, for a batch of MuJoCo's simulations.

    A family declares the class variables below and those of `TaskFamily`, and implements
    ``_apply_tasks``, ``_start``, ``_command``, ``_observe`` and ``_evaluate``; ``_bind`` where it
    has a state of its own.
    """

    # Declared by the family.

    scene_path: ClassVar[Path]
    elements_by_number: ClassVar[tuple[str, ...]] = ("joint", "actuator", "sensor")
    """Kinds of elements that the family finds by their number instead of their name: a user's
    scene must have the same ones in the same order."""
    timestep_s: ClassVar[float]
    """Time step of the scene."""
    substeps: ClassVar[int]
    """Time steps in a control step."""
    push_body: ClassVar[str | None] = None
    """Body that a variant's pushes act on; None if the family allows no pushes."""
    contact_force_m_per_n: ClassVar[float] = 0.01
    """Length of the arrow that stands for a contact force of 1 N in pictures that show them."""

    # Set by `TaskVectorEnv` before the methods of the family run.

    model: Any
    """The compiled scene, with the robot as built."""
    batch: Batch
    """The simulations."""
    _sensors: np.ndarray
    """Sensors of the simulations, a live view (num_envs, nsensordata)."""
    _qpos: np.ndarray
    """Positions, a live view (num_envs, nq)."""
    _qvel: np.ndarray
    """Velocities, a live view (num_envs, nv)."""
    _ctrl: np.ndarray
    """Controls, a live view (num_envs, nu)."""
    _act: np.ndarray
    """States of the actuators, such as set-points, a live view (num_envs, na)."""

    @classmethod
    def control_step_s(cls) -> float:
        """Return the duration of a control step."""
        return cls.substeps * cls.timestep_s

    @classmethod
    def simulation_bytes(cls) -> int:
        """Return the memory that one simulation takes in this process, in the own scene."""
        return own_simulation_bytes(cls)

    def _sensor(self, name: str) -> np.ndarray:
        """Return a live view of a sensor, (num_envs, its numbers)."""
        first, dim = self.model.sensor(name).adr[0], self.model.sensor(name).dim[0]
        return self._sensors[:, first : first + dim]

    # Implemented by the family.

    @classmethod
    def compile_own_scene(cls) -> Any:
        """Compile the family's own scene; its keyframe ``home`` is where episodes start."""
        return compile_scene(cls.scene_path)

    def _bind(self) -> None:
        """Find elements and allocate the family's own state, (num_envs, ...) each, if any."""

    def _apply_tasks(self, tasks: Tasks) -> None:
        """Write ``tasks``, one per simulation, into the batch's per-simulation model fields."""
        raise NotImplementedError

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Write the initial state of simulations ``ids`` from uniforms ``start``, (len(ids), S)."""
        raise NotImplementedError

    def _command(self, actions: np.ndarray) -> None:
        """Write the controls for ``actions`` in [-1, 1], (num_envs, A)."""
        raise NotImplementedError

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rewards (num_envs,) and whether the task is solved now, (num_envs,)."""
        raise NotImplementedError

    def _find_finished(self) -> np.ndarray:
        """Return a mask of simulations in which the episode has ended, (num_envs,)."""
        return np.zeros(self.num_envs, bool)

    def _paint(self, sim: int, model: Any) -> None:
        """Change how simulation ``sim`` is drawn, and nothing else; by default leave it."""
