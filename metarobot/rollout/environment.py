"""What `collect` asks of an environment."""

from typing import Any, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode


class RolloutEnv(Protocol):
    """M simulations, or robots, in which episodes are collected.

    `TaskVectorEnv` is one; `metarobot.adaptation.RobotEnv` makes one of any environment that
    follows Gymnasium's rules.
    """

    num_envs: int
    """M, number of simulations; with N tasks, a multiple of N, those of a task in a row."""

    @property
    def horizon(self) -> int:
        """T, control steps of an episode at most."""
        ...

    @property
    def start_size(self) -> int:
        """S, uniforms in [0, 1) that place the start of an episode; 0 where nobody can place it."""
        ...

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What a step does where an episode has ended; `collect` sets DISABLED while it runs."""
        ...

    @autoreset_mode.setter
    def autoreset_mode(self, mode: AutoresetMode) -> None: ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every simulation, or in some.

        Args:
            seed: Never given by `collect`.
            options: ``start``, uniforms in [0, 1) (R, S), one row for each episode that begins;
                ``reset_mask``, (M,) bool, the R simulations in which one does: all M without it.

        Returns:
            Observations (M, O) float32, and an info that nobody reads.
        """
        ...

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one control step in every simulation whose episode has not ended.

        With the autoreset mode DISABLED, one that has ended is held until it is reset: it is
        neither commanded nor moved, and what is returned for it does not matter.

        Args:
            actions: (M, A) float32, in half action ranges; the environment clips them to [-1, 1].

        Returns:
            Observations (M, O) float32; rewards (M,); whether the episode has terminated, (M,)
            bool, and been truncated, (M,) bool; and an info that holds ``is_success``, whether the
            task is solved now, and ``sim_unstable``, whether the step does not count since the
            simulation failed, both (M,) bool.
        """
        ...
