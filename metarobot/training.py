"""Training: spend a budget of control steps on each agent of a run, and keep what was learned."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.tensorboard import SummaryWriter

from metarobot import __version__
from metarobot.checkpoint import save_policy
from metarobot.config import Agent, TrainConfig
from metarobot.envs import make_env
from metarobot.files import write_json
from metarobot.meta_trainer import MetaTrainer, Metrics
from metarobot.run_folder import (
    CONFIG_FILE,
    CURVE_COLUMNS,
    CURVE_FILE,
    DONE_FILE,
    POLICY_FILE,
    agent_folder,
    prepare_run_folder,
)

CHECKPOINT_EVERY = 10
"""Meta-iterations between checkpoints."""

_PACKAGES = ("torch", "mujoco", "numpy", "gymnasium")


class Display(Protocol):
    """Shows training as it goes."""

    def begin(self, config: TrainConfig) -> None:
        """An agent starts to train."""
        ...

    def update(self, metrics: Metrics) -> None:
        """A meta-iteration is over."""
        ...

    def end(self) -> None:
        """The agent's budget is spent."""
        ...


def train_run(
    config: TrainConfig,
    agents: Sequence[Agent],
    folder: Path,
    display: Display | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Train agents of one family and seed with the same budget, one after the other.

    Args:
        config: What they have in common; its ``agent`` is ignored.
        agents: Who to train.
        folder: The run folder to make.
        display: Shows the progress.
        overwrite: Replace a run that is there already.

    Raises:
        RunError: The folder is in use.
        KeyboardInterrupt: Training was interrupted; the last checkpoint is in place.
    """
    prepare_run_folder(folder, overwrite=overwrite)
    for agent in dict.fromkeys(agents):
        train_agent(replace(config, agent=agent), agent_folder(folder, agent), display)


def train_agent(config: TrainConfig, folder: Path, display: Display | None = None) -> None:
    """Train one agent until its budget of control steps is spent.

    Args:
        config: What to train and how.
        folder: Where its files go; made if missing.
        display: Shows the progress.

    Raises:
        KeyboardInterrupt: Training was interrupted; the last checkpoint is in place.
    """
    threads = choose_num_threads(config.num_threads)
    torch.set_num_threads(threads)
    num_envs = config.num_tasks * config.episodes_per_task
    env = make_env(
        config.env_id, num_envs, num_threads=threads, observe_task=config.agent == "oracle"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE_FILE).unlink(missing_ok=True)
    write_json(folder / CONFIG_FILE, {"train": config.to_dict(), **provenance(threads)})
    trainer = MetaTrainer(config, env)
    started = time.perf_counter()
    if display is not None:
        display.begin(config)
    try:
        with _curve_writers(folder) as write:
            _train(trainer, folder, write, display)
    finally:
        if trainer.iteration:
            save_policy(folder / POLICY_FILE, trainer.params)
        env.close()
    seconds = time.perf_counter() - started
    cost = {"iterations": trainer.iteration, "total_steps": trainer.total_steps}
    write_json(folder / DONE_FILE, {**cost, "seconds": round(seconds, 2)})
    if display is not None:
        display.end()


def choose_num_threads(wanted: int = 0) -> int:
    """Return how many threads to use: as wanted, else OMP_NUM_THREADS, else the physical cores.

    Hyperthreads do not help: the second one of a core waits for the same arithmetic units.
    """
    if wanted > 0:
        return wanted
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told) > 0:
        return int(told)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return min(_physical_cores(), len(usable) or sys.maxsize)


def provenance(threads: int) -> dict[str, Any]:
    """Return what a result may depend on besides its configuration."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "git_revision": _git_revision(),
        "machine": {
            "cpu": _cpu_model(),
            "threads": threads,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _train(
    trainer: MetaTrainer, folder: Path, write: Callable[[Metrics], None], display: Display | None
) -> None:
    while not trainer.finished:
        metrics = trainer.step()
        write(metrics)
        if trainer.iteration % CHECKPOINT_EVERY == 0:
            save_policy(folder / POLICY_FILE, trainer.params)
        if display is not None:
            display.update(metrics)


@contextmanager
def _curve_writers(folder: Path) -> Iterator[Callable[[Metrics], None]]:
    """Give a function that adds a meta-iteration's metrics to curve.csv and to TensorBoard."""
    with (
        (folder / CURVE_FILE).open("w", newline="", encoding="utf-8") as file,
        SummaryWriter(str(folder)) as board,
    ):
        table = csv.writer(file)
        table.writerow(CURVE_COLUMNS)

        def write(metrics: Metrics) -> None:
            table.writerow(f"{metrics[name]:.9g}" for name in CURVE_COLUMNS.values())
            file.flush()
            for name, value in metrics.items():
                board.add_scalar(name, value, int(metrics["time/total_steps"]))

        yield write


def _versions() -> dict[str, str]:
    return {"metarobot": __version__, **{package: version(package) for package in _PACKAGES}}


def _git_revision() -> str | None:
    """Return the commit of the source tree the package runs from, if it runs from one."""
    package = Path(__file__).resolve().parent
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
        if Path(top) != package.parent:  # installed into an environment inside another repository
            return None
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return result.stdout.strip()


def _cpu_model() -> str:
    for block in _cpuinfo():
        if "model name" in block:
            return block["model name"]
    return platform.processor() or platform.machine()


def _physical_cores() -> int:
    cores = {(block.get("physical id"), block.get("core id")) for block in _cpuinfo()}
    if not cores or (None, None) in cores:  # no Linux on x86: nothing says which threads are twins
        return os.cpu_count() or 1
    return len(cores)


def _cpuinfo() -> list[dict[str, str]]:
    """Return /proc/cpuinfo, one dict a logical processor; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block)}
        for block in blocks
    ]
