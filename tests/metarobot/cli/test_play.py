"""`metarobot play` as a command: what ends it, and what stops it in one line."""

import os
import queue
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from metarobot.cli.commands.play import opened
from metarobot.cli.main import main

ROOT = Path(__file__).parents[3]
RUN = "slide"  # of the package


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--web", "--algorithm", "rl2"], "holds no rl2, only maml"),
        (["--web", "--port", "70000"], "port must be an integer in [0, 65535], got 70000"),
        (["--web", "--task", "mass=1"], "no task parameter 'mass', allowed: puck_mass_kg"),
        (["--web", "--task", "puck_mass_kg=-1"], "puck_mass_kg = -1 kg is not allowed"),
        (["--web", "--variant", "greasy_pads"], "is one of metarobot/Grip-v0, but"),
        ([], "there is no display for a window: --web shows it in a browser"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, words, capsys, monkeypatch, opengl):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main(["play", RUN, *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_without_opengl_a_line_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert main(["play", RUN, "--web"]) == 2
    assert "MUJOCO_GL=disable turns rendering off: unset it" in capsys.readouterr().err


def test_a_run_without_a_policy(tmp_path, capsys):
    assert main(["play", str(tmp_path / "none"), "--web"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")
def test_the_browser_is_started_without_the_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = queue.SimpleQueue()
    monkeypatch.setattr("webbrowser.open", asked.put)
    address = "http://127.0.0.1:8741/secret/"
    with opened(address):
        uri = asked.get(timeout=10)
        assert "secret" not in uri
        page = Path(uri.removeprefix("file://"))
        assert f"url={address}" in page.read_text()
        assert page.parent.parent == tmp_path
        assert [stat.S_IMODE(each.stat().st_mode) for each in (page, page.parent)] == [0o600, 0o700]
    assert not [*tmp_path.iterdir()]


def test_it_says_where_it_is_and_ends_by_ctrl_c(opengl):
    words = [sys.executable, "-m", "metarobot", "play", RUN, "--web", "--port", "0"]
    with subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr and process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 0
    assert error == ""
    address, tunnel = lines[-3:-1]
    (port,) = re.findall(r"open http://127\.0\.0\.1:(\d+)/[\w-]{24}/", address)
    assert f"ssh -L {port}:127.0.0.1:{port} " in tunnel
