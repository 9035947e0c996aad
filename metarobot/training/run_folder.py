"""The run folder read back: which algorithms it holds, and what each is trained with."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from metarobot.algorithms import ALGORITHMS, algorithm_class, config_from_dict, configure
from metarobot.config import RunConfig, TrainConfig
from metarobot.io import Count, Folder, Seconds, Word, parse_json, typed
from metarobot.training.provenance import versions
from metarobot.training.run_layout import (
    CONFIG_FILE,
    CURVE_FILE,
    DONE_FILE,
    MAX_CONFIG_BYTES,
    RunError,
    algorithms_there,
    as_run_error,
    hold_run,
    refusals_as_run_errors,
)
from metarobot.training.run_replacement import finish_replacement, is_being_replaced


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
        if is_being_replaced(folder):
            with hold_run(folder):
                finish_replacement(folder)
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
