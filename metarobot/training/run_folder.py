"""What a run folder holds, and what is refused in its place.

A run is one task family, one seed and some algorithms trained with the same budget::

    RUN/
      latent/  maml/  oracle/  ...    one folder an algorithm that is trained, or is to be
        config.json          resolved TrainConfig, versions, machine, command line
        policy.safetensors   θ at the last checkpoint
        curve.csv            one row a meta-iteration
        done.json            cost; missing, or of a smaller budget, until the budget is spent
        checkpoints/         what training needs to go on
        events.out.tfevents  TensorBoard

A run folder may come from a stranger. So each of these is a plain file or folder of a sensible
size, or no command touches the run. Other files are left alone.
"""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import Tensor

from metarobot.algorithms import (
    ALGORITHMS,
    algorithm_class,
    config_from_dict,
    configure,
    is_algorithm_name,
)
from metarobot.config import RunConfig, TrainConfig
from metarobot.io import (
    MAX_FILE_BYTES,
    Count,
    Folder,
    FolderError,
    Seconds,
    Shapes,
    Word,
    most_bytes,
    parse_json,
    parse_tensors,
    seal_tensors,
    typed,
)
from metarobot.machine import versions
from metarobot.policies import Params

CONFIG_FILE, POLICY_FILE = "config.json", "policy.safetensors"
CURVE_FILE, DONE_FILE = "curve.csv", "done.json"
CHECKPOINT_FOLDER, BEST_FILE = "checkpoints", "best.safetensors"
EVENTS_PREFIX = "events.out.tfevents."
MAX_CONFIG_BYTES, MAX_CURVE_BYTES = 2**20, 64 * 2**20

_MAX_BYTES = {
    CONFIG_FILE: MAX_CONFIG_BYTES,
    POLICY_FILE: MAX_FILE_BYTES,
    CURVE_FILE: MAX_CURVE_BYTES,
    DONE_FILE: MAX_CONFIG_BYTES,
}
_FOLDERS = (CHECKPOINT_FOLDER,)


class RunError(ValueError):
    """A run folder is missing, incomplete, unreadable or inconsistent."""


