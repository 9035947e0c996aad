"""Several processes give the parameters of one, bit for bit, also where one of them dies."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_training import (
    ENVIRONMENT,
    METAROBOT,
    STEPS_PER_ITERATION,
    curve,
    execute,
    fingerprint,
    torchrun,
    train,
)

pytestmark = pytest.mark.stress


ITERATIONS = 3
ADAPTING = ["maml", "latent", "rl2"]
"""One of each kind of adaptation: others are shared by threads, in the tests of training."""


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A run that one process trained."""
    run = tmp_path_factory.mktemp("one") / "run"
    execute([*METAROBOT, *train(run, ITERATIONS, ADAPTING)])
    return run


def assert_same(run, other, algorithms):
    for algorithm in algorithms:
        assert fingerprint(run, algorithm) == fingerprint(other, algorithm), algorithm


def test_several_processes_end_at_the_same_parameters(one_process, tmp_path):
    execute([*torchrun(4), *train(tmp_path / "run", ITERATIONS, ADAPTING)])
    assert_same(tmp_path / "run", one_process, ADAPTING)
    assert curve(tmp_path / "run") == curve(one_process)


def test_two_processes_that_compute_in_chunks_end_where_one_without_does(one_process, tmp_path):
    script = [str(Path(__file__).with_name("small_chunks.py"))]
    command = torchrun(2, program=script)
    execute([*command, *train(tmp_path / "two", ITERATIONS, ADAPTING)])
    assert_same(tmp_path / "two", one_process, ADAPTING)


def children_of(pid):
    """The processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_after_a_process_has_died_the_others_go_on_to_the_same_parameters(tmp_path):
    iterations, kills, rng = 25, 1, random.Random(0)
    execute([*METAROBOT, *train(tmp_path / "undisturbed", iterations)])
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*torchrun(2, "--max-restarts", str(kills)), *train(run, iterations)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = run / "maml" / "curve.csv"
    for kill in range(kills):
        wanted = rng.randint(10 * kill + 2, 10 * kill + 12)  # meta-iterations until then
        deadline = time.monotonic() + 120
        while not log.exists() or log.read_text().count("\n") <= wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(rng.choice(children_of(process.pid)), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert fingerprint(run) == fingerprint(tmp_path / "undisturbed")
    assert curve(run) == curve(tmp_path / "undisturbed")


FIRST_IS_LATE = """
import os
import sys
import time
from metarobot.cli.main import main
from metarobot.learning.distributed import Workers

share = Workers.share

def share_late(self, num_tasks):
    time.sleep(2 * self.first)
    return share(self, num_tasks)

Workers.share = share_late
sys.exit(main())
"""


def test_a_number_of_processes_that_cannot_share_is_refused_in_one_line(tmp_path):
    script = tmp_path / "first_is_late.py"
    script.write_text(FIRST_IS_LATE)
    command = [*torchrun(3, program=[str(script)]), *train(tmp_path / "run", 1)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    complaints = [line for line in done.stderr.splitlines() if line.startswith("metarobot:")]
    assert complaints == [
        "metarobot: error: 3 processes cannot share 8 tasks equally, at least two each: "
        "allowed are 1, 2, 4 processes"
    ]
    assert not (tmp_path / "run").exists()


def test_sigterm_stops_all_processes_at_the_same_meta_iteration(tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*torchrun(2), *train(run, 100_000)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = run / "maml" / "curve.csv"
    while not log.exists() or log.read_text().count("\n") < 4:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert "interrupted by SIGTERM: `metarobot train --resume" in err
    newest = sorted((run / "maml" / "checkpoints").glob("iteration-*"))[-1]
    rows = curve(run)[1:]
    assert int(rows[-1][0]) == int(newest.stem.partition("-")[2])
    assert int(float(rows[-1][1])) == len(rows) * STEPS_PER_ITERATION
