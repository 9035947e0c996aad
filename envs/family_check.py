"""Checks of a class that is to be registered as a task family: its declarations, and an episode.

A mistake in an array's shape would otherwise be broadcast in silence, and train on nonsense.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from metarobot.envs.checked_numbers import after_number, show
from metarobot.envs.scene import quiet_mujoco
from metarobot.envs.task_family import ObservationElement, TaskFamily
from metarobot.envs.task_parameter import TaskError
from metarobot.envs.tasks import TaskDistribution
from metarobot.envs.vector_env import TaskVectorEnv

_ID = re.compile(r"[\w-]+/[\w-]+-v\d+", re.ASCII)
_METHODS = ("_bind", "_apply_tasks", "_start", "_command", "_observe", "_evaluate")


def _integer(least: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) is int and value >= least, f"an integer of at least {least}"


def _tuple_of(kind: type) -> tuple[Callable[[Any], bool], str]:
    def is_right(value: Any) -> bool:
        return isinstance(value, tuple) and value != () and all(isinstance(v, kind) for v in value)

    return is_right, f"a tuple of {kind.__name__}, at least one"


_DECLARED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "family": (lambda value: isinstance(value, str) and value != "", "a name"),
    "distribution": (lambda value: isinstance(value, TaskDistribution), "a TaskDistribution"),
    "observation_elements": _tuple_of(ObservationElement),
    "action_elements": _tuple_of(str),
    "default_horizon": _integer(1),
    "substeps": _integer(1),
    "start_size": _integer(0),
    "timestep_s": (
        lambda value: isinstance(value, float) and 0 < value < 1,
        "the scene's time step in s",
    ),
}
"""Declarations of a family: whether a value is right, and its meaning."""
_TRIAL_ENVS = 2
_MOST_STEPS = 20
_SLACK = 1e-6
"""Share of the width between bounds by which rounding may carry an observation out of them."""


def check_family(env_id: Any, vector_class: Any) -> None:
    """Refuse a class that is no complete task family.

    Args:
        env_id: The Gymnasium id that it is to have.
        vector_class: Its native batch.

    Raises:
        TaskError: Something is missing or wrong; the message is one line that says what.
    """
    if not isinstance(env_id, str) or not _ID.fullmatch(env_id):
        raise TaskError(f"a family's id must have the form NAMESPACE/Name-vN, got {env_id!r}")
    if not isinstance(vector_class, type) or not issubclass(vector_class, TaskVectorEnv):
        name = getattr(vector_class, "__name__", repr(vector_class))
        raise TaskError(f"the class of {env_id!r} must be a subclass of TaskVectorEnv, got {name}")
    missing = [*_missing(vector_class)]
    if missing:
        raise TaskError(
            f"{vector_class.__name__} cannot be registered as {env_id!r}, it lacks: "
            f"{', '.join(missing)}; metarobot/envs/task_family.py describes each"
        )
    for problem in _mistakes(vector_class):
        raise TaskError(f"{vector_class.__name__} cannot be registered as {env_id!r}: {problem}")


def _missing(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Yield the names of missing declarations, then of missing methods."""
    yield from (name for name in (*_DECLARED, "heat_map_axes") if not hasattr(family, name))
    compiles_own = family.compile_own_scene.__func__ is not TaskFamily.compile_own_scene.__func__
    if not compiles_own and not hasattr(family, "scene_path"):
        yield "scene_path"
    for name in _METHODS:
        if getattr(family, name) is getattr(TaskFamily, name):
            yield f"{name}()"


