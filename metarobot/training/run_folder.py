"""Run folders: their files, and checks of a folder from a stranger.

A run is one task family, one seed and some algorithms trained with the same budget::

    RUN/
      latent/  maml/  oracle/  ...    one folder an algorithm that is trained, or is to be
        config.json          resolved TrainConfig, versions, machine, command line
        policy.safetensors   θ at the last checkpoint
        curve.csv            one row a meta-iteration
        done.json            cost; missing, or of a smaller budget, until the budget is spent
        checkpoints/         state of the training, to resume it
        events.out.tfevents  TensorBoard

Each of these must be a plain file or folder of a sensible size, or no command touches the run.
Other files are left alone.
"""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from metarobot import policies
from metarobot.algorithms import (
    ALGORITHMS,
    algorithm_class,
    config_from_dict,
    configure,
    is_algorithm_name,
)
from metarobot.config import PRESETS, RunConfig, TrainConfig
from metarobot.io import (
    Count,
    Folder,
    FolderError,
    Seconds,
    Word,
    parse_json,
    seal_tensors,
    typed,
)
from metarobot.machine import versions

if TYPE_CHECKING:
    from metarobot.policies import Params

CONFIG_FILE, POLICY_FILE = "config.json", "policy.safetensors"
CURVE_FILE, DONE_FILE = "curve.csv", "done.json"
CHECKPOINT_FOLDER, BEST_FILE = "checkpoints", "best.safetensors"
EVENTS_PREFIX = "events.out.tfevents."
_FILES = (CONFIG_FILE, POLICY_FILE, CURVE_FILE, DONE_FILE)
_MAX_CONFIG_BYTES, _MAX_CURVE_BYTES = 2**20, 64 * 2**20
_LEAST_RISE_POINTS = 4
"""Meta-iterations from which a rise of the return is estimated: fewer show noise."""

RunError = FolderError
"""A run folder is missing, incomplete, unreadable or inconsistent."""


class SavedConfig(msgspec.Struct):
    """Content of CONFIG_FILE that commands read."""

    train: dict[str, Any]
    """`TrainConfig.to_dict`."""
    versions: dict[str, Word] = {}
    """Versions of Python and the packages by name."""
    turn: Count = 0
    """Place in the order in which the algorithms of the run are trained."""


class Cost(msgspec.Struct):
    """Cost of a training, in DONE_FILE."""

    total_steps: Count
    """Control steps simulated."""
    seconds: Seconds


@dataclass(frozen=True)
class SavedAlgorithm:
    """Facts of an algorithm's training, from its folder."""

    folder: Folder
    config: TrainConfig
    facts: Mapping[str, Any]
    """Whole content of CONFIG_FILE: also versions, machine and command."""
    saved: SavedConfig
    cost: Cost | None
    """Cost of the last finished training; None before."""

    @property
    def finished(self) -> bool:
        """Whether the whole present budget is spent."""
        return self.cost is not None and self.cost.total_steps >= self.config.total_steps

    @cached_property
    def curve(self) -> dict[str, list[float]]:
        """Control steps and returns of every meta-iteration, of CURVE_FILE."""
        columns = ("total_steps", "pre_return", "post_return")
        return load_curve(self.folder.path.parent, self.config.algorithm, columns)

    @property
    def rise(self) -> float | None:
        """Rise of the training return per 100,000 control steps over the curve's last quarter.

        It is the slope of least squares; None for a curve that is missing or too short.
        """
        if not self.folder.has(CURVE_FILE):
            return None
        steps, returns = (np.array(self.curve[name]) for name in ("total_steps", "post_return"))
        last = np.isfinite(returns) & (steps >= 0.75 * steps.max(initial=0.0))
        if last.sum() < _LEAST_RISE_POINTS:
            return None
        return float(1e5 * np.polyfit(steps[last], returns[last], 1)[0])

    @property
    def training_order(self) -> tuple[bool, int]:
        """Sort key: interrupted algorithms first, then the order in which they were named."""
        return not (self.cost is None and self.folder.has(CURVE_FILE)), self.saved.turn

    def require_same(self, expected: RunConfig | None, verb: str = "resumed") -> None:
        """Refuse another configuration and, if the training is not finished, other versions.

        Raises:
            RunError: Something differs; the message names it.
        """
        found = [] if self.finished else _differences(self.saved.versions, versions())
        if expected is not None:
            wanted = configure(expected, self.config.algorithm).chosen_values
            found += _differences(self.config.chosen_values, wanted)
        if found:
            run = self.folder.path.parent
            raise RunError(f"{run} cannot be {verb} here: {', '.join(found)}")


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {brief(found.get(name))}, is {brief(value)}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]


def brief(value: object) -> str:
    """Return a configuration's value for a message: a table in one line, without its text."""
    if not isinstance(value, Mapping):
        return str(value)
    return json.dumps({key: item for key, item in value.items() if key != "description"})


