"""A full disk ends a command in one line: no success without a whole product, none lost."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg
import pytest
from small_training import ENVIRONMENT, METAROBOT, curve, execute, fingerprint, resume, train
from trained import TRAINED

pytestmark = pytest.mark.stress

WITH_SMALL_FILES = """
import resource, sys
from metarobot.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def test_training_that_can_no_longer_write_ends_in_one_line_and_goes_on_later(tmp_path):
    run, iterations = tmp_path / "run", 24
    command = [sys.executable, "-c", WITH_SMALL_FILES, "12000", *train(run, iterations)]
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
TRAIN = ["train", "grip", "--algorithms", *TRAINED, "--total-steps", "64", *SIZES]
MEASURE = ["--num-tasks", "2", "--episodes-per-block", "2", "--test-episodes", "1"]
MEASURE += ["--grid-size", "2", "--num-blocks", "1", "--adaptation-episodes", "2"]
MEASURE += ["--heat-map-episodes", "2"]
COMMANDS = {
    "train": [*TRAIN, "--out", "DISK/new"],
    "overwrite": [*TRAIN, "--seed", "1", "--out", "DISK/run", "--overwrite"],
    "resume": ["train", "--resume", "DISK/run"],
    "evaluate": ["evaluate", "RUN", "--out", "DISK/results", *MEASURE, "--films", "0"],
    "compare": [
        *("compare", "grip", "--algorithms", "domain_randomisation", "--seeds", "0"),
        *("--out", "DISK/comparison", "--total-steps", "6400", "--test-tasks", "2"),
        *("--num-blocks", "0", "--hidden-sizes", "4"),
    ],
    "render": ["render", "RUN", "--out", "DISK/film.mp4", "--adaptation-episodes", "2"],
    "export": ["export", "RUN", "--out", "DISK/model.zip"],
    "record": [
        "diagnose",
        "record",
        "--out",
        "DISK/recordings",
        "--machines",
        "1",
        "--checks",
        "1",
    ],
    "import": ["import", "MODEL", "--env-id", "metarobot/Grip-v0", "--out", "DISK/p.safetensors"],
}
NEEDED = {"train": 200, "overwrite": 200, "resume": 60, "evaluate": 900, "compare": 300}
NEEDED |= {"render": 400, "export": 150, "import": 30, "record": 1200}
"""About what each command writes, KiB; disks of up to this size, and a bit more, are tried."""
NUM_SIZES = 3


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


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    """What a full disk must not take away: a run, an evaluation, a film, a model, a policy."""
    folder = tmp_path_factory.mktemp("products")
    names = {"DISK": folder, "RUN": folder / "run", "MODEL": folder / "model.zip"}
    call([*TRAIN, "--out", "DISK/run"], names)
    for command in ("evaluate", "render", "export", "import"):
        call(COMMANDS[command], names)
    return folder


def used_kib(products: Path, folder: Path) -> int:
    """Return how much of a file system the products take."""
    with small_disk(folder, 2**15) as disk:
        shutil.copytree(products, disk, dirs_exist_ok=True)
        status = os.statvfs(disk)
        return (status.f_blocks - status.f_bfree) * status.f_frsize // 1024


def call(command: list[str], names: Mapping[str, Path], check=True) -> subprocess.CompletedProcess:
    words = []
    for word in command:
        first, _, rest = word.partition("/")
        words.append(str(names[first] / rest) if first in names else word)
    return subprocess.run(
        [*METAROBOT, *words], env=ENVIRONMENT, capture_output=True, text=True, check=check
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_whole(disk: Path, command: str) -> None:
    """What a command that reports success has written can be used."""
    names = {"DISK": disk, "RUN": disk / "run", "MODEL": disk / "model.zip"}
    if command == "render":
        frames, _ = imageio_ffmpeg.count_frames_and_secs(str(disk / "film.mp4"))
        assert frames > 10
    if command == "export":
        other = disk.parent / "again.safetensors"
        call(["import", "MODEL", "--env-id", "metarobot/Grip-v0", "--out", str(other)], names)
    if command == "evaluate":
        text = (disk / "results" / "report.html").read_text(encoding="utf-8")
        assert text.rstrip().endswith("</html>")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_fills_up(products, tmp_path, command):
    there, outcomes = used_kib(products, tmp_path / "disk"), set()
    for index in range(NUM_SIZES):
        # The first disk is full.
        kib = there + int(NEEDED[command] * 1.3 * index / (NUM_SIZES - 1))
        with small_disk(tmp_path / "disk", kib) as disk:
            shutil.copytree(products, disk, dirs_exist_ok=True)
            (disk / "run" / "maml" / "done.json").unlink()  # there is something to resume
            before = content(disk)
            names = {"DISK": disk, "RUN": products / "run", "MODEL": products / "model.zip"}
            done = call(COMMANDS[command], names, check=False)
            after = content(disk)
            outcomes.add(done.returncode)
            if done.returncode == 0:
                assert_whole(disk, command)
                continue
            assert done.returncode == 2, done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert str(disk) in done.stderr
            if command not in ("overwrite", "resume"):
                assert before.items() <= after.items()
            assert not [name for name in after if name.endswith(".partial")]
    assert 0 in outcomes
    # A small policy takes a page, and a run that goes on what it took before.
    assert 2 in outcomes or command in ("import", "resume")
