"""The chance of starts: a generator for every simulation, as a single environment has one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random as make_generator

from metarobot.envs.checked_numbers import is_integer, show


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
            ValueError: It is none, or there are more or fewer seeds than simulations.
        """
        given: Any = seed
        if _is_seed(given):
            given = [int(given) + i for i in range(self._num_envs)]
        seeds = [*given] if isinstance(given, Iterable) else [given]
        for each in seeds:
            if not (each is None or _is_seed(each)):
                raise ValueError(
                    "seed must be an integer of 0 or more, or a list with one for each of the "
                    f"{self._num_envs} simulations, got {show(each)}"
                )
        if len(seeds) != self._num_envs:
            raise ValueError(f"got {len(seeds)} seeds for {self._num_envs} simulations")
        self._generators = [make_generator(None if s is None else int(s))[0] for s in seeds]

    def draw(self, ids: np.ndarray) -> np.ndarray:
        """Return uniforms in [0, 1) for simulations ``ids``, (len(ids), S)."""
        if not self._generators:
            self._generators = [make_generator()[0] for _ in range(self._num_envs)]
        return np.stack([self._generators[i].random(self._size) for i in ids])


def _is_seed(value: Any) -> bool:
    return is_integer(value, 0, math.inf)
