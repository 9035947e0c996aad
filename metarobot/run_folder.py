"""The run folder: what training leaves on disk, and what it finds there to go on with.

A run is one task family, one seed and some agents trained with the same budget::

    RUN/
      maml/  domain_randomisation/  oracle/     one folder an agent that is trained, or is to be
        config.json          resolved TrainConfig, versions, machine, command line
        policy.safetensors   θ at the last checkpoint
        curve.csv            one row a meta-iteration
        done.json            cost; missing, or of a smaller budget, until the budget is spent
        checkpoints/         what training needs to go on
        refused/             replays of tasks whose numbers made a meta-update impossible
        events.out.tfevents  TensorBoard

The folder appears with every configuration in it, so that what exists can be resumed.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarobot.checkpoints import (
    Progress,
    save_checkpoint,
)
from metarobot.config import AGENTS, Agent, TrainConfig
from metarobot.envs import file_name
from metarobot.envs.checked_numbers import show
from metarobot.files import lock_folder, read_json, sync_folder, write_json
from metarobot.initial_policy import InitialPolicy
from metarobot.provenance import choose_num_threads, provenance, versions

CONFIG_FILE, POLICY_FILE = "config.json", "policy.safetensors"
CURVE_FILE, DONE_FILE = "curve.csv", "done.json"
CHECKPOINT_FOLDER, REPLAY_FOLDER = "checkpoints", "refused"
_EVENT_FILES = "events.out.tfevents.*"
_PARTIAL = ".partial"  # where a folder is prepared until it appears in one piece

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
    "refused_tasks": "update/refused_tasks",
}
"""Columns of curve.csv, and the metric of a meta-iteration that each holds."""


class RunError(ValueError):
    """A run folder is missing, incomplete, unreadable or inconsistent."""


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Keep others from training in the same folder, for as long as this process does.

    Raises:
        RunError: Another process is training there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(run))
        except BlockingIOError:
            raise RunError(f"{run} is being trained by another process") from None
        yield


def default_run_folder(config: TrainConfig) -> Path:
    """Return where a run goes that nobody named: runs/FAMILY-seedSEED, the variant in between."""
    variant = f"-{config.variant.name}" if config.variant else ""
    return Path("runs") / f"{file_name(config.env_id)}{variant}-seed{config.seed}"


def create_run_folder(
    run: Path,
    configs: Sequence[TrainConfig],
    *,
    overwrite: bool,
    initial: InitialPolicy | None = None,
) -> None:
    """Make a run folder that holds the configuration of every agent to be trained.

    It appears in one piece, so that from then on the run can be resumed.

    Args:
        run: Where; missing parents are made.
        configs: One configuration an agent.
        overwrite: Remove the files of a run that is there already; files of other kinds stay.
        initial: What the agents begin with; their first checkpoints, so that a run that is
            interrupted before it has any of its own begins with it again.

    Raises:
        RunError: Something is there already, and overwrite is not set.
    """
    if run.exists() and not run.is_dir():
        raise RunError(f"{run} is a file, not a folder")
    if run.is_dir() and any(run.iterdir()):
        if not overwrite:
            raise RunError(f"{run} is not empty: name another folder, or pass --overwrite")
        with hold_run(run):
            _remove_agents(run)
    is_new = not run.exists()
    target = run.with_name(f".{run.name}.partial") if is_new else run
    if is_new:
        shutil.rmtree(target, ignore_errors=True)
    for config in configs:
        _prepare_agent(target, config, initial)
    if is_new:
        os.replace(target, run)
        sync_folder(run.absolute().parent)


def add_agents(run: Path, configs: Sequence[TrainConfig]) -> None:
    """Prepare more agents in a run folder, with the configuration of those that are there.

    Agents that are there stay as they are, trained or not.

    Args:
        run: The run folder.
        configs: One configuration an agent, which differ in nothing else.

    Raises:
        RunError: The folder holds no run, another process trains in it, or its agents were made
            with another configuration; the message names what differs.
    """
    unfinished_configs(run, configs[0])
    present = agents_in(run)
    with hold_run(run):
        for config in configs:
            if config.agent not in present:
                _prepare_agent(run / _PARTIAL, config)
                os.replace(run / _PARTIAL / config.agent, agent_folder(run, config.agent))
        shutil.rmtree(run / _PARTIAL, ignore_errors=True)
        sync_folder(run)


def extend_budget(run: Path, total_steps: int) -> None:
    """Give every agent of a run a larger budget: what it becomes is what it had been with that one.

    Each configuration is replaced in one piece. Where that is interrupted between two of them, the
    next call of `level_budgets` goes on with it.

    Args:
        run: The run folder.
        total_steps: The budget; nothing changes where it is the present one.

    Raises:
        RunError: It is smaller than the present one, another process trains in the folder, or an
            agent was made with other versions.
        ValueError: The budget is not allowed.
    """
    configs = run_configs(run)
    present = max(config.total_steps for config in configs.values())
    if total_steps < present:
        raise RunError(
            f"the budget of {run} is {present} control steps, and a run can only go on: "
            f"--total-steps must be at least that, got {show(total_steps)}"
        )
    shorter = [config for config in configs.values() if config.total_steps < total_steps]
    longer = {
        agent_folder(run, config.agent) / CONFIG_FILE: replace(config, total_steps=total_steps)
        for config in shorter
    }
    for path in longer:
        if differences := _other_versions(path):
            raise RunError(f"{run} cannot be extended here: {', '.join(differences)}")
    with hold_run(run):
        for path, config in longer.items():
            write_json(path, {**read_json(path), "train": config.to_dict()})


def level_budgets(run: Path) -> None:
    """Go on with an extension that was interrupted, if one was: it gave some agents more."""
    budgets = {config.total_steps for config in run_configs(run).values()}
    if len(budgets) > 1:
        extend_budget(run, max(budgets))


def configs_like(
    run: Path, agents: Sequence[Agent], given: TrainConfig | None = None
) -> list[TrainConfig]:
    """Return what further agents of a run are trained with.

    Args:
        run: The run folder.
        agents: Who they are.
        given: What they are trained with; None takes what the agents there have, an option that
            some of them do not read from those that do.

    Raises:
        RunError: The folder holds no run, or one that began with a policy from a file.
        ValueError: The options do not suit an agent.
    """
    values: dict[str, Any] = {}
    for agent, config in run_configs(run).items():
        if "initial_policy" in read_json(agent_folder(run, agent) / CONFIG_FILE):
            raise RunError(f"{run} began with a policy from a file: it can get no further agents")
        values = {**config.to_dict(), **values, **config.decisive_values}
    if given is not None:
        values = given.to_dict()
    return [TrainConfig.from_dict({**values, "agent": agent}) for agent in dict.fromkeys(agents)]


def run_configs(run: Path) -> dict[Agent, TrainConfig]:
    """Return the configuration of every agent of a run.

    Raises:
        RunError: The folder is missing or holds no agent, or a configuration cannot be read.
    """
    return {
        agent: load_config(file_inside(run, agent_folder(run, agent) / CONFIG_FILE), agent)
        for agent in agents_in(run)
    }


def unfinished_configs(run: Path, expected: TrainConfig | None = None) -> list[TrainConfig]:
    """Return the configurations of the agents whose budget is not spent.

    Args:
        run: The run folder.
        expected: What they must be, except for the agent; None takes any.

    Raises:
        RunError: The folder is missing or holds no agent, or an agent was made with other versions
            or another configuration; the message names what differs.
    """
    configs = []
    for agent, config in run_configs(run).items():
        path = agent_folder(run, agent) / CONFIG_FILE
        finished = is_finished(run, config)
        versions_differ = [] if finished else _other_versions(path)
        if differences := [*versions_differ, *_other_fields(config, expected)]:
            raise RunError(f"{run} cannot be resumed here: {', '.join(differences)}")
        if not finished:
            configs.append(config)
    return configs


def agent_folder(run: Path, agent: str) -> Path:
    """Return the folder of an agent.

    Raises:
        RunError: A link leads out of the run folder.
    """
    return file_inside(run, run / agent)


def _prepare_agent(run: Path, config: TrainConfig, initial: InitialPolicy | None = None) -> None:
    """Write down what an agent is to be trained with, and what it begins with."""
    folder = run / config.agent
    folder.mkdir(parents=True, exist_ok=True)
    facts = provenance(choose_num_threads(config.num_threads))
    if initial is not None:  # before the configuration, with which there is a run to resume
        state = initial.states[config.agent]
        save_checkpoint(folder / CHECKPOINT_FOLDER, config, state, Progress())
        facts["initial_policy"] = initial.source
    write_json(folder / CONFIG_FILE, {"train": config.to_dict(), **facts})


def agents_in(run: Path) -> list[Agent]:
    """Return the agents of a run, in the order of AGENTS."""
    if not run.is_dir():
        raise RunError(f"no run folder at {run}{_nearest_sibling(run)}")
    present: list[Agent] = [agent for agent in AGENTS if (run / agent).is_dir()]
    if not present:
        raise RunError(f"{run} is not a run folder: it holds none of {', '.join(AGENTS)}")
    return present


def is_finished(run: Path, config: TrainConfig) -> bool:
    """Return whether the whole budget of an agent is spent: the present one, if it was extended.

    Raises:
        RunError: A link leads out of the run folder, or done.json cannot be read.
    """
    path = file_inside(run, agent_folder(run, config.agent) / DONE_FILE)
    if not path.is_file():
        return False
    with as_run_error(path):
        spent = read_json(path).get("total_steps")
    if not isinstance(spent, int):
        raise RunError(f"{path} does not say how many control steps were simulated")
    return spent >= config.total_steps


def load_config(path: Path, agent: Agent) -> TrainConfig:
    """Read what an agent is trained with.

    Raises:
        RunError: The file cannot be read, or is not a configuration of this agent.
    """
    with as_run_error(path):
        values = read_json(path).get("train")
        if not isinstance(values, dict):
            raise RunError(f"{path} holds no configuration under 'train'")
        config = TrainConfig.from_dict(values)
    if config.agent != agent:
        raise RunError(f"{path} configures {config.agent}, but lies in the folder of {agent}")
    return config


def _other_versions(path: Path) -> list[str]:
    """Say which of the versions that the numbers come from are not those of this machine."""
    with as_run_error(path):
        saved = read_json(path).get("versions")
    saved = saved if isinstance(saved, dict) else {}
    return [
        f"{name} was {saved.get(name)}, is {version}"
        for name, version in versions().items()
        if saved.get(name) != version
    ]


def _other_fields(config: TrainConfig, expected: TrainConfig | None) -> list[str]:
    """Say which fields of a configuration are not as expected."""
    found, wanted = config.to_dict(), (expected or config).to_dict()
    return [
        f"{name} was {brief(found[name])}, is {brief(wanted[name])}"
        for name in config.decisive_fields
        if name != "agent" and found[name] != wanted[name]
    ]


def _remove_agents(run: Path) -> None:
    """Remove the files of a run; whatever else is in its folders stays."""
    for agent in AGENTS:
        folder = agent_folder(run, agent)
        names = (CONFIG_FILE, POLICY_FILE, CURVE_FILE, DONE_FILE)
        files = [folder / name for name in names]
        patterns = (_EVENT_FILES, f"{CHECKPOINT_FOLDER}/*", f"{REPLAY_FOLDER}/*")
        for file in [*files, *(file for pattern in patterns for file in folder.glob(pattern))]:
            file.unlink(missing_ok=True)
        for left in (folder / CHECKPOINT_FOLDER, folder / REPLAY_FOLDER, folder):
            if left.is_dir() and not any(left.iterdir()):
                left.rmdir()


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


def brief(value: object) -> str:
    """Return a configuration's value for a message: a table in one line, without its text."""
    if not isinstance(value, Mapping):
        return str(value)
    return json.dumps({key: item for key, item in value.items() if key != "description"})


def file_inside(run: Path, path: Path) -> Path:
    """Return a path in a run folder as it came.

    Raises:
        RunError: A link leads out of the run folder.
    """
    if not path.resolve().is_relative_to(run.resolve()):
        raise RunError(f"{path} is a link that leads out of the run folder")
    return path


def _nearest_sibling(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f", did you mean {path.with_name(close[0])}?" if close else ""
