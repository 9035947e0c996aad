"""Help, the version and reading a run wait for no heavy library, nor for what trains."""

import subprocess
import sys

CODE = """
import sys
import metarobot
from metarobot.cli.main import main

HEAVY = ("torch", "mujoco", "scipy", "matplotlib", "metarobot.training.trainer")

def imported():
    return [name for name in HEAVY if name in sys.modules]

for words in (["--help"], ["help"], ["--version"]):
    assert main(words) == 0
    assert imported() == [], words
assert main(["list"]) == 0
assert imported() == ["torch", "mujoco"]
import metarobot.api
assert imported() == ["torch", "mujoco"]
assert main(["train", "--help"]) == 0
assert not {"scipy", "matplotlib"} & {*imported()}
"""


def test_nothing_waits_for_what_it_does_not_need():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
