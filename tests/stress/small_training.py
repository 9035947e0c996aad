"""A training of seconds, run in processes of its own, to be killed, shared out and compared."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from metarobot.cli.main import main

SIZES = ["--num-tasks", "8", "--episodes-per-task", "3", "--hidden-sizes", "8"]
OPTIONS = ["train", "grip", *SIZES]
STEPS_PER_ITERATION = 2 * 8 * 3 * 16
ITERATIONS = 14
"""Of a run that is killed, or whose disk is full."""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
METAROBOT = [sys.executable, "-m", "metarobot"]


def train(
    run: Path,
    iterations: int,
    algorithms: Sequence[str] = ("maml",),
    options: Sequence[str] = OPTIONS,
) -> list[str]:
    """Arguments that begin a run."""
    steps = str(iterations * STEPS_PER_ITERATION)
    return [*options, "--algorithms", *algorithms, "--total-steps", steps, "--out", str(run)]


def train_here(run: Path, iterations: int, algorithms: Sequence[str] = ("maml",)) -> Path:
    """Train a run in this process, undisturbed, for others to be compared with."""
    assert main(train(run, iterations, algorithms)) == 0
    return run


def resume(run: Path) -> list[str]:
    """Arguments that go on with it."""
    return ["train", "--resume", str(run)]


def torchrun(
    processes: int, *options: str, program: Sequence[str] = ("-m", "metarobot")
) -> list[str]:
    """A command that starts several processes of a program."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", str(processes), *options, *program]


def execute(command: list[str], timeout_s: float = 300.0) -> None:
    """Run a command to its end.

    Raises:
        AssertionError: It failed; the message holds what it said.
    """
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr


def fingerprint(run: Path, algorithm: str = "maml") -> str:
    """Hash of the policy's file, which holds its parameters and the iteration they are from."""
    return hashlib.sha256((run / algorithm / "policy.safetensors").read_bytes()).hexdigest()


def curve(run: Path) -> list[list[str]]:
    """Rows of the learning curve, without the times."""
    lines = (run / "maml" / "curve.csv").read_text().splitlines()
    kept = [i for i, name in enumerate(lines[0].split(",")) if not name.endswith("_s")]
    return [[line.split(",")[i] for i in kept] for line in lines]