def read_run(run: Path) -> dict[str, SavedAlgorithm]:
    """Return the algorithms of a run, in the order of ALGORITHMS.

    Raises:
        RunError: The folder is missing, is not a run, or holds entries that no run has, such as
            links; or a file in it cannot be read.
    """
    folder = Folder.named(run)
    if not folder.exists():
        where = ": `metarobot runs` lists yours, `metarobot list` those of the package"
        raise RunError(f"no run folder at {run}{_nearest_sibling(run) or where}")
    found = {name: _read_algorithm(folder / name) for name in algorithms_there(folder)}
    if not found:
        raise RunError(f"{run} is not a run folder: it holds none of {', '.join(ALGORITHMS)}")
    return found


def _read_algorithm(folder: Folder) -> SavedAlgorithm:
    path = folder.path / CONFIG_FILE
    with as_run_error(path):
        facts = _read_facts(folder, CONFIG_FILE)
        saved = typed(facts, SavedConfig, path)
        named = saved.train.get("algorithm")
        algorithm_class(named)  # refuses an unknown name
        if named != path.parent.name:
            raise RunError(
                f"{path} configures {named}, but lies in the folder of {path.parent.name}"
            )
        config = config_from_dict(saved.train)
    done = folder.path / DONE_FILE
    with as_run_error(done):
        has_cost = folder.has(DONE_FILE)
        cost = typed(_read_facts(folder, DONE_FILE), Cost, done) if has_cost else None
    return SavedAlgorithm(folder, config, facts, saved, cost)


def _read_facts(folder: Folder, name: str) -> dict[str, Any]:
    return parse_json(folder.read(name, _MAX_CONFIG_BYTES), folder.path / name)