@contextmanager
def as_run_error(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a RunError that names it."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        text = str(error)
        raise RunError(text if str(path) in text else f"{path}: {text}") from error


@contextmanager
def refusals_as_run_errors() -> Iterator[None]:
    """Turn the refusal of what stands in a folder into a RunError; errors of the system stay."""
    try:
        yield
    except FolderError as error:
        raise RunError(str(error)) from error


@contextmanager
def hold_run(run: Folder) -> Iterator[None]:
    """Keep others from training in the same folder, for as long as this process does.

    Raises:
        RunError: Another process is training there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(run.lock())
        except BlockingIOError:
            raise RunError(f"{run} is being trained by another process") from None
        yield


def algorithms_there(run: Folder) -> list[str]:
    """Return the algorithms that have left something in their folder, in their usual order.

    Raises:
        RunError: What stands in the place of one of their files or folders is something else.
    """
    with refusals_as_run_errors():
        found = [algorithm for algorithm in ALGORITHMS if (run / algorithm).exists()]
        found += _outside_algorithms(run)
        for algorithm in found:
            _check_algorithm(run / algorithm)
        return [algorithm for algorithm in found if _holds_algorithm(run / algorithm)]


def _outside_algorithms(run: Folder) -> list[str]:
    """Return the folders that are of an algorithm which is not registered, as they say themselves.

    Folders of others, which may have any name, are left alone.
    """
    folders = [name for name, kind in run.kinds().items() if kind == "folder"]
    named = [name for name in folders if name not in ALGORITHMS and is_algorithm_name(name)]
    return [name for name in named if _configured(run / name) == name]


def _configured(folder: Folder) -> object:
    """Return the algorithm that a folder's configuration is of, None where it holds none."""
    try:
        facts = parse_json(folder.read(CONFIG_FILE, MAX_CONFIG_BYTES), folder.path / CONFIG_FILE)
        return facts["train"]["algorithm"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_algorithm(folder: Folder) -> None:
    """Remove the files of an algorithm; whatever else is in its folder stays."""
    for name in folder.names():
        if _is_ours(name):
            folder.remove(name)
    for name in _FOLDERS:
        below = folder / name
        for entry in below.names():
            below.remove(entry)
        below.remove_if_empty()
    folder.remove_if_empty()


def _holds_algorithm(folder: Folder) -> bool:
    """Whether more than somebody else's files is in a folder."""
    return any(_is_ours(name) or name in _FOLDERS for name in folder.names())


def _is_ours(name: str) -> bool:
    return name in _MAX_BYTES or name.startswith(EVENTS_PREFIX)


def _check_algorithm(folder: Folder) -> None:
    """Refuse what is no file or folder of an algorithm, or longer than any of ours."""
    kinds = folder.kinds()
    for name in (*_MAX_BYTES, *filter(_is_ours, kinds)):
        folder.require_files(name, most_bytes=_MAX_BYTES.get(name, MAX_FILE_BYTES))
    for name, kind in kinds.items():
        if name in _FOLDERS:
            below = folder / name
            below.require_files(*below.names())
        elif kind not in ("file", "folder"):
            raise FolderError(f"{folder.path / name} is a {kind}, which no run holds")


# The run folder read back: which algorithms it holds, and what each is trained with.


class SavedConfig(msgspec.Struct):
    """What CONFIG_FILE holds, as far as commands rely on it."""

    train: dict[str, Any]
    """`TrainConfig.to_dict`."""
    versions: dict[str, Word] = {}
    """Of all that the numbers come from."""
    turn: Count = 0
    """Place in the order in which the algorithms of the run are trained."""


class Cost(msgspec.Struct):
    """What a training has cost."""

    total_steps: Count
    """Control steps simulated."""
    seconds: Seconds


_WHERE_RUNS_ARE = ": `metarobot runs` lists yours, `metarobot list` those of the package"


def algorithms_in(run: Path) -> list[str]:
    """Return the algorithms of a run, in the order of ALGORITHMS.

    Raises:
        RunError: The folder is missing, is no run, or holds what no run holds, such as links.
    """
    folder = Folder.named(run)
    with refusals_as_run_errors():
        if not folder.exists():
            raise RunError(f"no run folder at {run}{_nearest_sibling(run) or _WHERE_RUNS_ARE}")
        present = algorithms_there(folder)
    if not present:
        raise RunError(f"{run} is not a run folder: it holds none of {', '.join(ALGORITHMS)}")
    return present


def algorithm_folder(run: Path, algorithm: str) -> Folder:
    """Return the folder of an algorithm."""
    return Folder.named(run) / algorithm


def unfinished_configs(run: Path, expected: RunConfig | None = None) -> list[TrainConfig]:
    """Return the configurations of the algorithms whose budget is not spent, in order of training.

    The one that was interrupted is the first, the others follow as the run was asked for.

    Args:
        run: The run folder.
        expected: What they must have in common; None takes any.

    Raises:
        RunError: The folder is missing or holds no algorithm, or an algorithm was made with other
            versions or another configuration; the message names what differs.
    """
    unfinished = []
    for algorithm in algorithms_in(run):
        saved, config = _read_config(run, algorithm)
        finished = is_finished(run, config)
        versions_differ = [] if finished else other_versions(saved)
        if differences := [*versions_differ, *_other_fields(config, expected)]:
            raise RunError(f"{run} cannot be resumed here: {', '.join(differences)}")
        if not finished:
            unfinished.append((not _is_interrupted(run, algorithm), saved.turn, config))
    return [config for *_, config in sorted(unfinished, key=itemgetter(0, 1))]


def _is_interrupted(run: Path, algorithm: str) -> bool:
    folder = algorithm_folder(run, algorithm)
    return folder.has(CURVE_FILE) and not folder.has(DONE_FILE)


def run_configs(run: Path) -> dict[str, TrainConfig]:
    """Return the configuration of every algorithm of a run.

    Raises:
        RunError: The folder is missing or holds no algorithm, or a configuration cannot be read.
    """
    return {algorithm: load_config(run, algorithm) for algorithm in algorithms_in(run)}


def is_finished(run: Path, config: TrainConfig) -> bool:
    """Return whether the whole present budget of an algorithm is spent.

    Raises:
        RunError: done.json cannot be read.
    """
    with as_run_error(run / config.algorithm / DONE_FILE):
        if not algorithm_folder(run, config.algorithm).has(DONE_FILE):
            return False
        return read_cost(run, config.algorithm).total_steps >= config.total_steps


def read_cost(run: Path, algorithm: str) -> Cost:
    """Read DONE_FILE of an algorithm.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else.
    """
    return typed(read_facts(run, algorithm, DONE_FILE), Cost, run / algorithm / DONE_FILE)


def load_config(run: Path, algorithm: str) -> TrainConfig:
    """Read what an algorithm is trained with.

    Raises:
        RunError: The file cannot be read, or is not a configuration of this algorithm.
    """
    return _read_config(run, algorithm)[1]


def read_facts(run: Path, algorithm: str, name: str) -> dict[str, Any]:
    """Read CONFIG_FILE or DONE_FILE of an algorithm.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON object.
    """
    folder = algorithm_folder(run, algorithm)
    return parse_json(folder.read(name, MAX_CONFIG_BYTES), run / algorithm / name)


def brief(value: object) -> str:
    """Return a configuration's value for a message: a table in one line, without its text."""
    if not isinstance(value, Mapping):
        return str(value)
    return json.dumps({key: item for key, item in value.items() if key != "description"})


def read_saved(run: Path, algorithm: str) -> SavedConfig:
    """Read CONFIG_FILE of an algorithm.

    Raises:
        RunError: The file cannot be read, or holds something else.
    """
    path = run / algorithm / CONFIG_FILE
    with as_run_error(path):
        return typed(read_facts(run, algorithm, CONFIG_FILE), SavedConfig, path)


def _read_config(run: Path, algorithm: str) -> tuple[SavedConfig, TrainConfig]:
    """Return what an algorithm's CONFIG_FILE holds, and the configuration in it."""
    saved, path = read_saved(run, algorithm), run / algorithm / CONFIG_FILE
    with as_run_error(path):
        named = saved.train.get("algorithm")
        algorithm_class(named)  # says what there is
        if named != algorithm:
            raise RunError(f"{path} configures {named}, but lies in the folder of {algorithm}")
        return saved, config_from_dict(saved.train)


def other_versions(saved: SavedConfig) -> list[str]:
    """Say which of the versions that the numbers come from are not those of this machine."""
    return [
        f"{name} was {saved.versions.get(name)}, is {version}"
        for name, version in versions().items()
        if saved.versions.get(name) != version
    ]


def differences(config: TrainConfig, wanted: TrainConfig) -> list[str]:
    """Say which values, chosen for both of two algorithms, are not as wanted."""
    found, values = config.chosen_values, wanted.chosen_values
    return [
        f"{name} was {brief(found[name])}, is {brief(values[name])}"
        for name in found
        if name in values and found[name] != values[name]
    ]


def _other_fields(config: TrainConfig, expected: RunConfig | None) -> list[str]:
    """Say which values of a configuration are not as expected."""
    return differences(config, configure(expected, config.algorithm)) if expected else []


def _nearest_sibling(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f", did you mean {path.with_name(close[0])}?" if close else ""


# The files of a policy.


def keeps_best(algorithm: str) -> bool:
    """Return whether the best policy so far is kept: not where only the last one is concluded."""
    return not algorithm_class(algorithm).concluding_share


class Origin(msgspec.Struct, kw_only=True):
    """What a file says of where its parameters come from."""

    env_id: Word
    algorithm: Word
    iteration: Count = 0


def policy_bytes(config: TrainConfig, params: Params, iteration: int) -> bytes:
    """Return the content of a policy's file: its parameters, and where they come from."""
    return seal_tensors(params, origin_of(config, iteration))


def load_policy(folder: Folder, name: str, config: TrainConfig, shapes: Shapes) -> Params:
    """Read a policy's parameters.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, of another algorithm, or does not fit.
    """
    path, data = folder.path / name, folder.read(name, most_bytes(shapes))
    tensors, facts = parse_tensors(path, data, shapes)
    check_origin(path, tensors, typed(facts, Origin, path), config)
    return tensors


def origin_of(config: TrainConfig, iteration: int) -> dict[str, str | int]:
    """Return the origin of parameters, as a file says it."""
    return {"env_id": config.env_id, "algorithm": config.algorithm, "iteration": iteration}


def check_origin(
    path: Path, tensors: dict[str, Tensor], found: Origin, config: TrainConfig
) -> None:
    """Refuse what belongs to another algorithm, and numbers that are not finite."""
    for name in ("env_id", "algorithm"):
        value, wanted = getattr(found, name), getattr(config, name)
        if value != wanted:
            raise ValueError(f"{path} does not fit its configuration: {name} {value!r}, {wanted!r}")


# The learning curve in curve.csv: its columns, and what is read of them.


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
"""Columns of a curve that count; whatever goes wrong in training, they are numbers."""
_GREATEST = 1e15


def load_curve(run: Path, algorithm: str, columns: Sequence[str]) -> dict[str, list[float]]:
    """Read columns of an algorithm's curve.csv, one number a meta-iteration each.

    Raises:
        RunError: The file is missing, or not such a table.
    """
    path = run / algorithm / CURVE_FILE
    with as_run_error(path):
        data = algorithm_folder(run, algorithm).read(CURVE_FILE, MAX_CURVE_BYTES)
        heading, _, rows = data.partition(b"\n")
        names = heading.decode().split(",") if len(heading) <= _LONGEST_HEADING else []
        if not data:
            return {column: [] for column in columns}
        if not {*columns} <= {*names}:
            raise RunError(f"{path} is not a training curve: it lacks columns")
        numbers = _numbers(rows, [names.index(column) for column in columns])
        for column, cells in zip(columns, numbers, strict=True):
            # Returns of a rejected task may be anything.
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


# What a run folder tells at a glance: how far each algorithm is, what it cost, what it reaches.


_COLUMNS = ("total_steps", "post_return", "post_success_rate", "sampling_s", "update_s")
_LAST_PART = 10
"""The figures are means over the last tenth of the meta-iterations: one alone is noisy."""


@dataclass(frozen=True)
class AlgorithmSummary:
    """One algorithm of a run."""

    run: Path
    config: TrainConfig
    finished: bool
    """Whether its budget is spent."""
    training: bool
    """Whether a process trains in the run now."""
    steps: int
    """Control steps simulated so far."""
    seconds: float
    """What they cost."""
    post_return: float | None
    """Mean return after adapting, of its last training tasks; None before the first."""
    post_success: float | None
    """Rate of success of the same episodes."""


def find_runs(folder: Path, depth: int = 2) -> Iterator[Path]:
    """Return the run folders there: the folder itself, or those in it and in folders of it.

    Args:
        folder: Where to look; links in it are not followed.
        depth: How many folders deep to look.

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
    """Return how far each algorithm of a run is.

    Raises:
        RunError: The run cannot be read.
    """
    configs, training = run_configs(run), _is_held(run)
    return [_summarise(run, config, training) for config in configs.values()]


def _summarise(run: Path, config: TrainConfig, training: bool) -> AlgorithmSummary:
    finished = is_finished(run, config)
    begun = algorithm_folder(run, config.algorithm).has(CURVE_FILE)
    curve = load_curve(run, config.algorithm, _COLUMNS) if begun else {}
    steps, *columns = (curve.get(name, []) for name in _COLUMNS)
    last = -(-len(steps) // _LAST_PART)
    post_return, post_success = (float(np.mean(c[-last:])) if last else None for c in columns[:2])
    return AlgorithmSummary(
        run=run,
        config=config,
        finished=finished,
        training=training and not finished,
        steps=int(steps[-1]) if steps else 0,
        seconds=sum(map(sum, columns[2:])),
        post_return=post_return,
        post_success=post_success,
    )


def _is_run(folder: Path) -> bool:
    try:
        return bool(algorithms_there(Folder.named(folder)))
    except RunError:
        return True  # a damaged one, of which summarise_run says what is wrong


def _is_held(run: Path) -> bool:
    try:
        with hold_run(Folder.named(run)):
            return False
    except RunError:
        return True
