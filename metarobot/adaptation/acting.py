"""A policy at work on robots, without action noise, as a function of one control step."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.adaptation.robot import Interface, read_reward
from metarobot.policies import GaussianPolicy, Params, repeat_params


class ControlStep(nn.Module):
    """A control step of M robots, in double precision: what acts here, and what is exported.

    The memory goes in and comes out; every leaf of it is (M, X), and 0 before a robot's first step
    of all, whatever it begins with.  In single precision the sums of `latent` over all steps would
    lose what a step adds, once a robot has acted for a while.

    Args:
        interface: What the policy needs.
        policy: Its functional module.
        params: Its parameters, each leaf in its own shape.
    """

    def __init__(self, interface: Interface, policy: GaussianPolicy, params: Params) -> None:
        super().__init__()
        self._low = torch.tensor(interface.observation_low, dtype=torch.float64)
        self._high = torch.tensor(interface.observation_high, dtype=torch.float64)
        own = {name: leaf.detach().double() for name, leaf in params.items()}
        self._state = copy.deepcopy(policy).double().start(repeat_params(own, 1))
        first = {name: leaf[0] for name, leaf in self._state.memory.items()}
        self._first = {name: leaf for name, leaf in first.items() if leaf.any()}
        sizes = {name: leaf.shape[-1] for name, leaf in first.items()}
        self.sizes = {"started": 1, "command": interface.action_size, **sizes} if sizes else {}
        """Elements of each leaf of the memory; none where the policy remembers nothing."""

    def blank(self, num_robots: int) -> dict[str, Tensor]:
        """Return the memory before the first step of all."""
        sizes = self.sizes.items()
        return {n: torch.zeros(num_robots, size, dtype=torch.float64) for n, size in sizes}

    def forward(
        self, observation: Tensor, reward: Tensor, begins: Tensor, memory: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a step.

        Args:
            observation: (M, O).
            reward: Of the step before, (M, 1); NaN where it was not measured.
            begins: 1.0 where an episode begins, (M, 1).
            memory: As `blank`, or from the step before.

        Returns:
            Actions within [-1, 1], (M, A), and the memory after the step.
        """
        state = self._state
        if memory:
            started = memory["started"] > 0.5
            for name in state.memory:
                leaf, first = memory[name], self._first.get(name)
                leaf = leaf if first is None else torch.where(started, leaf, first)
                state.memory[name] = leaf[None]
            state.observe(memory["command"][None], reward[None, :, 0], started[None, :, 0])
            state.begin(((begins > 0.5) | ~started)[None, :, 0])
        seen = observation.clamp(self._low, self._high)
        action = state.act(seen[None]).mean[0].clamp(-1.0, 1.0)
        if not memory:
            return action, {}
        after = {name: leaf[0] for name, leaf in state.memory.items()}
        return action, {"started": torch.ones_like(begins), "command": action, **after}


class Acting:
    """A policy at work on one robot, or on the same M robots.

    Args:
        interface: What the policy needs.
        policy: Its functional module.
        params: Its parameters, each leaf in its own shape.
    """

    def __init__(self, interface: Interface, policy: GaussianPolicy, params: Params) -> None:
        self._interface = interface
        self._step = ControlStep(interface, policy, params)
        self.forget()

    def forget(self) -> None:
        """Act on other robots from now on."""
        self._memory: dict[str, Tensor] = {}
        self._robots: tuple[int, ...] | None = None  # (), or (M,), once it has acted
        self._begins, self._reward = True, np.asarray(np.nan)

    def begin(self, reward: Any = None) -> None:
        """Begin an episode; see `AdaptablePolicy.begin`."""
        if reward is not None:
            self._reward = read_reward(reward, self._robots or ())
        self._begins = True

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: Any = None) -> np.ndarray:
        """Return a command; see `AdaptablePolicy.act`."""
        seen, size = np.asarray(observation, np.float64), len(self._interface.observation_low)
        if seen.shape[-1:] != (size,) or not np.isfinite(seen).all():
            self._interface.observe(seen)  # says what is wrong
        robots = seen.shape[:-1]
        if robots == (0,) or len(robots) > 1:
            raise ValueError(
                f"observation must have shape ({size},), or (M, {size}) for M robots, M at least "
                f"1, got {seen.shape}"
            )
        earned = None if reward is None else read_reward(reward, robots)
        if robots != self._robots:
            self._take(robots)
        rows = torch.from_numpy(seen.reshape(-1, size))
        told = np.broadcast_to(self._reward if earned is None else earned, robots)
        action, self._memory = self._step(
            rows,
            torch.from_numpy(told.reshape(-1, 1).copy()),
            torch.full((len(rows), 1), float(self._begins), dtype=torch.float64),
            self._memory,
        )
        self._begins, self._reward = False, np.asarray(np.nan)
        return action.numpy().reshape(*robots, -1).astype(np.float32)

    def _take(self, robots: tuple[int, ...]) -> None:
        """Act on another number of robots, which are others."""
        if self._robots is not None and self._step.sizes:
            if not self._begins:
                size = len(self._interface.observation_low)
                before, now = ((*shape, size) for shape in (self._robots, robots))
                raise ValueError(
                    f"observation must have shape {before}, as in the last step, got {now}: "
                    "call begin before the first step of other robots"
                )
            self.forget()
        self._robots = robots
        self._memory = self._step.blank(robots[0] if robots else 1)
