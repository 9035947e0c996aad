"""A full disk ends a command in one line: no success without a whole product, none lost."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_training import ENVIRONMENT, METAROBOT, curve, execute, fingerprint, resume, train

pytestmark = pytest.mark.stress

WITH_SMALL_FILES = """
import resource, sys
from metarobot.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def test_training_that_can_no_longer_write_ends_in_one_line_and_goes_on_later(tmp_path):
    run, iterations = tmp_path / "run", 14
    command = [sys.executable, "-c", WITH_SMALL_FILES, "15000", *train(run, iterations)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"metarobot: error: {run / 'maml'}: File too large\n"
    checkpoints = [path.name for path in (run / "maml" / "checkpoints").iterdir()]
    assert sorted(checkpoints) == ["best.safetensors", "iteration-000010.safetensors"]

    execute([*METAROBOT, *resume(run)])
    execute([*METAROBOT, *train(tmp_path / "undisturbed", iterations)])
    assert fingerprint(run) == fingerprint(tmp_path / "undisturbed")
    assert curve(run) == curve(tmp_path / "undisturbed")


# A small file system, of every command.

SIZES = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]
MEASURE = ["--num-tasks", "2", "--test-episodes", "1", "--num-blocks", "0", "--films", "0"]
MEASURE += ["--grid-size", "2", "--adaptation-episodes", "2", "--heat-map-episodes", "2"]
COMMANDS = {
    "train": ["train", "grip", "--total-steps", "64", *SIZES, "--out", "DISK/new"],
    "evaluate": ["evaluate", "RUN", "--out", "DISK/results", *MEASURE],
    "export": ["export", "RUN", "--out", "DISK/model.zip"],
}
MORE_KIB = 1500
"""More than any command writes."""


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
    """A command on a full disk, beside what an earlier one has written, and on one with room."""
    for more, code in ((0, 2), (MORE_KIB, 0)):
        with small_disk(tmp_path / "disk", 8 + more) as disk:
            (disk / "results").mkdir()
            (disk / "results" / "report.html").write_text("old")
            before = content(disk)
            done = call(COMMANDS[command], {"DISK": disk, "RUN": grip_run})
            after = content(disk)
        assert done.returncode == code, done.stderr
        if code:
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert str(tmp_path / "disk") in done.stderr
            assert before == after
        else:
            assert done.stderr == ""
            assert before != after
