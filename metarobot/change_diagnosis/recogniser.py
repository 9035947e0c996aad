"""`what_changed`: names the change that a robot's trial episodes look most like.

The package simulates the examples itself, with the same policy and as many episodes, on robots of
the training range.  Half of the robots are examples.  The others are kept back: they say how sure
the answer may be, and how far from all examples an episode may lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.change_diagnosis.changes import Change, changes_of
from metarobot.change_diagnosis.encoder import WINDOW
from metarobot.change_diagnosis.learners import make_learner
from metarobot.change_diagnosis.signals import episode_signals, signal_size
from metarobot.change_diagnosis.trials import Trials, require_explorer
from metarobot.default_dtype import float32_by_default
from metarobot.envs import file_name
from metarobot.few_shot import AdaptedModel, Examples, Learner
from metarobot.rollout.episodes import Episodes

LEARNER = "prototypical_network"
"""Who answers: it takes any number of changes."""
TRAINED_FOLDER = Path(__file__).parent / "trained"

FALSE_ALARM_SHARE = 0.05
"""Share of unchanged robots that may be called changed."""
STRANGE_SHARE = 0.02
"""Share of robots with a known change that may be called like none."""
_UNCHANGED_ROBOTS = 60
"""Further unchanged robots, by which false alarms are counted."""
_FIRST_SEED = 2000
"""Added to the seed of the simulated robots: the encoder was trained on none of them."""
_SHARPNESS = np.geomspace(0.05, 20.0, 40)


class WhatChanged(NamedTuple):
    """What a robot's first trial episode looks like."""

    changes: tuple[str, ...]
    """Names of C changes; the first is none."""
    probabilities: np.ndarray
    """Of each, (C,), if one of them it is, and all are equally likely."""
    is_changed: bool
    """Whether it looks less like an unchanged robot than 95 % of these do."""
    is_known: bool
    """Whether it lies as close to one of the changes as 98 % of robots with one."""

    @property
    def best(self) -> str:
        """The change that it looks most like."""
        return self.changes[int(self.probabilities.argmax())]

    def sentence(self, most: int = 3) -> str:
        """Say it in one plain sentence."""
        if not self.is_known:
            return "the first episode looks like none of the changes that are known"
        if not self.is_changed and self.best == self.changes[0]:
            return (
                "the first episode looks most like one of an unchanged robot "
                f"({self.probabilities[0]:.2f})"
            )
        order = [place for place in self.probabilities.argsort()[::-1] if place > 0]
        told = [
            f"{self.changes[place].replace('_', ' ')} ({self.probabilities[place]:.2f})"
            for place in order[:most]
            if place == order[0] or self.probabilities[place] >= 0.05
        ]
        if not self.is_changed:
            return (
                "the first episode cannot be told from one of an unchanged robot "
                f"({self.probabilities[0]:.2f}); the likeliest change is {told[0]}"
            )
        return f"the first episode looks most like: {', then '.join(told)}"