def _mistakes(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Yield the declarations that are not of their kind."""
    for name, (is_right, meaning) in _DECLARED.items():
        value = getattr(family, name)
        if not is_right(value):
            yield f"{name} must be {meaning}, got {value!r}"
    for e in family.observation_elements:
        if not -math.inf < e.low < e.high < math.inf:  # a policy maps them to [-1, 1]
            ends = f"got {e.low:g} and {e.high:g}"
            yield f"low and high of {e.quantity!r} must be finite, low < high, {ends}"
    scales = family.action_scales
    if scales and len(scales) != len(family.action_elements):
        yield f"action_scales must be () or one for each of action_elements, got {scales!r}"
    axes, names = family.heat_map_axes, family.distribution.names
    if axes != () and not (
        isinstance(axes, tuple) and len(axes) == len({*axes}) == 2 and {*axes} <= {*names}
    ):
        yield f"heat_map_axes must be () or two of {', '.join(names)}, got {axes!r}"


def try_family(env_id: str, vector_class: type[TaskVectorEnv]) -> None:
    """Run a short episode of two tasks twice; nothing is drawn.

    Args:
        env_id: The Gymnasium id that it is to have.
        vector_class: Its native batch, whose declarations are complete.

    Raises:
        TaskError: A method fails, returns something else than `TaskFamily` asks for or what is not
            finite, does not repeat, or an observation element is never within its bounds; the
            message is one line that says what.
    """
    try:
        with quiet_mujoco(), np.errstate(all="ignore"):
            _try(vector_class)
    except Exception as error:
        why = str(error) if type(error) is _Mistake else _place(error)
        line = " ".join(
            f"{vector_class.__name__} cannot be registered as {env_id!r}: {why}".split()
        )
        raise TaskError(line) from error


class _Mistake(Exception):  # noqa: N818  a message on its way to `try_family`
    """A mistake of a method, in one line."""


def _place(error: Exception) -> str:
    """Say in which method of the family, and where, something failed."""
    text = f"{type(error).__name__}: {error}"
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        code = frame.f_code
        if code.co_name in (*_METHODS, "_find_finished") and code.co_filename != __file__:
            return f"{code.co_name}() fails in {code.co_filename}, line {line}: {text}"
    return f"a short episode fails: {text}"


def _try(family: type[TaskVectorEnv]) -> None:
    """Run the family, with what its methods return checked before anything is made of it."""
    measured: list[np.ndarray] = []

    class Trial(family):
        def _observe(self) -> np.ndarray:
            shape = (_TRIAL_ENVS, len(family.observation_elements))
            meaning = "a row for each simulation, a column for each of observation_elements"
            values = _require("_observe()", super()._observe(), shape, meaning)
            measured.append(values.astype(np.float64))
            return values

        def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pair = super()._evaluate(actions)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise _Mistake(f"_evaluate() must return (rewards, solved), got {_kind(pair)}")
            shape, meaning = (_TRIAL_ENVS,), "one for each simulation"
            _require("the rewards of _evaluate()", pair[0], shape, meaning)
            _require("what _evaluate() says is solved", pair[1], shape, meaning, "b")
            return pair

        def _find_finished(self) -> np.ndarray:
            ended = super()._find_finished()
            return _require(
                "_find_finished()", ended, (_TRIAL_ENVS,), "one for each simulation", "b"
            )

    Trial.__name__ = family.__name__  # as messages show it
    steps = min(family.default_horizon, _MOST_STEPS)
    env = Trial(_TRIAL_ENVS, horizon=steps, num_threads=1)
    try:
        rng = np.random.default_rng(0)
        env.set_tasks(env.distribution.sample(rng, _TRIAL_ENVS))
        actions = rng.uniform(-1, 1, (steps, *(env.action_space.shape or ())))
        first, again = _play(env, actions), _play(env, actions)
        for (name, values), others in zip(first.items(), again.values(), strict=True):
            if not np.array_equal(values, others, equal_nan=True):
                raise _Mistake(
                    f"{name} differ between two episodes of the same start and the same commands: "
                    "let _start() set all that the family remembers, and draw from start alone"
                )
        _check_other_simulations(env)
        _check_bounds(family, np.concatenate(measured))
    finally:
        env.close()


def _require(
    name: str, values: Any, shape: tuple[int, ...], meaning: str, kinds: str = "fiub"
) -> np.ndarray:
    """Return what a method gives if it is an array of this shape."""
    of_kind = isinstance(values, np.ndarray) and values.dtype.kind in kinds
    if not of_kind or values.shape != shape:
        what = "of bool" if kinds == "b" else "of real numbers"
        raise _Mistake(
            f"{name} must be an array {what} of shape {shape} for {_TRIAL_ENVS} simulations, "
            f"{meaning}, got {_kind(values)}"
        )
    return values


def _kind(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    return show(values)


def _play(env: TaskVectorEnv, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Run an episode from seed 0, and return what it was like by what it is called."""
    observations, _ = env.reset(seed=0)
    starts = env.batch.state.copy()
    seen, earned = [observations], []
    _require_finite("observations", observations, 0)
    for step, action in enumerate(actions, start=1):
        observations, rewards, terminated, truncated, _ = env.step(action)
        _require_finite("observations", observations, step)
        _require_finite("rewards", rewards, step)
        seen.append(observations)
        earned.append(rewards)
        if (terminated | truncated).any():
            break
    return {"the starts": starts, "observations": np.stack(seen), "rewards": np.stack(earned)}


def _require_finite(name: str, values: np.ndarray, step: int) -> None:
    """Refuse what is not finite; of an unstable simulation, nothing is shown."""
    if not np.isfinite(values).all():
        raise _Mistake(f"{name} must be finite, got {values.tolist()} after control step {step}")


def _check_other_simulations(env: TaskVectorEnv) -> None:
    """Refuse a family in which the start of one simulation changes another."""
    before = env.batch.state[1].copy()
    env.reset(options={"reset_mask": np.arange(_TRIAL_ENVS) == 0})
    if not np.array_equal(before, env.batch.state[1], equal_nan=True):
        raise _Mistake("_start() changes simulations that are not among ids: write to rows [ids]")


def _check_bounds(family: type[TaskVectorEnv], measured: np.ndarray) -> None:
    """Refuse an element that is clipped whenever it is measured, (R, O): a policy sees a constant.

    One that is clipped now and then may saturate on purpose.
    """
    for e, values in zip(family.observation_elements, measured.T, strict=True):
        slack = _SLACK * (e.high - e.low)
        if not ((values >= e.low - slack) & (values <= e.high + slack)).any():
            raise _Mistake(
                f"the observation element {e.quantity!r} is never within its bounds, "
                f"{e.low:g} to {e.high:g}{after_number(e.unit)}: _observe() gives "
                f"{values.min():g} to {values.max():g}; mend its unit or its bounds"
            )
