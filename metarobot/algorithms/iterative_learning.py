"""Iterative learning control as a reference without training: see `metarobot.policies.corrections`.

It is for families that declare a `RepeatedMotion`.  Its actions are 0 at first.
"""

from typing import NoReturn, Self

import torch
from torch import Tensor, nn

from metarobot.algorithms.base import Algorithm
from metarobot.algorithms.options import ReferenceOptions
from metarobot.config import TrainConfig
from metarobot.envs import RepeatedMotion, find_family
from metarobot.learning.meta_update import MetaBatch
from metarobot.policies import Distribution, GaussianPolicy, Params, PolicyState
from metarobot.policies.corrections import corrected
from metarobot.rollout.episodes import Episodes

_NO_NOISE = -16.0
"""Log standard deviation of actions that are as good as deterministic."""


class CorrectingPolicy(GaussianPolicy):
    """A policy that repeats its leaf `corrections`, (T, A), whatever it observes.

    As it explores, the corrections learn after every episode.
    """

    def __init__(self, config: TrainConfig) -> None:
        """Lay out the corrections.

        Raises:
            ValueError: The family repeats no motion.
        """
        family = find_family(config.env_id)
        if family.repeated_motion is None:
            raise ValueError(
                f"{config.env_id} repeats no motion in view of its errors, so iterative learning "
                "control has nothing to correct: a family that does declares repeated_motion"
            )
        low, high = family.observation_bounds().tolist()
        super().__init__(low, high, len(family.action_elements))
        self.motion: RepeatedMotion = family.repeated_motion
        self.explores = False
        shape = family.default_horizon, self.action_size
        self.corrections = nn.Parameter(torch.empty(shape, device="meta"))

    def initial_params(self, generator: torch.Generator) -> Params:
        """Return corrections of 0, and no action noise."""
        del generator
        params = self._blank_params()
        return {**params, "log_std": torch.full_like(params["log_std"], _NO_NOISE)}

    def log_std_of(self, params: Params) -> Tensor:
        """Return the log standard deviations of every task, (N, A): no noise."""
        return params["log_std"]

    def exploring(self) -> Self:
        """Return the same policy as it explores."""
        return self.altered(explores=True)

    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return CorrectingState(self, params)

    def learn(self, params: Params, observations: Tensor) -> Params:
        """Correct the actions by the errors of an episode (N, T, O)."""
        return {
            **params,
            "corrections": corrected(self.motion, params["corrections"], observations),
        }


class CorrectingState(PolicyState):
    """Repeats the corrections; as the policy explores, learns before each episode but the first."""

    def __init__(self, policy: CorrectingPolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params
        self._seen: list[Tensor] = []  # observations of this episode so far, (N, M, O) each

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin an episode; learn from the one before, in the one simulation of each task."""
        del begins
        if self._seen and self._policy.explores:
            seen = torch.cat(self._seen, dim=1)
            self._params = self._policy.learn(self._params, seen)
        self._seen = []

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        mean = self._params["corrections"][:, len(self._seen), None]
        self._seen.append(observations)
        log_std = self._policy.log_std_of(self._params)
        return Distribution(mean.expand(-1, observations.shape[1], -1), log_std)


class IterativeLearning(Algorithm[CorrectingPolicy]):
    """Adapts a `CorrectingPolicy`; takes the family from a configuration of any algorithm."""

    title = "iterative learning control"
    in_sequence = True
    reads_advantages = False
    needs_rewards = False
    options_class = ReferenceOptions

    @property
    def exploring_policy(self) -> CorrectingPolicy:
        """The policy that learns after every episode."""
        return self.policy.exploring()

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Learn from the episodes (N, E, T), one after the other."""
        del advantages
        for observations in episodes.observations.unbind(1):
            params = self.policy.learn(params, observations)
        return params

    def update(self, params: Params, batch: MetaBatch) -> NoReturn:
        """Refuse to train."""
        raise NotImplementedError(f"{self.title} needs no training")
