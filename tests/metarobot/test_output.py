"""Whatever the streams of a process are connected to: the exit code is the one that is meant."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import metarobot
from metarobot.cli.main import COMMANDS
from metarobot.console import unfailing_streams

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors and shells of POSIX")

PACKAGE = Path(metarobot.__file__).parent
SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
TRAIN = ["train", "grip", "--algorithms", "maml", "domain_randomisation", "oracle", *SIZES]
TRAIN += ["--total-steps", "64", "--overwrite", "--out", "run"]
EVALUATE = ["evaluate", "run", "--out", "result", "--num-tasks", "2", "--test-episodes", "1"]
EVALUATE += ["--num-blocks", "0", "--adaptation-episodes", "3", "--splits", "train"]
EVALUATE += ["--no-heat-map", "--no-robustness", "--films", "0"]

QUICK = [
    (["--help"], 0),
    (["train", "grip", "--help"], 0),
    (["list"], 0),
    (["trian"], 2),
    (["evaluate", "α−\udcff", "--out", "result"], 2),
    (["--version"], 0),
]
"""Commands, each with the exit code that is meant."""
ALL_HELP = [([name, "--help"], 0) for name in COMMANDS]
WORK = [(TRAIN, 0), (EVALUATE, 0)]

RUN_ALL = """
import json, sys
from metarobot.cli.main import main
*others, last = json.loads(sys.argv[1])
codes = [main(arguments) for arguments in others]
with open("codes.json", "w") as file:
    json.dump(codes, file)
sys.exit(main(last))
"""

ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "1"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252, strict": {"PYTHONIOENCODING": "cp1252:strict"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
REDIRECTIONS = {
    "stdin closed": "<&-",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "stdout full": ">/dev/full",
    "both full": ">/dev/full 2>&1",
    "stderr full": "2>/dev/full",
    "one line read": "| head -n 1",
    "nothing read": "| true",
}


def run(commands, folder: Path, redirection: str = "", env=None) -> tuple[list[int], str, str]:
    """Run commands in one process; return their exit codes and what came to both streams."""
    arguments = json.dumps([arguments for arguments, _ in commands])
    process = [sys.executable, "-c", RUN_ALL, arguments]
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "", *process],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **(env or {})},
        capture_output=True,
        timeout=300,
        check=False,
    )
    codes = json.loads((folder / "codes.json").read_text())
    return [*codes, done.returncode], done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def meant(commands, redirection: str = "") -> list[int]:
    """Return the exit codes that are meant: output that a device refuses is an error."""
    return [2 if ">/dev/full" in f" {redirection}".replace("2>", "") else c for _, c in commands]


def check(commands, folder: Path, redirection: str = "", env=None) -> str:
    codes, out, err = run(commands, folder, redirection, env)
    assert dict(zip(map(str, commands), codes, strict=True)) == dict(
        zip(map(str, commands), meant(commands, redirection), strict=True)
    ), err
    assert "Traceback" not in out + err
    assert all(line.startswith("metarobot: ") for line in err.splitlines()), err
    return out


@pytest.mark.parametrize("env", ENCODINGS.values(), ids=ENCODINGS)
def test_no_encoding_ends_a_command(env, tmp_path):
    out = check([*ALL_HELP, *QUICK], tmp_path, env=env)
    assert "Meta-learn robot policies" in out
    if "ascii" in env.values() or "LC_ALL" in env:
        assert out.isascii()
        assert "\\u03b1, step size of an adaptation step" in out


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
def test_no_stream_ends_a_command(redirection, tmp_path):
    check(QUICK, tmp_path, redirection)


def test_work_is_finished_whatever_becomes_of_its_output(tmp_path):
    check(WORK, tmp_path, ">/dev/full")
    assert (tmp_path / "result/report.html").is_file()


def test_a_full_device_is_named(tmp_path):
    _, _, err = run([(["--version"], 2)], tmp_path, ">/dev/full")
    why = "standard output could not be written: No space left on device"
    assert err == f"metarobot: error: {why}\n"


def test_a_terminal_without_unicode_gets_tables_and_progress(tmp_path):
    import pty

    master, slave = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONIOENCODING": "ascii"}
    env |= {"TERM": "xterm", "COLUMNS": "130"}
    commands = json.dumps([TRAIN, EVALUATE, ["doctor"], ["list"]])
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_ALL, commands],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env,
        cwd=tmp_path,
    )
    os.close(slave)
    out = bytearray()
    while True:
        try:
            out += os.read(master, 65536)
        except OSError:  # the process has ended
            break
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert json.loads((tmp_path / "codes.json").read_text()) == [0, 0, 0]
    assert out.isascii()


def test_streams_come_back(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with unfailing_streams() as problem:
        print("−1", end="")
        assert problem() is None
    assert sys.stdout is stream
    assert stream.getvalue() == "−1"
