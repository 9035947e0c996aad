"""A full disk ends a command in one line: no success without a whole product, none lost."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_training import (
    ENVIRONMENT,
    ITERATIONS,
    METAROBOT,
    curve,
    execute,
    fingerprint,
    resume,
    train,
)

pytestmark = pytest.mark.stress

WITH_SMALL_FILES = """
import resource, sys
from metarobot.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def test_training_that_can_no_longer_write_ends_in_one_line_and_goes_on_later(
    undisturbed, tmp_path
):
    run = tmp_path / "run"
    command = [sys.executable, "-c", WITH_SMALL_FILES, "15000", *train(run, ITERATIONS)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"metarobot: error: {run / 'maml'}: File too large\n"
    names = [path.name for path in (run / "maml" / "checkpoints").iterdir()]
    assert "best.safetensors" in names
    assert all(name.endswith(".safetensors") for name in names)  # and nothing half written

    execute([*METAROBOT, *resume(run)])
    assert fingerprint(run) == fingerprint(undisturbed)
    assert curve(run) == curve(undisturbed)


# A small file system, of every command.

SIZES = ["--num-tasks", "2", "--episodes-per-task", "3", "--hidden-sizes", "4"]
MEASURE = ["--num-tasks", "2", "--test-episodes", "1", "--num-blocks", "0", "--films", "0"]
MEASURE += ["--grid-size", "2", "--adaptation-episodes", "2", "--heat-map-episodes", "2"]
COMMANDS = {
    "train": ["train", "grip", "--total-steps", "64", *SIZES, "--out", "DISK/new"],
    "evaluate": ["evaluate", "RUN", "--out", "DISK/results", *MEASURE],
    "export": ["export", "RUN", "--out", "DISK/model.zip"],
}


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a file system of this size."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def call(command: list[str], names: Mapping[str, Path]) -> subprocess.CompletedProcess:
    words = []
    for word in command:
        first, _, rest = word.partition("/")
        words.append(str(names[first] / rest) if first in names else word)
    return subprocess.run(
        [*METAROBOT, *words], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_fills_up(grip_run, tmp_path, command):
    """What an earlier command has written stays, and nothing else."""
    with small_disk(tmp_path / "disk", 8) as disk:
        (disk / "results").mkdir()
        (disk / "results" / "report.html").write_text("old")
        before = content(disk)
        done = call(COMMANDS[command], {"DISK": disk, "RUN": grip_run})
        after = content(disk)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(tmp_path / "disk") in done.stderr
    assert done.stderr.endswith(": No space left on device\n")
    assert before == after