class Recogniser:
    """Knows what a policy's trial episodes look like on robots with and without changes.

    Args:
        policy: Who explores.
        learner: A trained learner of changes; the one that comes with the package if not given.
        changes: What is told apart, with ``unchanged`` first; all of the family if not given.
        num_episodes: E, trial episodes that it will be shown.
        num_steps: First control steps of an episode that are compared; all of them if not given.
        num_robots: Simulated robots for each change.
        rewards_hidden: Whether the policy explores without rewards.
        seed: Of the simulated robots.

    Raises:
        ValueError: The family's changes are not known, or the policy does not adapt.
    """

    def __init__(
        self,
        policy: AdaptablePolicy,
        *,
        learner: Learner[Any] | None = None,
        changes: tuple[Change, ...] | None = None,
        num_episodes: int = 1,
        num_steps: int | None = None,
        num_robots: int = 20,
        rewards_hidden: bool = False,
        seed: int = 0,
    ) -> None:
        self._changes = changes or changes_of(policy.config.env_id)
        self._interface, self._num_steps = policy.interface, num_steps
        kept = {"num_episodes": num_episodes, "rewards_hidden": rewards_hidden}
        trials = Trials(policy, num_robots=num_robots, seed=_FIRST_SEED + seed, **kept).run(
            self._changes
        )
        signals = self._signals(trials).unflatten(0, (num_robots, -1))  # (R, C, E, T, F)
        half = num_robots // 2
        self._model = self._learn(learner or shipped_learner(policy), signals[:half])
        self._sharpness = 1.0
        self._calibrate(signals[half:])
        more = Trials(policy, num_robots=_UNCHANGED_ROBOTS, seed=_FIRST_SEED + 1 + seed, **kept)
        unchanged = self._probabilities(self._signals(more.run(self._changes[:1])))[:, 0]
        self._least_unchanged = float(np.quantile(unchanged, FALSE_ALARM_SHARE))

    def judge(self, episodes: Episodes) -> list[WhatChanged]:
        """Judge the trial episodes of N robots, (N, E, T)."""
        logits = self._logits(self._signals(episodes))
        probabilities = torch.softmax(self._sharpness * logits, dim=1).numpy()
        near = logits.amax(1).numpy() >= self._least_near
        names = tuple(change.name for change in self._changes)
        return [
            WhatChanged(names, own, bool(own[0] < self._least_unchanged), bool(known))
            for own, known in zip(probabilities, near, strict=True)
        ]

    def _signals(self, episodes: Episodes) -> Tensor:
        signals = episode_signals(episodes.pad(self._interface.horizon), self._interface)
        return signals[:, :, : self._num_steps]

    def _learn(self, learner: Learner[Any], signals: Tensor) -> AdaptedModel:
        """Adapt a learner to the examples of one task with C classes, (R, C, E, T, F)."""
        R, C, E = signals.shape[:3]
        label = torch.arange(C)[None, :, None].expand(R, C, E)
        return learner.adapt(Examples(signals.flatten(0, 2)[None], label.reshape(1, -1)))

    def _logits(self, signals: Tensor) -> Tensor:
        """Return the mean logits of each robot's episodes (N, E, T, F), (N, C)."""
        num_robots = len(signals)
        return (
            self._model.predict(signals.flatten(0, 1)[None])[0]
            .unflatten(0, (num_robots, -1))
            .mean(1)
        )

    def _probabilities(self, signals: Tensor) -> np.ndarray:
        return torch.softmax(self._sharpness * self._logits(signals), dim=1).numpy()

    def _calibrate(self, signals: Tensor) -> None:
        """Choose how sharp the probabilities are, and how far is strange, on robots kept back."""
        R, C = signals.shape[:2]
        logits = self._logits(signals.flatten(0, 1))
        label = torch.arange(C).repeat(R)
        losses = [
            float(torch.nn.functional.cross_entropy(float(sharp) * logits, label))
            for sharp in _SHARPNESS
        ]
        self._sharpness = float(_SHARPNESS[int(np.argmin(losses))])
        self._least_near = float(np.quantile(logits.amax(1).numpy(), STRANGE_SHARE))


def require_recognisable(policy: AdaptablePolicy) -> None:
    """Refuse a policy of whose robots nobody can say what has changed.

    Raises:
        ValueError: The family's changes are not known, or as `require_explorer`.
    """
    changes_of(policy.config.env_id)
    require_explorer(policy)


def shipped_learner(policy: AdaptablePolicy) -> Learner[Any]:
    """Return the learner of changes that comes with the package for a policy's family."""
    learner = make_learner(LEARNER, 0, signal_size(policy.interface))
    return learner.load(trained_file(policy.config.env_id))


def trained_file(env_id: str) -> Path:
    """Return where the trained learner of a family lies."""
    return TRAINED_FOLDER / f"{file_name(env_id)}.safetensors"


@float32_by_default()
def what_changed(policy: AdaptablePolicy, episodes: Episodes, *, seed: int = 0) -> WhatChanged:
    """Say what a robot's first trial episode looks like: an unchanged one, or which change.

    Later episodes are not read: in them the policy asks other questions than in those that the
    learner was trained on, and on Grip the answers from three episodes were worse.

    Example::

        policy = mr.load("reach")["latent"]
        print(what_changed(policy, policy.explore(robot, episodes=5)).sentence())

    Args:
        policy: Who explored, not adapted before.
        episodes: Its trial episodes on one robot, (1, E, T).  Rewards are not read.  If the first
            ended early, it is compared with the beginning of simulated ones.
        seed: Of the simulated robots that it is compared with.

    Raises:
        ValueError: The episodes are of several robots, the first is too short, or the family's
            changes are not known.
    """
    require_recognisable(policy)
    if episodes.num_tasks != 1:
        raise ValueError(f"episodes must be of one robot, got {episodes.num_tasks}")
    hidden = bool(episodes.rewards[episodes.mask > 0].isnan().float().mean() > 0.5)
    first = episodes.first(1).pad(policy.interface.horizon)
    recogniser = Recogniser(
        policy, num_steps=_comparable_steps(first), rewards_hidden=hidden, seed=seed
    )
    return recogniser.judge(first)[0]


def _comparable_steps(first: Episodes) -> int:
    """Return how many steps of an episode, (1, 1, T), can be compared with whole ones."""
    if bool(first.mask.all()):
        return first.horizon
    num_steps = int((~first.next_observations.isnan().any(-1)).sum())
    if num_steps < WINDOW:
        raise ValueError(
            f"the first episode shows what came of {num_steps} control steps, but changes are told "
            f"from {WINDOW} or more: run a longer one"
        )
    return num_steps
