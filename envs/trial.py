"""Checks of a family from outside the package, when it registers.

A wrong array shape would otherwise be broadcast silently, and training would use wrong numbers.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from metarobot.envs.checks import after_number, show
from metarobot.envs.family import MujocoFamily, ObservationElement
from metarobot.envs.scene import quiet_mujoco
from metarobot.envs.tasks import TaskDistribution, TaskError
from metarobot.envs.vector_env import TaskVectorEnv

_ID = re.compile(r"[\w-]+/[\w-]+-v\d+", re.ASCII)
_METHODS = ("_apply_tasks", "_start", "_command", "_observe", "_evaluate")
_TRIAL_ENVS, _TRIAL_STEPS = 2, 20


def _some(values: Any, kind: type) -> bool:
    return isinstance(values, tuple) and values != () and all(isinstance(v, kind) for v in values)


_DECLARED = (
    *("family", "distribution", "heat_map_axes", "observation_elements", "action_elements"),
    *("default_horizon", "timestep_s", "substeps", "start_size"),
)


def check_id(env_id: Any) -> None:
    """Refuse an id that Gymnasium would not take."""
    if not isinstance(env_id, str) or not _ID.fullmatch(env_id):
        raise TaskError(f"a family's id must have the form NAMESPACE/Name-vN, got {env_id!r}")


def check_family(env_id: str, vector_class: Any) -> None:
    """Raise a TaskError that names the mistake if a class is no complete task family."""
    if not isinstance(vector_class, type) or not issubclass(vector_class, TaskVectorEnv):
        name = getattr(vector_class, "__name__", repr(vector_class))
        raise TaskError(f"the class of {env_id!r} must be a subclass of TaskVectorEnv, got {name}")
    missing = [name for name in _DECLARED if not hasattr(vector_class, name)]
    compiles = (
        vector_class.compile_own_scene.__func__ is not MujocoFamily.compile_own_scene.__func__
    )
    if not compiles and not hasattr(vector_class, "scene_path"):
        missing.append("scene_path")
    missing += [f"{m}()" for m in _METHODS if getattr(vector_class, m) is getattr(MujocoFamily, m)]
    if missing:
        raise TaskError(
            f"{vector_class.__name__} cannot be registered as {env_id!r}, it lacks: "
            f"{', '.join(missing)}; metarobot/envs/family.py describes each"
        )
    for problem in _mistakes(vector_class):
        raise TaskError(f"{vector_class.__name__} cannot be registered as {env_id!r}: {problem}")


def _mistakes(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Yield the declarations that are not of their kind."""
    if not isinstance(family.distribution, TaskDistribution):
        yield f"distribution must be a TaskDistribution, got {family.distribution!r}"
    for name, kind in {"observation_elements": ObservationElement, "action_elements": str}.items():
        if not _some(values := getattr(family, name), kind):
            yield f"{name} must be a tuple of {kind.__name__}, at least one, got {values!r}"
    for e in family.observation_elements:
        if not -math.inf < e.low < e.high < math.inf:  # a policy maps them to [-1, 1]
            ends = f"got {e.low:g} and {e.high:g}"
            yield f"low and high of {e.quantity!r} must be finite, low < high, {ends}"
    scales = family.action_scales
    if scales and len(scales) != len(family.action_elements):
        yield f"action_scales must be () or one for each of action_elements, got {scales!r}"
    motion, size = family.repeated_motion, len(family.observation_elements)
    if motion and not (
        motion.pairs
        and all(0 <= e < size and 0 <= a < len(family.action_elements) for e, a in motion.pairs)
        and motion.lead_steps >= 0
        and 0.0 < motion.error_of_action < math.inf
    ):
        yield (
            "repeated_motion must be None or pair elements of the observation and the action, "
            f"with error_of_action above 0 and lead_steps of at least 0, got {motion}"
        )
    if not (distribution := family.distribution).spans_map(axes := family.heat_map_axes):
        yield f"heat_map_axes must be () or two of {', '.join(distribution.names)}, got {axes!r}"


