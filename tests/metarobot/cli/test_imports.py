"""Help, lists and refusals wait for no heavy library, nor for what trains."""

import json
import resource
import subprocess
import sys

import pytest

from metarobot.cli.diagnose import COMMANDS as DIAGNOSE_COMMANDS
from metarobot.cli.main import COMMANDS

CODE = """
import json, sys
from metarobot.cli.main import main

HEAVY = ("torch", "mujoco", "scipy", "pandas", "matplotlib", "metarobot.training.trainer")
code = main(json.loads(sys.argv[1]))
print(*(name for name in HEAVY if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
HELP = [
    *([name, "--help"] for name in COMMANDS),
    *(["diagnose", *name.split(), "--help"] for name in DIAGNOSE_COMMANDS),
    *(["train", "grip", *words] for words in (["--help"], ["--help-all"], ["--help", "latent"])),
    *(["compare", "grip", *words] for words in (["--help"], ["--help-all"])),
    ["diagnose", "life", "--help"],
    ["--help"],
    ["--version"],
]
ABOUT_S = 2.0
"""Processor time of help: 0.2 to 0.3 s on the machine that it was measured on."""


def run(words):
    """Return exit code, output, heavy modules and processor time of a command in a new process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", CODE, json.dumps(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.returncode, done.stdout, done.stderr.splitlines(), seconds


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_imports_nothing_heavy(words):
    code, out, errors, seconds = run(words)
    assert (code, errors) == (0, [""])
    assert words == ["--version"] or out.startswith(f"usage: metarobot {' '.join(words[:-1])[:5]}")
    assert seconds < ABOUT_S


@pytest.mark.parametrize("words", [["list"], ["list", "grip"], ["runs", "."]], ids=" ".join)
def test_lists_need_no_torch(words):
    code, _, errors, _ = run(words)
    assert code == (2 if words[0] == "runs" else 0)  # there is no run
    assert "torch" not in errors[-1].split()


def test_a_wrong_option_is_refused_before_torch_is_imported():
    code, _, errors, _ = run(["train", "grip", "--inner-lr", "x"])
    assert (code, errors[0]) == (2, "metarobot: error: --inner-lr takes a number, got 'x'")
    assert errors[1:] == [""]


def test_reading_a_run_needs_nothing_that_trains():
    code = "import sys, metarobot.api; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"scipy", "matplotlib", "pandas", "metarobot.training.trainer"}
    assert not heavy & {*done.stdout.split()}
