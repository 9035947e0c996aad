"""A training that is killed again and again ends where the undisturbed one ends."""

import random
import signal
import subprocess
import sys
import time

import pytest
from small_training import (
    ENVIRONMENT,
    METAROBOT,
    curve,
    execute,
    fingerprint,
    resume,
    train,
)

pytestmark = pytest.mark.stress

ITERATIONS, KILLS = 20, 2
LONGEST_LIFE_S = 4.5
"""A little longer than it takes to start, and to train half of the run."""
MOST_FILE_OPERATIONS = 25
"""About as many as a whole run takes to write its files."""

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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    execute([*METAROBOT, *train(run, ITERATIONS)])
    return run


def begin_or_go_on(run):
    return resume(run) if run.exists() else train(run, ITERATIONS)


def kill_after(run, seconds):
    """Start or resume the run, and kill it after some time; return whether it was still alive."""
    command = [*METAROBOT, *begin_or_go_on(run)]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert killed or process.returncode == 0, err
    return killed


def kill_in_file_operation(run, number):
    """Start or resume the run, and kill it just before a file operation; return whether it came."""
    command = [sys.executable, "-c", DYING, str(number), *begin_or_go_on(run)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("where", ["at random moments", "within file operations"])
def test_killed_runs_end_where_the_undisturbed_one_ends(undisturbed, tmp_path, where):
    rng = random.Random(0)
    kills = runs = 0
    while kills < KILLS:
        run = tmp_path / f"run{runs}"
        runs += 1
        for _ in range(min(10, KILLS - kills)):
            if where == "at random moments":
                killed = kill_after(run, rng.uniform(0.0, LONGEST_LIFE_S))
            else:
                killed = kill_in_file_operation(run, rng.randint(1, MOST_FILE_OPERATIONS))
            kills += killed
            if not killed:
                break
        execute([*METAROBOT, *begin_or_go_on(run)])
        assert fingerprint(run) == fingerprint(undisturbed)
        assert curve(run) == curve(undisturbed)
