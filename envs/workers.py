"""Environments of Gymnasium in processes of their own, several in each.

`gymnasium.vector.AsyncVectorEnv` starts the processes and exchanges messages with them.  It has one
environment in a process; ours is a `Group` of them, so that one message serves several
environments, and any number of them takes as many processes as the machine has cores.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from metarobot.envs.checks import show
from metarobot.envs.tasks import Tasks

_EXTRA = 4
"""Columns after the observation: reward, terminated, truncated, success."""
_CONTEXT = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class SimulatorError(ValueError):
    """An environment from outside fails, or its process does; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the environments of a family are made, and how they take a task."""

    env_id: str
    """Id of the family, for messages."""
    make: Callable[..., gym.Env] | bytes
    """Makes an environment; pickled where it is sent to another process."""
    task_by: str
    """``reset``, ``constructor``, or the name of a method."""
    timeout_s: float
    """Longest time for an answer of a process."""
    render_mode: str | None = None
    """With which they are made; they are made without that argument if None."""

    def for_processes(self) -> Recipe:
        """Return the recipe as it can be sent to other processes, functions of a script too."""
        try:
            return replace(self, make=cloudpickle.dumps(self.make))
        except Exception as error:  # whatever the function holds
            raise SimulatorError(
                f"{self.env_id}: the function env cannot be sent to other processes: {error}"
            ) from error

    @cached_property
    def _maker(self) -> Callable[..., gym.Env]:
        return cloudpickle.loads(self.make) if isinstance(self.make, bytes) else self.make

    def make_env(self, task: Mapping[str, float]) -> gym.Env:
        """Make an environment for a task."""
        kwargs: dict[str, Any] = dict(task) if self.task_by == "constructor" else {}
        if self.render_mode is not None:
            kwargs["render_mode"] = self.render_mode
        env = self._maker(**kwargs)
        if not isinstance(env, gym.Env):
            raise TypeError(f"it must give a gymnasium.Env, got {show(env)}")
        return env


class Steps(NamedTuple):
    """Results of M environments, (M, ...) each."""

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray


class Description(NamedTuple):
    """Facts of an environment."""

    observation_space: Any
    action_space: Any
    render_fps: Any
    """Of its metadata; None without."""
    horizon: int | None
    """Its own limit of the steps in an episode, if it has one."""
    summary: str
    """First line of its documentation."""


class Group(gym.Env):
    """The environments of one process as one, each made at its first reset.

    An observation has a row for each of its K environments, an action too, which ends with a flag:
    whether to step it.  An exception becomes the ``error`` of an info.

    Args:
        recipe: How they are made.
        first: Index of the first one in the batch.
        shape: (K, O, A): environments, and elements of an observation and an action.
    """

    def __init__(self, recipe: Recipe, first: int, shape: tuple[int, int, int]) -> None:
        count, observation_size, action_size = shape
        shape_out, shape_in = (count, observation_size + _EXTRA), (count, action_size + 1)
        self.observation_space = Box(-np.inf, np.inf, shape_out, np.float64)
        self.action_space = Box(-np.inf, np.inf, shape_in, np.float64)
        self._recipe, self._first, self._size = recipe, first, observation_size
        self._envs: list[gym.Env | None] = [None] * count
        self._tasks: list[Mapping[str, float]] = [{}] * count
        self._rows = np.zeros((count, observation_size + _EXTRA))
        self._doing = ""  # for messages

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: Not used.
            options: ``seeds`` by the index of the environment in the batch; ``tasks``, a dictionary
                for each of them.
        """
        del seed
        given = options or {}
        return self._rows, self._catch(self._reset, given["seeds"], given["tasks"])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step the environments whose flag is set."""
        return self._rows, 0.0, False, False, self._catch(self._step, action)

    def render(self) -> Any:
        """Return a frame of each environment, or the text of an error."""
        frames: list[Any] = []
        error = self._catch(lambda: frames.extend(self._render()))
        return error.get("error") or frames

    def describe(self, task: Mapping[str, float]) -> Description | str:
        """Return the facts of an environment, or the text of an error."""
        found: list[Description] = []
        error = self._catch(lambda: found.append(self._describe(task)))
        return error.get("error") or found[0]

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            if env is not None:
                env.close()

    def _catch(self, work: Callable[..., None], *arguments: Any) -> dict[str, Any]:
        """Work; return an info with the text of the exception, if there is one."""
        try:
            work(*arguments)
        except Exception as error:
            return {"error": f"{self._doing}: {error_words(error)}"}
        return {}

    def _reset(self, seeds: Mapping[int, int], tasks: Sequence[Mapping[str, float]]) -> None:
        for row in range(len(self._envs)):
            number = self._first + row
            if number not in seeds:
                continue
            env = self._with_task(row, tasks[number])
            self._doing = f"reset() of environment {number}"
            options = {"tasks": dict(tasks[number])} if self._recipe.task_by == "reset" else None
            answer = env.reset(seed=seeds[number], options=options)
            if not isinstance(answer, tuple) or len(answer) != 2:
                raise TypeError(f"it must return (observation, info), got {show(answer)}")
            self._rows[row] = 0.0
            self._rows[row, : self._size] = self._read(answer[0])

    def _with_task(self, row: int, task: Mapping[str, float]) -> gym.Env:
        """Return the environment of a row, which holds the task unless its reset takes it."""
        env, by = self._envs[row], self._recipe.task_by
        number = self._first + row
        if env is not None and by == "constructor" and task != self._tasks[row]:
            self._doing = f"close() of environment {number}"
            env.close()
            env = None
        if env is None:
            self._doing = f"making environment {number}"
            env = self._envs[row] = self._recipe.make_env(task)
        if by not in ("reset", "constructor"):
            self._doing = f"{by}() of environment {number}"
            env.get_wrapper_attr(by)(dict(task))
        self._tasks[row] = task
        return env

    def _step(self, actions: np.ndarray) -> None:
        for row in np.flatnonzero(actions[:, -1]):
            env = self._envs[row]
            assert env is not None, "stepped before its reset"
            self._doing = f"step() of environment {self._first + row}"
            answer = env.step(actions[row, :-1].astype(env.action_space.dtype))
            if not isinstance(answer, tuple) or len(answer) != 5:
                raise TypeError(
                    "it must return (observation, reward, terminated, truncated, info), "
                    f"got {show(answer)}"
                )
            observation, reward, terminated, truncated, info = answer
            success = success_in(info)
            self._rows[row, : self._size] = self._read(observation)
            flags = {"terminated": terminated, "truncated": truncated, "is_success": success}
            self._rows[row, self._size :] = [
                _number("the reward", reward),
                *(_number(name, flag) != 0.0 for name, flag in flags.items()),
            ]

    def _read(self, observation: Any) -> np.ndarray:
        values = np.asarray(observation)
        if values.dtype.kind not in "fiub" or values.shape != (self._size,):
            raise TypeError(
                f"the observation must be numbers of shape ({self._size},), got "
                f"{values.dtype} of shape {values.shape}"
            )
        return values

    def _render(self) -> Iterator[np.ndarray]:
        for row, env in enumerate(self._envs):
            if env is not None:
                self._doing = f"render() of environment {self._first + row}"
                frame = np.asarray(env.render())
                if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                    raise TypeError(
                        "it must return a picture (height, width, 3) of uint8, got "
                        f"{frame.dtype} of shape {frame.shape}"
                    )
                yield frame

    def _describe(self, task: Mapping[str, float]) -> Description:
        env = self._with_task(0, task)
        self._doing = "the spaces of the environment"
        spec = env.spec
        return Description(
            env.observation_space,
            env.action_space,
            env.metadata.get("render_fps"),
            None if spec is None else spec.max_episode_steps,
            summary_of(env),
        )


def success_in(info: Mapping[str, Any]) -> Any:
    """Return what an info says of success, under either of its names; False without one."""
    return next((info[name] for name in ("is_success", "success") if name in info), False)


def summary_of(env: Any) -> str:
    """Return the first line of an environment's documentation, or nothing."""
    lines = (type(env.unwrapped).__doc__ or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else ""


def _number(name: str, value: Any) -> float:
    """Return a number or a flag that an environment gives; NaN passes, as of a failed step."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be a number, got {show(value)}")
    return float(array.reshape(()))


def error_words(error: Exception) -> str:
    """Return an exception in one line, with the place outside of this file."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if frame.filename != __file__]
    place = f" in {outside[-1].filename}, line {outside[-1].lineno}" if outside else ""
    return " ".join(f"{type(error).__name__}: {error}{place}".split())


class _Processes(AsyncVectorEnv):
    """The processes; what fails is said by `Workers`.

    Args:
        makers: Makes the group of each process.
        timeout_s: Longest time for an answer of a process.
    """

    def __init__(self, makers: Sequence[_GroupMaker], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        with _without_main():
            super().__init__(
                makers, copy=False, context=_CONTEXT, autoreset_mode=AutoresetMode.DISABLED
            )

    # As Gymnasium has them, with a limit of the time.

    def reset_wait(self, timeout: float | None = None) -> Any:
        """Return the results of a reset."""
        return super().reset_wait(timeout or self._timeout_s)

    def step_wait(self, timeout: float | None = None) -> Any:
        """Return the results of a step."""
        return super().step_wait(timeout or self._timeout_s)

    def call_wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Return the results of a call."""
        return super().call_wait(timeout or self._timeout_s)

    def end(self) -> None:
        """Close the environments and end the processes; one that does not answer is killed."""
        try:
            self.close(timeout=self._timeout_s)
        except Exception:  # a process is gone, or an environment fails once more
            self.kill()

    def kill(self) -> str:
        """Kill the processes; return how those that had ended did so."""
        ended = []
        for process in self.processes:
            process.join(0.1)
            if process.exitcode is not None:
                ended.append(process.exitcode)
            process.kill()
        self.closed = True
        for pipe in self.parent_pipes:
            if pipe is not None:
                pipe.close()
        for process in self.processes:
            process.join()
        return ", ".join(
            f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
            for code in ended
        )

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            for process in getattr(self, "processes", ()):
                process.kill()


_kept: dict[Any, _Processes] | None = None
"""Processes without a user, by what they are made of; None where they are not kept."""


@contextmanager
def keep_processes() -> Iterator[None]:
    """Within this context, keep processes that are no longer used for the next batch like theirs.

    Starting some takes as long as importing the user's module and making the environments.
    """
    global _kept
    if _kept is not None:
        yield
        return
    _kept = {}
    try:
        yield
    finally:
        left, _kept = _kept, None
        for processes in left.values():
            processes.end()


class Workers:
    """M environments in processes.

    Args:
        recipe: How they are made.
        shape: (M, O, A): environments, and elements of an observation and an action.
        num_processes: Most processes to take; in a process that may start none, there are none.

    Raises:
        SimulatorError: A process cannot be started.
    """

    def __init__(self, recipe: Recipe, shape: tuple[int, int, int], num_processes: int) -> None:
        number, observation_size, action_size = shape
        self._batch: SyncVectorEnv | _Processes | None = None
        alone = multiprocessing.current_process().daemon  # which may have no children
        self._recipe, self._size = recipe, observation_size
        self._count = -(-number // (1 if alone else min(num_processes, number)))  # of a process
        self._groups = -(-number // self._count)
        self._number = number
        self._actions = np.zeros((self._groups * self._count, action_size + 1))
        shape = self._count, observation_size, action_size
        if alone:
            maker = _GroupMaker(recipe, 0, shape)
            self._batch = SyncVectorEnv([maker], autoreset_mode=AutoresetMode.DISABLED)
            return
        self._key = recipe.env_id, recipe.render_mode, shape, self._groups
        if _kept is not None and self._key in _kept:
            self._batch = _kept.pop(self._key)
            return
        sent = recipe.for_processes()
        makers = [_GroupMaker(sent, place * self._count, shape) for place in range(self._groups)]
        with self._failing("its start"):
            self._batch = _Processes(makers, recipe.timeout_s)

    def describe(self, task: Mapping[str, float]) -> Description:
        """Return the facts of an environment; the shape of the workers may be any."""
        return self._call("describe", task)[0]

    def reset(self, seeds: Mapping[int, int], tasks: Tasks, others_run: bool) -> np.ndarray:
        """Begin episodes; return the observations of all environments, (M, O).

        Args:
            seeds: Seeds by the index of the environment.
            tasks: The task of each of the M environments.
            others_run: Not used: any environment can begin one.
        """
        del others_run
        options = {"seeds": dict(seeds), "tasks": tasks.to_dicts()}
        with self._failing("reset()"):
            rows, infos = self._running().reset(options=options)
        return self._rows(rows, infos)[:, : self._size]

    def step(self, actions: np.ndarray, running: np.ndarray) -> Steps:
        """Step the environments that run.

        Args:
            actions: In the units of the environment, (M, A).
            running: Which to step, (M,) bool; the rows of others are the last ones.
        """
        self._actions[: self._number, :-1] = actions
        self._actions[: self._number, -1] = running
        with self._failing("step()"):
            grouped = self._actions.reshape(self._groups, self._count, -1)
            rows, _, _, _, infos = self._running().step(grouped)
        found = self._rows(rows, infos)
        reward, *flags = found[:, self._size :].T
        return Steps(found[:, : self._size], reward, *(flag != 0.0 for flag in flags))

    def render(self) -> list[np.ndarray]:
        """Return a frame of each environment that was reset."""
        return [frame for frames in self._call("render") for frame in frames]

    def close(self) -> None:
        """Close the environments, and end the processes; one that does not answer is killed."""
        batch, self._batch = self._batch, None
        if not isinstance(batch, _Processes):
            if batch is not None:
                batch.close()
        elif _kept is not None and self._key not in _kept and not batch.closed:
            _kept[self._key] = batch
        else:
            batch.end()

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """Return what a method of each group returns, or raise its error."""
        with self._failing(f"{name}()"):
            results = self._running().call(name, *arguments)
        self._raise(result for result in results if isinstance(result, str))
        return results

    def _running(self) -> SyncVectorEnv | _Processes:
        if self._batch is None or self._batch.closed:
            raise SimulatorError(f"{self._recipe.env_id}: its processes have ended: make another")
        return self._batch

    def _rows(self, rows: np.ndarray, infos: Mapping[str, Any]) -> np.ndarray:
        """Return the rows of all environments, or raise the error of one."""
        self._raise(error for error in infos.get("error", ()) if error)
        return rows.reshape(self._groups * self._count, -1)[: self._number]

    def _raise(self, errors: Iterator[str]) -> None:
        """Raise the first error of an environment, if there is one, and end them all."""
        for error in errors:
            if isinstance(self._batch, _Processes):
                self._batch.end()
            raise SimulatorError(f"{self._recipe.env_id}: {error}")

    def _kill(self) -> str:
        return self._batch.kill() if isinstance(self._batch, _Processes) else ""

    @contextmanager
    def _failing(self, doing: str) -> Iterator[None]:
        """Turn the failure of a process into one line, and end the others."""
        name, limit_s = self._recipe.env_id, self._recipe.timeout_s
        try:
            yield
        except multiprocessing.TimeoutError:
            self._kill()
            raise SimulatorError(
                f"{name}: an environment hangs: no answer to {doing} for {limit_s:g} s; if it "
                "needs longer, register it with a larger timeout_s"
            ) from None
        except (EOFError, OSError) as error:
            codes = self._kill()
            raise SimulatorError(
                f"{name}: a process of its environments has ended in {doing} "
                f"({codes or error_words(error)}): is there enough memory?"
            ) from None


@dataclass(frozen=True)
class _GroupMaker:
    """Makes a group, in its process; here too, for its spaces."""

    recipe: Recipe
    first: int
    shape: tuple[int, int, int]

    def __call__(self) -> Group:
        if multiprocessing.current_process().daemon:
            _end_with_parent()
        return Group(self.recipe, self.first, self.shape)


def _end_with_parent() -> None:
    """Let this process end with its parent, also if an environment hangs, and not by Ctrl-C.

    The parent gets the signal too, and ends in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the user's script again, which may lack a guard.

    Functions of the script are pickled by their content.
    """
    if _CONTEXT == "forkserver":
        multiprocessing.set_forkserver_preload([__name__])
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
