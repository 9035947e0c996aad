"""Keyed randomness: every draw has an address, and the address is its seed.

A generator is named by (seed, iteration, phase, adaptation step, task index). There is no global
stream, so a run resumes exactly, and results do not depend on the assignment of tasks to processes.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch


class Phase(IntEnum):
    """Purpose of a draw. The numbers are part of every seed: never renumber them."""

    INITIALISATION = 0
    TASKS = 1
    PRE_UPDATE = 2
    POST_UPDATE = 3
    EVALUATION_TASKS = 4
    EVALUATION = 5
    RENDERING = 6
    ADAPTATION = 7
    CANDIDATES = 8
    NUM_EPISODES = 9
    FINISH = 10
    CALIBRATION = 11
    COMPARISON = 12


class EpisodeDraws(NamedTuple):
    """All random numbers of a block of episodes."""

    start: np.ndarray
    """Uniforms in [0, 1) that place each episode's start, (N, E, S) float32."""
    noise: np.ndarray
    """Standard normals of the action noise, (N, E, T, A) float32."""


def numpy_generator(
    seed: int, iteration: int, phase: Phase, *, adaptation_step: int = 0, task: int = 0
) -> np.random.Generator:
    """Return the generator at one address; the same address gives the same draws, anywhere."""
    key = (iteration, int(phase), adaptation_step, task)
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=key)
    return np.random.Generator(np.random.Philox(sequence))


def torch_generator(seed: int, iteration: int, phase: Phase) -> torch.Generator:
    """Return a torch generator seeded from one address."""
    state = numpy_generator(seed, iteration, phase).integers(2**63 - 1)
    return torch.Generator().manual_seed(int(state))


def draw_episodes(
    seed: int,
    iteration: int,
    phase: Phase,
    *,
    tasks: Iterable[int],
    episode_shape: tuple[int, int, int, int],
    adaptation_step: int = 0,
) -> EpisodeDraws:
    """Draw starts (N, E, S) and action noise (N, E, T, A), each task from its own generator.

    Args:
        seed: Seed of the run.
        iteration: Meta-iteration.
        phase: Purpose of the episodes.
        tasks: Indices of the N tasks within the meta-batch.
        episode_shape: (E, T, S, A): episodes, steps, start uniforms and action elements.
        adaptation_step: Number of adaptation steps taken before these episodes.
    """
    num_episodes, horizon, start_size, action_size = episode_shape
    starts, noises = [], []
    for task in tasks:
        generator = numpy_generator(
            seed, iteration, phase, adaptation_step=adaptation_step, task=task
        )
        starts.append(generator.random((num_episodes, start_size), dtype=np.float32))
        noise_shape = (num_episodes, horizon, action_size)
        noises.append(generator.standard_normal(noise_shape, dtype=np.float32))
    return EpisodeDraws(start=np.stack(starts), noise=np.stack(noises))
