"""The chance of starts: a generator for every simulation, as a single environment has one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.utils.seeding import np_random as make_generator


class Starts:
    """Draws the uniforms that place each episode's start.

    Args:
        num_envs: Number of simulations.
        size: Uniforms per start S.
    """

    def __init__(self, num_envs: int, size: int) -> None:
        self._num_envs, self._size = num_envs, size
        self._generators: list[np.random.Generator] = []

    def seed(self, seed: int | Sequence[int | None]) -> None:
        """Seed simulation i with ``seed + i``, or with the i-th seed.

        Raises:
            ValueError: There are more or fewer seeds than simulations.
        """
        if isinstance(seed, int | np.integer):
            seed = [seed + i for i in range(self._num_envs)]
        if len(seed) != self._num_envs:
            raise ValueError(f"got {len(seed)} seeds for {self._num_envs} simulations")
        self._generators = [make_generator(s)[0] for s in seed]

    def draw(self, ids: np.ndarray) -> np.ndarray:
        """Return uniforms in [0, 1) for simulations ``ids``, (len(ids), S)."""
        if not self._generators:
            self._generators = [make_generator()[0] for _ in range(self._num_envs)]
        return np.stack([self._generators[i].random(self._size) for i in ids])