def try_family(env_id: str, vector_class: type[TaskVectorEnv]) -> None:
    """Run a short episode of two tasks twice; nothing is drawn.

    Raises:
        TaskError: A method fails, returns another type or shape than `MujocoFamily` declares,
            returns non-finite numbers or is not repeatable, or an observation element is never
            within its bounds.
    """
    try:
        with quiet_mujoco(), np.errstate(all="ignore"):
            _run_trial(vector_class)
    except Exception as error:
        why = str(error)
        if not isinstance(error, TaskError):
            frames = traceback.extract_tb(error.__traceback__)
            place = next(
                (
                    f"{frame.name}() fails in {frame.filename}, line {frame.lineno}"
                    for frame in reversed(frames)
                    if frame.name in (*_METHODS, "_bind", "_find_finished")
                ),
                "a short episode fails",
            )
            why = f"{place}: {type(error).__name__}: {error}"
        line = f"{vector_class.__name__} cannot be registered as {env_id!r}: {why}"
        raise TaskError(" ".join(line.split())) from error


def _run_trial(family: type[TaskVectorEnv]) -> None:
    """Run the family, and check every return value of its methods before it is used."""
    measured: list[np.ndarray] = []

    class Trial(family):
        def _observe(self) -> np.ndarray:
            values = super()._observe()
            _check_array("_observe()", values, (_TRIAL_ENVS, len(family.observation_elements)))
            measured.append(values.astype(np.float64))
            return values

        def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pair = super()._evaluate(actions)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TaskError(f"_evaluate() must return (rewards, solved), got {show(pair)}")
            _check_array("the rewards of _evaluate()", pair[0], (_TRIAL_ENVS,))
            _check_array("the solved flags of _evaluate()", pair[1], (_TRIAL_ENVS,), "b")
            return pair

        def _find_finished(self) -> np.ndarray:
            ended = super()._find_finished()
            _check_array("_find_finished()", ended, (_TRIAL_ENVS,), "b")
            return ended

    steps = min(family.default_horizon, _TRIAL_STEPS)
    env = Trial(_TRIAL_ENVS, horizon=steps, num_threads=1)
    try:
        rng = np.random.default_rng(0)
        env.set_tasks(env.distribution.sample(rng, _TRIAL_ENVS))
        actions = rng.uniform(-1, 1, (steps, *(env.action_space.shape or ())))
        first, again = _play(env, actions), _play(env, actions)
        for name, values in first.items():
            if not np.array_equal(values, again[name], equal_nan=True):
                raise TaskError(
                    f"{name} differ between two episodes of the same start and the same commands: "
                    "let _start() set all that the family remembers, and draw from start alone"
                )
        before = env.batch.state[1].copy()
        env.reset(options={"reset_mask": np.arange(_TRIAL_ENVS) == 0})
        if not np.array_equal(before, env.batch.state[1], equal_nan=True):
            raise TaskError(
                "_start() changes simulations that are not among ids: write to rows [ids]"
            )
        _check_bounds(family, np.concatenate(measured))
    finally:
        env.close()


def _check_array(name: str, values: Any, shape: tuple[int, ...], kinds: str = "fiub") -> None:
    """Refuse a return value that is no array of this shape."""
    is_array = isinstance(values, np.ndarray)
    if not is_array or values.dtype.kind not in kinds or values.shape != shape:
        raise TaskError(
            f"{name} must be an array of {'bool' if kinds == 'b' else 'real numbers'} of shape "
            f"{shape} for {_TRIAL_ENVS} simulations, a row for each, got "
            + (f"{values.dtype} of shape {values.shape}" if is_array else show(values))
        )


def _play(env: TaskVectorEnv, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Run an episode from seed 0; return its starts, observations and rewards."""
    seen, earned = [env.reset(seed=0)[0]], []
    starts = env.batch.state.copy()
    for action in actions:
        observations, rewards, terminated, truncated, _ = env.step(action)
        seen.append(observations)
        earned.append(rewards)
        if (terminated | truncated).any():
            break
    played = {"observations": np.stack(seen), "rewards": np.stack(earned)}
    for name, values in played.items():
        if not np.isfinite(values).all():
            raise TaskError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}")
    return {"the starts": starts, **played}


def _check_bounds(family: type[TaskVectorEnv], measured: np.ndarray) -> None:
    """Refuse an element that is clipped in all measurements (R, O): it is a constant."""
    for e, values in zip(family.observation_elements, measured.T, strict=True):
        if not e.is_ever_within(values):
            raise TaskError(
                f"the observation element {e.quantity!r} is never within its bounds, "
                f"{e.low:g} to {e.high:g}{after_number(e.unit)}: _observe() gives "
                f"{values.min():g} to {values.max():g}; mend its unit or its bounds"
            )
