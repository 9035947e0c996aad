"""Disturbances: commands that act late, observations that are noisy or lost, pushes from outside.

Random numbers are counter-based: every number is a hash of its address, which is the start of the
episode, the control step, a stream and an element.  So no simulation depends on how many others
stand in its batch, nor on the process that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metarobot.envs.tasks import TaskError, Tasks

if TYPE_CHECKING:
    from mujoco.batch import Batch

_PUSH, _DIRECTION, _DROPOUT, _NOISE = range(4)  # streams of random numbers
_ONE, _PLANE = np.arange(1), np.arange(2)
_NEVER = 1 << 30  # age of a push that has not come


@dataclass(frozen=True, kw_only=True)
class Push:
    """A horizontal force from outside, in a random direction each time."""

    force_n: float
    """Its size."""
    duration_s: float
    """Duration; where a part of a control step is left, that part of the force acts."""
    probability: float = 0.0
    """Probability that a push begins in a control step without one."""
    at_steps: tuple[int, ...] = ()
    """Control steps in which a push begins in every episode."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of the physics within the episode, undone at the next reset."""

    at_step: int
    """Control steps after which it changes."""
    values: tuple[tuple[str, float], ...] = ()
    """New values by task parameter."""
    factors: tuple[tuple[str, float], ...] = ()
    """Factors on the task's own values, by task parameter."""

    def apply(self, tasks: Tasks) -> Tasks:
        """Return the tasks after the change."""
        columns = {name: tasks[name] for name in tasks.names}
        columns |= {name: np.full(len(tasks), value) for name, value in self.values}
        columns |= {name: tasks[name] * factor for name, factor in self.factors}
        return Tasks(columns)


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """Disturbances of an episode; none by default."""

    action_delay_steps: int = 0
    """Delay of a command in control steps; zeros act before the first one arrives."""
    observation_dropout: float = 0.0
    """Probability that a control step's observation is lost: the last one is seen again."""
    sensor_noise: tuple[tuple[str, float], ...] = ()
    """Standard deviation of the noise on every observation element, by unit and in that unit."""
    push: Push | None = None
    change: Change | None = None


class Disturber:
    """Applies delay, noise, dropout and pushes to a batch of simulations.

    Args:
        disturbances: Disturbances to apply.
        batch: The simulations.
        units: Unit of each observation element that the family measures.
        action_size: Elements of an action A.
        control_dt_s: Duration of a control step.
        push_body: Name of the body that pushes act on.
    """

    def __init__(
        self,
        disturbances: Disturbances,
        batch: Batch,
        *,
        units: Sequence[str],
        action_size: int,
        control_dt_s: float,
        push_body: str | None,
    ) -> None:
        num_envs = batch.nsim
        self._what = disturbances
        self._keys = np.zeros(num_envs, np.uint64)
        self._waiting = np.zeros((disturbances.action_delay_steps, num_envs, action_size))
        noise = dict(disturbances.sensor_noise)
        std = np.array([noise.get(unit, 0.0) for unit in units])
        self._noisy = np.flatnonzero(std)
        self._std = std[self._noisy]
        self._push = disturbances.push
        self._force_n = _bind_force(batch, push_body) if self._push else None
        self._push_age = np.full(num_envs, _NEVER)  # control steps since it began
        # Rounded, so that a duration of three control steps does not leave a trace in a fourth.
        self._push_steps = round(self._push.duration_s / control_dt_s, 9) if self._push else 0.0
        self._direction = np.zeros((num_envs, 2))  # unit vectors

    def restart(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Begin episodes of simulations ``ids``, keyed by their starts (len(ids), S)."""
        self._keys[ids] = keys_of(start)
        self._waiting[:, ids] = 0.0
        self._push_age[ids] = _NEVER

    def delay(self, actions: np.ndarray) -> np.ndarray:
        """Take the actions (num_envs, A) commanded now, return those that act now."""
        if not len(self._waiting):
            return actions
        acting = self._waiting[0].copy()
        self._waiting[:-1] = self._waiting[1:]
        self._waiting[-1] = actions
        return acting

    def push(self, step: np.ndarray) -> None:
        """Write the force of the control step that begins, (num_envs,), into the simulations."""
        if self._push is None or self._force_n is None:
            return
        self._push_age += self._push_age < _NEVER
        drawn = uniforms(self._keys, step, _PUSH, _ONE)[:, 0] < self._push.probability
        begins = np.isin(step, self._push.at_steps)
        begins |= drawn & (self._push_age >= self._push_steps)
        if begins.any():
            axes = normals(self._keys, step, _DIRECTION, _PLANE)
            axes /= np.sqrt((axes**2).sum(axis=1, keepdims=True))
            self._direction[begins] = axes[begins]
            self._push_age[begins] = 0
        share = np.clip(self._push_steps - self._push_age, 0.0, 1.0)
        self._force_n[:] = self._push.force_n * share[:, None] * self._direction

    def release(self, chosen: np.ndarray) -> None:
        """End the pushes of the chosen simulations, (num_envs,) bool, with their control step."""
        if self._force_n is not None:
            self._force_n[chosen] = 0.0

    def distort(self, observations: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the observations (num_envs, O) of control step ``step`` with noise on them."""
        if not len(self._noisy):
            return observations
        noisy = observations.copy()
        noisy[:, self._noisy] += self._std * normals(self._keys, step, _NOISE, self._noisy)
        return noisy

    def lost(self, step: np.ndarray) -> np.ndarray:
        """Return the mask of observations lost in ``step``, (num_envs,); never the first one."""
        if not self._what.observation_dropout:
            return np.zeros(len(step), bool)
        uniform = uniforms(self._keys, step, _DROPOUT, _ONE)[:, 0]
        return (step > 0) & (uniform < self._what.observation_dropout)


def _bind_force(batch: Batch, body: str | None) -> np.ndarray:
    """Return a live view of the horizontal force on a body, (num_envs, 2)."""
    try:
        index = batch.model.body(body).id
    except KeyError:
        raise TaskError(f"the scene has no body {body!r}, which the variant pushes") from None
    return batch.bind("xfrc_applied")[:, index, :2]


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(words: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words, any shape: the output function of SplitMix64.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def keys_of(start: np.ndarray) -> np.ndarray:
    """Return the key of each episode, a hash of the uniforms that place its start: (n, S) -> (n).

    Episodes with the same start meet the same disturbances, which makes them comparable.
    """
    keys = np.zeros(len(start), np.uint64)
    for column in np.ascontiguousarray(start.T, np.float64):
        keys = mix(keys ^ column.view(np.uint64))
    return keys


def uniforms(keys: np.ndarray, step: np.ndarray, stream: int, elements: np.ndarray) -> np.ndarray:
    """Return uniforms in (0, 1), both ends excluded.

    Args:
        keys: Key of each simulation's episode, (n,) uint64.
        step: Control step of each simulation, (n,).
        stream: Stream of random numbers, one for each purpose.
        elements: Indices of the numbers wanted, (k,).

    Returns:
        (n, k) float64.
    """
    words = mix(mix(keys ^ np.uint64(stream)) ^ step.astype(np.uint64))
    words = mix(words[:, None] ^ elements.astype(np.uint64))
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normals(keys: np.ndarray, step: np.ndarray, stream: int, elements: np.ndarray) -> np.ndarray:
    """Return standard normals with the addresses of :func:`uniforms`: (n, k)."""
    from scipy.special import ndtri  # takes a fifth of the time of `import metarobot`

    return ndtri(uniforms(keys, step, stream, elements))
