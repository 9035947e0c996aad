"""Several processes give the parameters of one, bit for bit, also where one of them dies."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_training import (
    ENVIRONMENT,
    ITERATIONS,
    STEPS_PER_ITERATION,
    curve,
    execute,
    fingerprint,
    torchrun,
    train,
    train_here,
)

pytestmark = pytest.mark.stress

ADAPTING = ["maml", "latent", "rl2"]
"""One of each kind of adaptation: others are shared by threads, in the tests of training."""


def test_two_processes_that_compute_in_chunks_end_where_one_without_does(tmp_path):
    one, two = train_here(tmp_path / "one", 3, ADAPTING), tmp_path / "two"
    script = [str(Path(__file__).with_name("small_chunks.py"))]
    execute([*torchrun(2, program=script), *train(two, 3, ADAPTING)])
    for algorithm in ADAPTING:
        assert fingerprint(two, algorithm) == fingerprint(one, algorithm), algorithm
    assert curve(two) == curve(one)


def children_of(pid):
    """The processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_after_a_process_has_died_the_others_go_on_to_the_same_parameters(undisturbed, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*torchrun(2, "--max-restarts", "1"), *train(run, ITERATIONS)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = run / "maml" / "curve.csv"
    while not log.exists() or log.read_text().count("\n") <= ITERATIONS // 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(children_of(process.pid)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert fingerprint(run) == fingerprint(undisturbed)
    assert curve(run) == curve(undisturbed)


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
    training = train(tmp_path / "run", 1, options=["train", "grip", "--num-tasks", "9"])
    command = [*torchrun(2, program=[str(script)]), *training]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    complaints = [line for line in done.stderr.splitlines() if line.startswith("metarobot:")]
    assert complaints == [
        "metarobot: error: 2 processes cannot share 9 tasks equally, at least two each: "
        "allowed are 1, 3 processes"
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
