"""The run folder: what training leaves on disk, and how it is read back.

A run is one task family, one seed and up to three agents trained with the same budget::

    RUN/
      maml/  domain_randomisation/  oracle/     one folder an agent
        config.json          resolved TrainConfig, versions, machine, command line
        policy.safetensors   θ at the last checkpoint
        curve.csv            one row a meta-iteration
        done.json            cost; missing until the budget is spent
        events.out.tfevents  TensorBoard

Only tensors and text are read, never a pickle, so a run folder from a stranger can be loaded.  All
of it is checked against the configuration before a policy is built.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarobot.checkpoint import load_policy, policy_shapes
from metarobot.config import AGENTS, Agent, TrainConfig
from metarobot.envs import make_env
from metarobot.files import read_json
from metarobot.meta_trainer import make_policy
from metarobot.policies import GaussianMLP, Params

CONFIG_FILE, POLICY_FILE = "config.json", "policy.safetensors"
CURVE_FILE, DONE_FILE = "curve.csv", "done.json"
_EVENT_FILES = "events.out.tfevents.*"

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
}
"""Columns of curve.csv, and the metric of a meta-iteration that each holds."""

# What may differ between the agents of one run: who it is, and what does not change the result.
_FREE_FIELDS = {"agent", "num_threads"}


class RunError(ValueError):
    """A run folder is missing, incomplete, unreadable or inconsistent."""


@dataclass(frozen=True)
class TrainedAgent:
    """A policy with the parameters it was trained to."""

    policy: GaussianMLP
    """Policy skeleton."""
    params: Params
    """θ, each leaf in its own shape."""
    config: TrainConfig
    """What it was trained with."""
    finished: bool = True
    """Whether its whole budget was spent."""


@dataclass(frozen=True)
class TrainedRun:
    """The agents of one run."""

    seed: int
    env_id: str
    agents: dict[Agent, TrainedAgent]
    path: Path = Path()
    """Its folder."""

    @property
    def unfinished(self) -> tuple[Agent, ...]:
        """Agents whose training was interrupted."""
        return tuple(name for name, agent in self.agents.items() if not agent.finished)


def prepare_run_folder(run: Path, *, overwrite: bool) -> None:
    """Make an empty run folder.

    Args:
        run: Where; missing parents are made.
        overwrite: Remove the files of a run that is there already; files of other kinds stay.

    Raises:
        RunError: Something is there already, and overwrite is not set.
    """
    if run.exists() and not run.is_dir():
        raise RunError(f"{run} is a file, not a folder")
    if run.is_dir() and any(run.iterdir()) and not overwrite:
        raise RunError(f"{run} is not empty: name another folder, or pass --overwrite")
    for agent in AGENTS:
        folder = agent_folder(run, agent)
        names = (CONFIG_FILE, POLICY_FILE, CURVE_FILE, DONE_FILE)
        for file in [*(folder / name for name in names), *folder.glob(_EVENT_FILES)]:
            file.unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    run.mkdir(parents=True, exist_ok=True)


def agent_folder(run: Path, agent: str) -> Path:
    """Return the folder of an agent.

    Raises:
        RunError: A link leads out of the run folder.
    """
    return _inside(run, run / agent)


def load_run(path: Path) -> TrainedRun:
    """Read all agents of a run.

    Args:
        path: The run folder.

    Returns:
        The run; agents are in the order of AGENTS.

    Raises:
        RunError: The folder is missing, holds no agent, or one that cannot be read or does not
            belong with the others.
    """
    if not path.is_dir():
        raise RunError(f"no run folder at {path}{_nearest_sibling(path)}")
    present: list[Agent] = [agent for agent in AGENTS if (path / agent).is_dir()]
    if not present:
        raise RunError(f"{path} is not a run folder: it holds none of {', '.join(AGENTS)}")
    agents: dict[Agent, TrainedAgent] = {agent: _load_agent(path, agent) for agent in present}
    _check_same_run(path, agents)
    config = agents[present[0]].config
    return TrainedRun(path=path, seed=config.seed, env_id=config.env_id, agents=agents)


def load_runs(paths: Sequence[Path]) -> list[TrainedRun]:
    """Read several seeds of one task family.

    Raises:
        RunError: As in load_run, or the runs differ in family or in agents, or share a seed.
    """
    runs = [load_run(path) for path in paths]
    first = runs[0]
    for index, run in enumerate(runs):
        if run.env_id != first.env_id:
            raise RunError(
                f"{run.path} is a run of {run.env_id}, but {first.path} one of {first.env_id}: "
                "evaluate one task family at a time"
            )
        if list(run.agents) != list(first.agents):
            raise RunError(
                f"{run.path} holds {', '.join(run.agents)}, "
                f"but {first.path} holds {', '.join(first.agents)}"
            )
        twin = next((other for other in runs[:index] if other.seed == run.seed), None)
        if twin is not None:
            raise RunError(f"{run.path} and {twin.path} have the same seed, {run.seed}")
    return runs


def load_curve(run: Path, agent: Agent) -> dict[str, list[float]]:
    """Read an agent's curve.csv.

    Returns:
        Each column of CURVE_COLUMNS, one number a meta-iteration.

    Raises:
        RunError: The file is missing, or not such a table.
    """
    path = _inside(run, run / agent / CURVE_FILE)
    with _as_run_error(path), path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
        if rows and not set(CURVE_COLUMNS) <= set(rows[0]):
            raise RunError(f"{path} is not a training curve: it lacks columns")
        return {column: [float(row[column]) for row in rows] for column in CURVE_COLUMNS}


def _load_agent(run: Path, agent: Agent) -> TrainedAgent:
    folder = agent_folder(run, agent)
    config = _load_config(_inside(run, folder / CONFIG_FILE), agent)
    path = _inside(run, folder / POLICY_FILE)
    if not path.is_file():
        raise RunError(f"{path} is missing: was training interrupted before the first checkpoint?")
    with _as_run_error(path):
        env = make_env(config.env_id, 1, observe_task=agent == "oracle")
        observation_size, action_size = (
            int(np.prod(space.shape or ()))
            for space in (env.single_observation_space, env.single_action_space)
        )
        shapes = policy_shapes(observation_size, action_size, config.hidden_sizes)
        params = load_policy(path, shapes)
        policy = make_policy(config, env)
    finished = _inside(run, folder / DONE_FILE).is_file()
    return TrainedAgent(policy, params, config, finished)


def _load_config(path: Path, agent: Agent) -> TrainConfig:
    with _as_run_error(path):
        values = read_json(path).get("train")
        if not isinstance(values, dict):
            raise RunError(f"{path} holds no configuration under 'train'")
        config = TrainConfig.from_dict(values)
    if config.agent != agent:
        raise RunError(f"{path} configures {config.agent}, but lies in the folder of {agent}")
    return config


@contextmanager
def _as_run_error(path: Path) -> Iterator[None]:
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


def _check_same_run(path: Path, agents: Mapping[Agent, TrainedAgent]) -> None:
    """Refuse agents that were not trained alike: a comparison would mean nothing."""
    (first_name, first), *others = agents.items()
    wanted = first.config.to_dict()
    for name, agent in others:
        for field, value in agent.config.to_dict().items():
            if field not in _FREE_FIELDS and value != wanted[field]:
                raise RunError(
                    f"{first_name} and {name} in {path} were trained with different {field}: "
                    f"{wanted[field]} and {value}"
                )


def _inside(run: Path, path: Path) -> Path:
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