def _nearest_sibling(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f", did you mean {path.with_name(close[0])}?" if close else ""


@contextmanager
def as_run_error(path: Path) -> Iterator[None]:
    """Turn an error while reading a file into a RunError that names the file."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        text = str(error)
        raise RunError(text if str(path) in text else f"{path}: {text}") from error


def algorithms_there(run: Folder) -> list[str]:
    """Return the algorithms that have files in the run, in the order of ALGORITHMS.

    Folders of unregistered algorithms count too, by their configuration.

    Raises:
        RunError: One of their files or folders is an entry of another kind.
    """
    found = [algorithm for algorithm in ALGORITHMS if (run / algorithm).exists()]
    for name, kind in run.kinds().items():
        if kind == "folder" and name not in ALGORITHMS and is_algorithm_name(name):
            try:
                if _read_facts(run / name, CONFIG_FILE)["train"]["algorithm"] == name:
                    found.append(name)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not a folder of ours
    return [name for name in found if _holds_algorithm(run / name)]


def _holds_algorithm(folder: Folder) -> bool:
    """Whether a folder holds files of an algorithm; refuse links, pipes and devices."""
    kinds = folder.kinds()
    ours = [name for name in kinds if _is_ours(name)]
    folder.require_files(*ours)
    for name, kind in kinds.items():
        if name == CHECKPOINT_FOLDER:
            checkpoints = folder / CHECKPOINT_FOLDER
            checkpoints.require_files(*checkpoints.names())
        elif kind not in ("file", "folder"):
            raise RunError(f"{folder.path / name} is a {kind}, which no run holds")
    return bool(ours) or CHECKPOINT_FOLDER in kinds


def remove_algorithm(folder: Folder) -> None:
    """Remove the files of an algorithm; other files in its folder stay."""
    for name in filter(_is_ours, folder.names()):
        folder.remove(name)
    checkpoints = folder / CHECKPOINT_FOLDER
    for name in checkpoints.names():
        checkpoints.remove(name)
    checkpoints.remove_if_empty()
    folder.remove_if_empty()


def _is_ours(name: str) -> bool:
    return name in _FILES or name.startswith(EVENTS_PREFIX)


# The files of a policy.


def keeps_best(algorithm: str) -> bool:
    """Return whether the best policy so far is kept: not for algorithms with a `finish` phase."""
    return not algorithm_class(algorithm).finish_share


class Origin(msgspec.Struct, kw_only=True):
    """Origin of the parameters in a file."""

    env_id: Word
    algorithm: Word
    iteration: Count = 0


def policy_bytes(config: TrainConfig, params: Params, iteration: int) -> bytes:
    """Return the content of a policy's file: its parameters, and where they come from."""
    return seal_tensors(params, origin_of(config, iteration))


def origin_of(config: TrainConfig, iteration: int) -> dict[str, str | int]:
    """Return the origin of parameters, as a file holds it."""
    return {"env_id": config.env_id, "algorithm": config.algorithm, "iteration": iteration}


def check_origin(path: Path, found: Origin, config: TrainConfig) -> None:
    """Refuse parameters of another family or algorithm.

    Raises:
        ValueError: Something differs; the message names it.
    """
    for name in ("env_id", "algorithm"):
        value, wanted = getattr(found, name), getattr(config, name)
        if value != wanted:
            raise ValueError(f"{path} does not fit its configuration: {name} {value!r}, {wanted!r}")


# The learning curve in curve.csv, and the summary of a run.

CURVE_COLUMNS = {
    "iteration": "time/iteration",
    "total_steps": "time/total_steps",
    "pre_return": "meta/pre_return",
    "post_return": "meta/post_return",
    "gain": "meta/gain",
    "pre_success_rate": "meta/pre_success_rate",
    "post_success_rate": "meta/post_success_rate",
    "kl": "update/kl",
    "accepted": "update/accepted",
    "sampling_s": "time/sampling_s",
    "update_s": "time/update_s",
    "unstable_episodes": "sim/unstable_episodes",
    "rejected_tasks": "update/rejected_tasks",
}
"""Columns of curve.csv, and the metric of a meta-iteration that each holds."""
_LONGEST_HEADING = 10_000
_ALWAYS_FINITE = ("iteration", "total_steps", "sampling_s", "update_s")
"""Columns of a curve that are finite also where training diverges."""
_GREATEST = 1e15


def load_curve(run: Path, algorithm: str, columns: Sequence[str]) -> dict[str, list[float]]:
    """Read columns of an algorithm's curve.csv, one number a meta-iteration each.

    Raises:
        RunError: The file is missing, or not such a table.
    """
    path = run / algorithm / CURVE_FILE
    with as_run_error(path):
        data = (Folder.named(run) / algorithm).read(CURVE_FILE, _MAX_CURVE_BYTES)
        heading, _, rows = data.partition(b"\n")
        names = heading.decode().split(",") if len(heading) <= _LONGEST_HEADING else []
        if not data:
            return {column: [] for column in columns}
        if not {*columns} <= {*names}:
            raise RunError(f"{path} is not a training curve: it lacks columns")
        numbers = _numbers(rows, [names.index(column) for column in columns])
        for column, cells in zip(columns, numbers, strict=True):
            # Returns of a rejected task may be infinite or NaN.
            if column in _ALWAYS_FINITE and not ((cells >= 0) & (cells <= _GREATEST)).all():
                raise RunError(f"{path}: {column} must be from 0 to {_GREATEST:g}")
        return {c: cells.tolist() for c, cells in zip(columns, numbers, strict=True)}


def _numbers(rows: bytes, columns: Sequence[int]) -> np.ndarray:
    """Return the numbers in columns of a table without its heading, (C, R)."""
    if not rows.strip():
        return np.empty((len(columns), 0))
    return np.loadtxt(
        io.BytesIO(rows), delimiter=",", comments=None, usecols=columns, ndmin=2, unpack=True
    )


_COLUMNS = ("total_steps", "post_return", "post_success_rate", "sampling_s", "update_s")
_LAST_PART = 10
"""A summary averages the last tenth of the meta-iterations: a single one is noisy."""


@dataclass(frozen=True)
class AlgorithmSummary:
    """One algorithm of a run."""

    run: Path
    config: TrainConfig
    finished: bool
    """Whether its budget is spent."""
    training: bool
    """Whether a process trains it now."""
    steps: int
    """Control steps simulated so far."""
    seconds: float
    """Time that they took."""
    post_return: float | None
    """Mean return after adapting, of its last training tasks; None before the first."""
    post_success: float | None
    """Rate of success of the same episodes."""


def find_runs(folder: Path, depth: int = 2) -> Iterator[Path]:
    """Return the run folders there: the folder itself, or those in it and in folders of it.

    Args:
        folder: Folder to search; links in it are not followed.
        depth: Depth of the search in folders.

    Raises:
        OSError: A folder cannot be read.
    """
    if _is_run(folder):
        yield folder
    elif depth:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                yield from find_runs(entry, depth - 1)


def summarise_run(run: Path) -> list[AlgorithmSummary]:
    """Return a summary of each algorithm of a run.

    Raises:
        RunError: The run cannot be read.
    """
    return [_summarise(run, each) for each in read_run(run).values()]


def _summarise(run: Path, saved: SavedAlgorithm) -> AlgorithmSummary:
    begun = saved.folder.has(CURVE_FILE)
    curve = load_curve(run, saved.config.algorithm, _COLUMNS) if begun else {}
    steps, *columns = (curve.get(name, []) for name in _COLUMNS)
    last = -(-len(steps) // _LAST_PART)
    post_return, post_success = (float(np.mean(c[-last:])) if last else None for c in columns[:2])
    return AlgorithmSummary(
        run=run,
        config=saved.config,
        finished=saved.finished,
        training=not saved.finished and saved.folder.is_locked(),
        steps=int(steps[-1]) if steps else 0,
        seconds=sum(map(sum, columns[2:])),
        post_return=post_return,
        post_success=post_success,
    )


def _is_run(folder: Path) -> bool:
    try:
        return bool(algorithms_there(Folder.named(folder)))
    except RunError:
        return True  # a damaged one: summarise_run raises its error


# Trained policies that come with the package: a run of every family, by the name of its preset.


FOLDER = Path(str(policies.__file__)).resolve().parent / "pretrained"
"""Folder of them: ``pretrained/grip`` is a run folder, with an evaluation and a card."""
EVALUATION_FILE = "evaluation.json"
"""Evaluation of a run, measured when it was added to the package."""


def pretrained_names() -> tuple[str, ...]:
    """Return the presets that have trained policies in the package."""
    return tuple(name for name in PRESETS if (FOLDER / name).is_dir())
