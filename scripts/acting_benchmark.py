"""How long a policy takes to act on one observation, on one thread: every kind of policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from metarobot.adaptation.interface import Interface
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import train_config
from metarobot.rollout.seeding import Phase, torch_generator

KINDS = {
    "perceptron": "maml",
    "prototypes": "prototype",
    "recurrent": "rl2",
    "student": "teacher_student",
    "latent": "latent",
}
"""An algorithm for every kind of policy."""
MOST_MEDIAN_US = {**dict.fromkeys(KINDS, 150.0), "latent": 300.0}
MOST_P99_US = 1000.0
"""Bars, in microseconds.  `latent` weighs a thousand tasks in every step, in double precision."""
_INTERFACE = Interface((-1.0,) * 20, (1.0,) * 20, action_size=3, horizon=40)
_WARM_UP = 100


def measure_acting(repetitions: int) -> list[dict[str, Any]]:
    """Measure `AdaptablePolicy.act` with 20 observation elements, 3 actions, 64 x 64 units.

    Args:
        repetitions: Calls that count.

    Returns:
        One row for each kind: wall-clock and processor time of a call in microseconds, median and
        99th percentile, and the largest difference to the policy in PyTorch, in half action ranges.
    """
    torch.set_num_threads(1)
    return [_row(kind, algorithm, repetitions) for kind, algorithm in KINDS.items()]


def missed_acting_bars(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for every kind that takes longer than its bars."""
    return [
        f"{row['policy']}: {row['median_us']:.0f} us at the median, {row['p99_us']:.0f} us at the "
        f"99th percentile, wanted <= {MOST_MEDIAN_US[row['policy']]:.0f} and {MOST_P99_US:.0f}"
        for row in rows
        if row["median_us"] > MOST_MEDIAN_US[row["policy"]] or row["p99_us"] > MOST_P99_US
    ]


def _row(kind: str, algorithm: str, repetitions: int) -> dict[str, Any]:
    config = train_config(algorithm)
    module = AdaptablePolicy(config, {}, _INTERFACE).policy
    params = module.initial_params(torch_generator(0, 0, Phase.INITIALISATION))
    policy = AdaptablePolicy(config, params, _INTERFACE)
    rng = np.random.default_rng(0)
    seen = 0.01 * rng.uniform(-1, 1, (repetitions + _WARM_UP, 20)).cumsum(0) / 10
    difference = _difference(policy, seen)
    wall, processor = (_times(policy, seen, clock) for clock in (time.perf_counter, _thread_time))
    return {
        "policy": kind,
        "median_us": float(np.median(wall)),
        "p99_us": float(np.percentile(wall, 99)),
        "processor_median_us": float(np.median(processor)),
        "processor_p99_us": float(np.percentile(processor, 99)),
        "difference": difference,
        "repetitions": repetitions,
    }


def _thread_time() -> float:
    return time.thread_time()


def _times(policy: AdaptablePolicy, seen: np.ndarray, clock: Callable[[], float]) -> np.ndarray:
    """Return microseconds by a clock of every call but the first."""
    times = []
    for observation in seen:
        started = clock()
        policy.act(observation, reward=0.0)
        times.append(clock() - started)
    return 1e6 * np.array(times[_WARM_UP:])


@torch.no_grad()
def _difference(policy: AdaptablePolicy, seen: np.ndarray) -> float:
    """Return how far `act` is from the policy in PyTorch, through an episode."""
    actor, largest = policy.policy.actor(policy.task_params), 0.0
    actor.begin()
    policy.begin()
    for observation in seen[: _INTERFACE.horizon]:
        mean = actor.act(torch.tensor(observation, dtype=torch.float32).view(1, 1, -1)).mean
        actor.learn(mean, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
        action = policy.act(observation, reward=0.0)
        largest = max(largest, float(np.abs(mean[0, 0].numpy() - action).max()))
    return largest
