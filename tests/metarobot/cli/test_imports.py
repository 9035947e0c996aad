"""What is only asked for help or the version waits for no heavy library."""

import subprocess
import sys

import pytest

CODE = """
import sys
from metarobot.cli.main import main
code = main(sys.argv[1:])
print(*(name for name in ("torch", "mujoco", "scipy", "matplotlib") if name in sys.modules))
sys.exit(code)
"""


def imported(*arguments: str) -> list[str]:
    """Run a command in a process of its own, and return the heavy libraries that it imports."""
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("argument", ["--help", "help", "--version"])
def test_help_and_version_import_nothing_heavy(argument):
    assert imported(argument) == []


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, metarobot; assert not {'torch', 'mujoco', 'scipy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["train", "--help"], ["list"]])
def test_nothing_waits_for_what_draws_or_resamples(arguments):
    assert imported(*arguments) == ["torch", "mujoco"]
