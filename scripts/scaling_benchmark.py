"""How much faster a meta-iteration is on several processes, of one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from metarobot.algorithms import configure
from metarobot.envs import find_family
from metarobot.presets import PRESETS
from metarobot.training.curve import load_curve
from metarobot.training.provenance import provenance

Row = dict[str, Any]


def measure_scaling(
    families: Sequence[str], processes: Sequence[int], repetitions: int, *, quick: bool
) -> list[Row]:
    """Train every family for some meta-iterations with several numbers of processes.

    Args:
        families: Presets.
        processes: Numbers of processes, of one thread each.
        repetitions: Meta-iterations that count; one more comes first, to warm up.
        quick: Tiny sizes, whose numbers mean nothing.

    Returns:
        One row per family and number: the median time of a meta-iteration, as the log has it.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for family in families:
            for count in processes:
                run = Path(folder) / f"{family}{count}"
                row = _train_with(family, count, run, repetitions, quick=quick)
                first = next((r for r in rows if r["family"] == family), row)
                rows.append({**row, "speed_up": first["iteration_s"] / row["iteration_s"]})
    return rows


def _train_with(family: str, count: int, run: Path, repetitions: int, *, quick: bool) -> Row:
    """Train one family with a number of processes, of one thread each; return its row."""
    config = configure(PRESETS[family], "maml")
    iterations = 3 if quick else repetitions + 1  # the first one warms up
    horizon = find_family(config.env_id).default_horizon
    size = 4 if quick else config.num_tasks
    episodes = 2 if quick else config.episodes_per_task
    steps = iterations * (config.adaptation_steps + 1) * size * episodes * horizon
    sizes = ["--num-tasks", size, "--episodes-per-task", episodes, "--total-steps", steps]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m"]
    train = ["metarobot", "train", family, "--algorithms", "maml", "--out", run, *sizes]
    arguments = [sys.executable, "-m", *launcher, *train]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([str(a) for a in arguments], env=environment, check=True, capture_output=True)
    curve = load_curve(run, "maml", ("sampling_s", "update_s"))
    seconds = [sum(pair) for pair in zip(*curve.values(), strict=True)]
    return {
        "family": family,
        "processes": count,
        "iteration_s": median(seconds[1:]),
        "repetitions": iterations - 1,
        "cpu": provenance(1)["machine"]["cpu"],
    }
