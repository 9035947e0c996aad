"""The run folder read back: which algorithms it holds, and what each is trained with."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarobot.algorithms import ALGORITHMS, algorithm_class, config_from_dict, configure
from metarobot.config import RunConfig, TrainConfig
from metarobot.files import parse_json
from metarobot.folder import Folder
from metarobot.training.provenance import versions
from metarobot.training.run_layout import (
    CONFIG_FILE,
    DONE_FILE,
    MAX_CONFIG_BYTES,
    RunError,
    algorithms_there,
    as_run_error,
    hold_run,
    refusals_as_run_errors,
)
from metarobot.training.run_replacement import finish_replacement, is_being_replaced

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
    """Return the configurations of the algorithms whose budget is not spent.

    Args:
        run: The run folder.
        expected: What they must have in common; None takes any.

    Raises:
        RunError: The folder is missing or holds no algorithm, or an algorithm was made with other
            versions or another configuration; the message names what differs.
    """
    configs = []
    for algorithm in algorithms_in(run):
        saved, config = _read_config(run, algorithm)
        finished = is_finished(run, config)
        versions_differ = [] if finished else other_versions(saved)
        if differences := [*versions_differ, *_other_fields(config, expected)]:
            raise RunError(f"{run} cannot be resumed here: {', '.join(differences)}")
        if not finished:
            configs.append(config)
    return configs


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
    path = run / config.algorithm / DONE_FILE
    with as_run_error(path):
        if not algorithm_folder(run, config.algorithm).has(DONE_FILE):
            return False
        spent = read_facts(run, config.algorithm, DONE_FILE).get("total_steps")
    if not isinstance(spent, int):
        raise RunError(f"{path} does not say how many control steps were simulated")
    return spent >= config.total_steps


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


def _read_config(run: Path, algorithm: str) -> tuple[dict[str, Any], TrainConfig]:
    """Return all that an algorithm's CONFIG_FILE holds, and the configuration in it."""
    path = run / algorithm / CONFIG_FILE
    with as_run_error(path):
        saved = read_facts(run, algorithm, CONFIG_FILE)
        values = saved.get("train")
        if not isinstance(values, dict):
            raise RunError(f"{path} holds no configuration under 'train'")
        named = values.get("algorithm")
        algorithm_class(named)  # says what there is
        if named != algorithm:
            raise RunError(f"{path} configures {named}, but lies in the folder of {algorithm}")
        config = config_from_dict(values)
    return saved, config


def other_versions(saved: Mapping[str, Any]) -> list[str]:
    """Say which of the versions that the numbers come from are not those of this machine."""
    found = saved.get("versions")
    found = found if isinstance(found, dict) else {}
    return [
        f"{name} was {found.get(name)}, is {version}"
        for name, version in versions().items()
        if found.get(name) != version
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
