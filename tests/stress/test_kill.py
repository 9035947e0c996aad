"""A training that is killed again and again ends where the undisturbed one ends."""

import random
import signal
import subprocess
import sys
import time

import pytest
from small_training import (
    ENVIRONMENT,
    ITERATIONS,
    METAROBOT,
    curve,
    execute,
    fingerprint,
    resume,
    train,
)

pytestmark = pytest.mark.stress

DYING = """
import os, signal, sys
from metarobot.cli.main import main

countdown = int(sys.argv[1])

def dies_at_zero(operation):
    def call(*arguments, **options):
        global countdown
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*arguments, **options)
    return call

os.fsync, os.replace = dies_at_zero(os.fsync), dies_at_zero(os.replace)
sys.exit(main(sys.argv[2:]))
"""


def begin_or_go_on(run):
    return resume(run) if run.exists() else train(run, ITERATIONS)


def kill_at_iteration(run, iteration):
    """Begin or resume the run, and kill it a moment after an iteration is written."""
    command = [*METAROBOT, *begin_or_go_on(run)]
    log = run / "maml" / "curve.csv"
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while not log.exists() or log.read_text().count("\n") <= iteration:
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(random.uniform(0.0, 0.1))
        process.kill()
    assert process.returncode == -signal.SIGKILL


def kill_in_file_operation(run, number):
    """Begin or resume the run, and kill it just before a file operation."""
    command = [sys.executable, "-c", DYING, str(number), *begin_or_go_on(run)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("kill", "moments"),
    [
        pytest.param(kill_at_iteration, (3, 11), id="before and after a checkpoint"),
        # Of about 19, and of about 10 when the run goes on.
        pytest.param(kill_in_file_operation, (8, 7), id="within file operations"),
    ],
)
def test_killed_runs_end_where_the_undisturbed_one_ends(undisturbed, tmp_path, kill, moments):
    run = tmp_path / "run"
    for moment in moments:
        kill(run, moment)
    execute([*METAROBOT, *resume(run)])
    assert fingerprint(run) == fingerprint(undisturbed)
    assert curve(run) == curve(undisturbed)
