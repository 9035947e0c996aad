"""A signal at any moment ends a command with one line, and nothing half done stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import metarobot
from metarobot.machine import working_gl_backend

pytestmark = pytest.mark.stress

SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
TRAIN = ["train", "grip", "--algorithms", "maml", *SIZES]
LONG = ["--num-tasks", "40", "--grid-size", "9", "--num-blocks", "9"]


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


def end(process: subprocess.Popen, number: signal.Signals) -> None:
    """Signal a process; it must end with the code of the signal, and say so in one line."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert err == f"metarobot: interrupted by {number.name}\n"
    assert process.returncode == 128 + number


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None


def leftovers(folder: Path) -> list[Path]:
    partial = [path for path in folder.rglob("*") if "partial" in path.name]
    return [*partial, *(folder / "temporary").iterdir()]


def test_a_training_can_be_resumed(tmp_path):
    process = start([*TRAIN, "--total-steps", "100000000", "--out", "run"], tmp_path)
    wait_for((tmp_path / "run/maml/curve.csv").exists, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    way_on = "`metarobot train --resume run` goes on with it"
    assert err == f"metarobot: interrupted by SIGTERM: {way_on}\n"
    assert (tmp_path / "run/maml/policy.safetensors").is_file()


def test_evaluate(grip_run, tmp_path):
    process = start(["evaluate", str(grip_run), "--out", "result", *LONG], tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("  0%")
    end(process, signal.SIGTERM)
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(working_gl_backend() is None, reason="needs OpenGL")
def test_render_while_ffmpeg_is_at_work(grip_run, tmp_path):
    film = ["--out", "films/film.mp4", "--slow-motion", "100"]
    process = start(["render", str(grip_run), *film], tmp_path)
    wait_for(lambda: any(tmp_path.rglob("*.mp4")), process)
    end(process, signal.SIGINT)
    assert leftovers(tmp_path) == []
    assert not any(tmp_path.rglob("*.mp4"))


def test_a_comparison_stops_politely_while_it_trains(tmp_path):
    number = signal.SIGINT
    arguments = ["compare", "grip", "--algorithms", "maml", "--total-steps", "100000000"]
    process = start([*arguments, "--out", "result"], tmp_path)
    training = tmp_path / "result/grip-seed0/maml"
    wait_for((training / "curve.csv").exists, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert err == f"metarobot: interrupted by {number.name}: the same command goes on with it\n"
    assert process.returncode == 128 + number
