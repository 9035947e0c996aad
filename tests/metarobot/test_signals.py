"""A signal at any moment ends a command with one line, and nothing half done stays behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trained import TRAINED

import metarobot
from metarobot.cli.main import main
from metarobot.machine import working_gl_backend

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
TRAIN = ["train", "grip", "--algorithms", *TRAINED, "--total-steps", "64", *SIZES]
LONG = ["--num-tasks", "40", "--grid-size", "9", "--num-blocks", "9"]
SIGNALS = {
    "SIGINT": [signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
    "twice": [signal.SIGTERM, signal.SIGTERM, signal.SIGINT],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("signals") / "run"
    assert main([*TRAIN, "--out", str(path)]) == 0
    return path


def start(arguments: list[str], folder: Path) -> subprocess.Popen:
    return start_python(["-m", "metarobot", *arguments], folder)


def start_python(arguments: list[str], folder: Path) -> subprocess.Popen:
    (folder / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "TMPDIR": str(folder / "temporary"),
            "PYTHONPATH": str(Path(metarobot.__file__).parents[1]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets its background jobs ignore Ctrl-C, and so may we have been started.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def end(process: subprocess.Popen, numbers: list[signal.Signals]) -> None:
    """Signal a process; it must end with the code of the first signal, and say so in one line."""
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert err == f"metarobot: interrupted by {numbers[0].name}\n"
    assert process.returncode == 128 + numbers[0]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None


def leftovers(folder: Path) -> list[Path]:
    partial = [path for path in folder.rglob("*") if "partial" in path.name]
    return [*partial, *(folder / "temporary").iterdir()]


@pytest.mark.parametrize("numbers", SIGNALS.values(), ids=SIGNALS)
def test_evaluate(numbers, trained, tmp_path):
    process = start(["evaluate", str(trained), "--out", "result", *LONG], tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("  0%")
    end(process, numbers)
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(working_gl_backend() is None, reason="needs OpenGL")
@pytest.mark.parametrize(
    ("numbers", "delay_s"),
    [(SIGNALS["SIGINT"], 0.0), (SIGNALS["twice"], 0.2)],
    ids=["SIGINT", "twice, later"],
)
def test_render_while_ffmpeg_is_at_work(numbers, delay_s, trained, tmp_path):
    film = ["--out", "films/film.mp4", "--slow-motion", "100"]
    process = start(["render", str(trained), *film], tmp_path)
    wait_for(lambda: any(tmp_path.rglob("*.mp4")), process)
    time.sleep(delay_s)
    end(process, numbers)
    assert leftovers(tmp_path) == []
    assert not any(tmp_path.rglob("*.mp4"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_comparison_stops_politely_while_it_trains(number, tmp_path):
    arguments = ["compare", "grip", "--algorithms", "maml", "--total-steps", "100000000"]
    process = start([*arguments, "--out", "result"], tmp_path)
    training = tmp_path / "result/trainings/grip-seed0-maml/maml"
    wait_for((training / "curve.csv").exists, process)
    process.send_signal(number)
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert err == f"metarobot: interrupted by {number.name}: the same command goes on with it\n"
    assert (training / "policy.safetensors").exists()  # a checkpoint was written on the way out
    assert process.returncode == 128 + number


@pytest.mark.parametrize("seed", range(4))
def test_any_moment(seed, trained, tmp_path):
    """From the first line of our own code on, whatever is being imported, drawn or written."""
    rng = random.Random(seed)
    sizes = ["--num-tasks", "2", "--grid-size", "2", "--test-episodes", "1", "--films", "0"]
    process = start(["evaluate", str(trained), "--out", "result", *sizes], tmp_path)
    status = Path(f"/proc/{process.pid}/status")

    def catches() -> bool:
        caught = [row for row in status.read_text().splitlines() if row.startswith("SigCgt")]
        return bool(int(caught[0].split()[1], 16) & 1 << (signal.SIGTERM - 1))

    if not status.exists():
        pytest.skip("needs /proc")
    wait_for(catches, process)
    time.sleep(rng.uniform(0.0, 4.0))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) in [(143, "metarobot: interrupted by SIGTERM\n"), (0, "")]
    assert leftovers(tmp_path) == []


SLOW_LIBRARY = """
import time
open("importing", "w").close()
time.sleep(60)
"""
SCRIPT = "from metarobot.cli.main import main; main()"


@pytest.mark.parametrize("entry", [["-m", "metarobot"], ["metarobot"], ["-c", SCRIPT]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_package_is_importing(entry, number, tmp_path):
    """A command ends in silence; a program that imports the package handles Ctrl-C by itself."""
    (tmp_path / "gymnasium.py").write_text(SLOW_LIBRARY)
    (tmp_path / "metarobot").write_text(SCRIPT)
    process = start_python([*entry, "list"], tmp_path)
    wait_for((tmp_path / "importing").exists, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -number  # which a shell calls 128 + number
    assert ("KeyboardInterrupt" in err) == (entry[0] == "-c" and number == signal.SIGINT)
    assert not err or entry[0] == "-c"
