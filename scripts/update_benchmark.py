"""Memory and time of a meta-update of Reach: two sizes, each measured in a process of its own."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metarobot.algorithms import configure
from metarobot.envs import make_env, silence_mujoco
from metarobot.presets import PRESETS
from metarobot.training.heap import keep_freed_memory
from metarobot.training.memory import num_simulations
from metarobot.training.meta_trainer import MetaTrainer

SMALL, LARGE = (20, 20, 200), (100, 40, 200)
"""Tasks N, episodes E and control steps T of the two sizes."""
MOST_PEAK_GB = 2.0
"""Bar of the larger size: the whole process, in 10^9 bytes."""
MOST_GROWTH = 12.0
"""Bar of the update's time from the smaller size to the larger, which has ten times the data."""


Size = tuple[int, int, int]


def measure_updates(small: Size = SMALL, large: Size = LARGE) -> list[dict[str, Any]]:
    """Measure a meta-iteration of Reach by MAML at two sizes, on one thread.

    Returns:
        One row for each size: seconds of the update, how many times those of the first size that
        is, and the peak of the process in 10^9 bytes.
    """
    rows: list[dict[str, Any]] = []
    for size in (small, large):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(measure_update, *size).result()
        first = rows[0] if rows else row
        rows.append({**row, "growth": row["update_s"] / first["update_s"]})
    return rows


def measure_update(num_tasks: int, num_episodes: int, horizon: int) -> dict[str, Any]:
    """Measure a meta-iteration of one size in this process, after a tiny one to warm up."""
    torch.set_num_threads(1)
    keep_freed_memory()
    silence_mujoco()
    _iterate(2, 2, 4)
    update_s = _iterate(num_tasks, num_episodes, horizon)
    return {
        "num_tasks": num_tasks,
        "num_episodes": num_episodes,
        "horizon": horizon,
        "update_s": update_s,
        "peak_gb": _peak_gb(),
    }


def missed_update_bars(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for every bar that the larger size misses."""
    peak_gb, growth = rows[-1]["peak_gb"], rows[-1]["growth"]
    missed = {
        f"a peak of {peak_gb:.2f} GB, wanted <= {MOST_PEAK_GB:g}": peak_gb > MOST_PEAK_GB,
        f"the update takes {growth:.1f} times as long, wanted <= {MOST_GROWTH:g}": (
            growth > MOST_GROWTH
        ),
    }
    return [line for line, is_missed in missed.items() if is_missed]


def _iterate(num_tasks: int, num_episodes: int, horizon: int) -> float:
    """Take one meta-iteration, and return the seconds of its update."""
    run = replace(
        PRESETS["reach"], num_tasks=num_tasks, episodes_per_task=num_episodes, num_threads=1
    )
    config = configure(run, "maml")
    env = make_env(config.env_id, num_simulations(config), horizon=horizon, num_threads=1)
    with closing(env):
        return MetaTrainer(config, env).step()["time/update_s"]


def _peak_gb() -> float:
    """Return the most memory that this process has held: Linux says so."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kibibytes = next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1]
    return int(kibibytes) * 1024 / 1e9
