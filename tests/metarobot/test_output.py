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
SIZES = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]
TRAIN = ["train", "grip", "--algorithms", "oracle", *SIZES, "--total-steps", "1", "--out", "run"]
QUICK = [
    (["train", "grip", "--help-all"], 0),
    (["list"], 0),
    (["trian"], 2),
    (["evaluate", "α−\udcff", "--out", "result"], 2),
    (["--version"], 0),
]
"""Commands, each with the exit code that is meant."""
ALL_HELP = [([name, "--help"], 0) for name in COMMANDS]

RUN_ALL = """
import json, sys
from metarobot.cli.main import main
*others, last = json.loads(sys.argv[1])
codes = [main(arguments) for arguments in others]
with open("codes.json", "w") as file:
    json.dump(codes, file)
sys.exit(main(last))
"""

STREAMS = {
    "C locale": ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "both full": (">/dev/full 2>&1", {}),
}
MORE_STREAMS = {
    "cp1252, strict": ("", {"PYTHONIOENCODING": "cp1252:strict"}),
    "all closed": ("<&- >&- 2>&-", {}),
    "stderr full": ("2>/dev/full", {}),
    "nothing read": ("| true", {}),
}


def run(commands, folder, redirection="", env=None):
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


def streams(cases, marks=()):
    return [pytest.param(*case, id=name, marks=marks) for name, case in cases.items()]


@pytest.mark.parametrize(
    ("redirection", "env"), [*streams(STREAMS), *streams(MORE_STREAMS, pytest.mark.stress)]
)
def test_no_stream_ends_a_command(redirection, env, tmp_path):
    """Output that a device refuses is an error; all that was asked for is done."""
    commands = [*(ALL_HELP if "LC_ALL" in env else ()), (TRAIN, 0), *QUICK]
    codes, out, err = run(commands, tmp_path, redirection, env)
    is_lost = redirection.startswith(">/dev/full")
    assert codes == [2 if is_lost else code for _, code in commands], err
    assert (tmp_path / "run/oracle/done.json").is_file()
    assert "Traceback" not in out + err
    assert all(line.startswith("metarobot: ") for line in err.splitlines()), err
    if "LC_ALL" in env:
        assert out.isascii()
        assert "\\u03b1, step size of an adaptation step" in out


def test_streams_come_back(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with unfailing_streams() as problem:
        print("−1", end="")
        assert problem() is None
    assert sys.stdout is stream
    assert stream.getvalue() == "−1"
