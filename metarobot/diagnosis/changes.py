"""Recognition of changes on a robot: compares its first trial episode with simulated robots.

A change is a part of a variant's document (docs/variants.md): a task parameter far beyond the
training range, or a disturbance of commands, sensors or the arm.  `what_changed` simulates robots
with every change, with the same policy.  A linear model, fitted to unchanged robots, predicts the
motion of every step.  An episode is described by the residuals of this model, and linear
discriminants compare the descriptions.  No network is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.covariance import ShrunkCovariance
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.envs import Tasks, Variant, file_name, find_family, make_env
from metarobot.envs.checks import show
from metarobot.envs.tasks import Split
from metarobot.machine import own_settings
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator

FALSE_ALARM_RATE = 0.05
"""Share of unchanged robots that may be called changed."""
UNKNOWN_RATE = 0.02
"""Share of robots with a known change that may be called unknown."""
LEAST_STEPS = 5
"""Control steps that can be compared: a command that acts three steps late shows in them."""

_ROBOTS = 60
"""Simulated robots with each change."""
_MODEL_ROBOTS, _LIMIT_ROBOTS = 60, 200
"""Further unchanged robots: for the linear model, and for the rate of false alarms."""
_FIRST_SEED = 2000
"""Added to the seed of the simulated robots."""
_FOLDS = 5
_LAGS = 3
"""Control steps before a step that are read together with it."""
_RIDGE, _SHRINKAGE = 10.0, 0.1

UNCHANGED = "unchanged"

Levels = tuple[Mapping[str, Any], ...]
"""Severities of a change, as documents of variants without the family; robots take turns."""
Changes = Mapping[str, Levels]
"""Severities of each change, by its name of letters and ``_``; the first is ``unchanged``."""


def _ranging(name: str, low: float, high: float) -> Levels:
    return ({"ranges": {name: {"train": [low, high]}}},)


def _disturbed(name: str, *values: Any) -> Levels:
    return tuple({"disturbances": {name: value}} for value in values)


def _pushed(*forces_n: float, **when: Any) -> Levels:
    return _disturbed("push", *({"force_n": force, **when} for force in forces_n))


def _noisy(unit: str, *deviations: float) -> Levels:
    return _disturbed("sensor_noise", *({unit: deviation} for deviation in deviations))


def _changing(at_steps: tuple[int, ...], **how: Any) -> Levels:
    return tuple({"change": {"at_step": step, **how}} for step in at_steps)


_LATE = _disturbed("action_delay_steps", 1, 2, 3)
_LOST = _disturbed("observation_dropout", 0.2, 0.35, 0.5)

CHANGES: dict[str, Changes] = {
    "metarobot/Reach-v0": {
        UNCHANGED: ({},),
        "heavier_payload": _ranging("payload_kg", 2.5, 4.5),
        "dry_joints": _ranging("joint_friction_nm", 2.0, 4.0),
        "weak_drive": _ranging("drive_strength", 0.3, 0.55),
        "late_commands": _LATE,
        "noisy_observations": _noisy("m", 0.01, 0.02),
        "bumps": _pushed(30.0, 60.0, duration_s=0.12, probability=0.06),
        "load_picked_up": _changing((10, 20), values={"payload_kg": 4.0}),
        "thick_grease": _ranging("joint_damping_ratio", 2.5, 5.0),
        "fading_drive": _changing((10, 20), factors={"drive_strength": 0.4}),
        # The yaw is multiplied: a frame that was nearly right hardly slips.
        "slipping_frame": (
            *_changing((15,), factors={"frame_yaw_rad": 0.3}),
            *_changing((15,), factors={"frame_yaw_rad": -0.3}),
        ),
        "lost_observations": _LOST,
        "pulling_cable": _pushed(15.0, 30.0, duration_s=1.92, at_steps=[0]),
    },
    "metarobot/Grip-v0": {
        UNCHANGED: ({},),
        "heavier_block": _ranging("block_mass_kg", 1.8, 3.0),
        "greasy_pads": _ranging("pad_friction", 0.06, 0.16),
        "late_commands": _LATE,
        "noisy_opening": _noisy("m", 0.0005, 0.001, 0.002),
        "knocks": _pushed(4.0, 8.0, duration_s=0.12, probability=0.1),
        "oil_arrives": _changing((6, 9), factors={"pad_friction": 0.3}),
        "load_poured_in": _changing((6, 9), values={"block_mass_kg": 2.5}),
        "noisy_speed": _noisy("m/s", 0.01, 0.02, 0.04),
        "lost_observations": _LOST,
        "pulling_cable": _pushed(2.0, 4.0, duration_s=0.96, at_steps=[0]),
    },
}
"""Changes of each family, by its id."""


def changes_of(env_id: str) -> Changes:
    """Return the changes of a family.

    Raises:
        ValueError: No changes are known for it.
    """
    if env_id not in CHANGES:
        families = " and ".join(sorted(map(file_name, CHANGES)))
        raise ValueError(
            f"changes are known for {families} only, got {show(env_id)}: "
            "leave out what_changed (--what-changed)"
        )
    return CHANGES[env_id]


def run_trials(
    policy: AdaptablePolicy,
    changes: Changes,
    num_robots: int,
    *,
    split: Split = "train",
    seed: int = 0,
    rewards_hidden: bool = False,
) -> Episodes:
    """Return the first trial episodes of a policy on R robots, each with every change once.

    Args:
        policy: Policy that explores.
        changes: C changes.
        num_robots: R, tasks of the family.
        split: Split of the robots' task parameters.
        seed: Seed of robots, starts and noise.
        rewards_hidden: Whether the policy explores without rewards.

    Returns:
        Episodes (R C, 1, T), robot by robot.

    Raises:
        ValueError: As `require_recognisable`.
    """
    require_recognisable(policy)
    env_id, explorer = policy.config.env_id, policy.algorithm.exploring_policy
    family = find_family(env_id).distribution
    robots = family.sample(numpy_generator(seed, 0, Phase.EVALUATION_TASKS), num_robots, split)
    blocks, rows = [], []
    for place, (name, levels) in enumerate(changes.items()):
        for level, document in enumerate(levels):
            own = np.arange(level, num_robots, len(levels))
            if not len(own):
                continue
            variant = Variant.from_dict({"family": env_id, **document}, name=name)
            rng = numpy_generator(seed, 1 + place, Phase.EVALUATION_TASKS)
            columns = {name: robots.rows(own)[name] for name in robots.names}
            for parameter in variant.distribution.parameters:
                if parameter != family[parameter.name]:  # the change makes it another one
                    columns[parameter.name] = parameter.sample(rng, len(own), "train")
            num_envs = policy.algorithm.num_simulations(len(own), 1)
            with closing(make_env(env_id, num_envs, num_threads=1, variant=variant)) as env:
                env.set_tasks(Tasks(columns))
                shape = (1, env.horizon, env.start_size, policy.interface.action_size)
                draws = draw_episodes(
                    seed, 1 + place, Phase.ADAPTATION, tasks=own.tolist(), episode_shape=shape
                )
                params = repeat_params(policy.params, len(own))
                shown = {"start": draws.start, "rewards_hidden": rewards_hidden}
                blocks.append(collect(env, explorer, params, noise=draws.noise, **shown))
            rows.append(own * len(changes) + place)
    order = np.argsort(np.concatenate(rows)).tolist()
    names = [field.name for field in fields(Episodes)]
    joined = {name: torch.cat([getattr(block, name) for block in blocks]) for name in names}
    return Episodes(**joined).rows(order)


def require_recognisable(policy: AdaptablePolicy) -> None:
    """Refuse a policy without known changes of its robots.

    Raises:
        ValueError: The family's changes are not known; or the policy does not adapt, has adapted
            before, or was trained on a variant or in a scene of one's own.
    """
    config = policy.config
    changes_of(config.env_id)
    if not policy.algorithm.adapts:
        raise ValueError(f"{config.algorithm} does not adapt, so it runs no trial episodes")
    if policy.adaptation_steps:
        raise ValueError("trial episodes are those of a policy before it adapts: take that one")
    if config.variant is not None or config.scene is not None:
        raise ValueError("changes are known of the families as they are, not of variants or scenes")


class Steps(NamedTuple):
    """First n control steps of R episodes with an observed outcome; zeros where none counts."""

    observation: np.ndarray
    """Before each step, scaled to [-1, 1], (R, n, O)."""
    change: np.ndarray
    """Of the observation, (R, n, O)."""
    action: np.ndarray
    """In half action ranges, clipped, (R, n, A)."""

    @classmethod
    def of(cls, episodes: Episodes, interface: Interface, num_steps: int | None = None) -> Self:
        """Return the steps of first episodes, (R, E, T)."""
        episodes = episodes.first(1).pad(interface.horizon)
        number = num_steps or interface.horizon - 1
        low, high = map(np.array, (interface.observation_low, interface.observation_high))
        seen, following = (
            2 * (each[:, 0, :number].numpy() - low) / (high - low) - 1
            for each in (episodes.observations, episodes.next_observations)
        )
        counts = episodes.mask[:, 0, :number, None].numpy() > 0
        action = episodes.actions[:, 0, :number].numpy().clip(-1.0, 1.0)
        change = np.nan_to_num(following - seen)
        return cls(*(np.where(counts, each, 0.0) for each in (seen, change, action)))


class NominalModel:
    """Predicts the observation change of a step on an unchanged robot, linearly in recent steps.

    Args:
        steps: Steps of unchanged robots.
    """

    def __init__(self, steps: Steps) -> None:
        inputs, change = self._inputs(steps), steps.change.reshape(-1, steps.change.shape[2])
        self._model = make_pipeline(StandardScaler(), Ridge(_RIDGE)).fit(inputs, change)
        self.spread = (change - self._model.predict(inputs)).std(0) + 1e-6
        """Standard deviations of the residuals, in half ranges of the observation, (O,)."""

    def features(self, steps: Steps) -> np.ndarray:
        """Describe episodes by the residuals of their steps, (R, F).

        The features are products of the residuals with commands, observations and residuals of the
        steps before; and means and sizes in both halves of the episode, of residuals and of their
        differences between steps.
        """
        predicted = self._model.predict(self._inputs(steps)).reshape(steps.change.shape)
        left = (steps.change - predicted) / self.spread
        number, count, _ = left.shape
        log = _symlog(left)
        others = [_lagged(steps.action), steps.observation, _lagged(log)]
        products = log.transpose(0, 2, 1) @ np.concatenate(others, axis=2) / count
        parts = [products.reshape(number, -1)]
        for half in np.array_split(left, 2, axis=1):
            parts.append(_symlog(half).mean(1))
            for each in (half, np.diff(half, axis=1)):
                parts.append(np.abs(_symlog(each)).mean(1))
                parts.append(np.log(np.sqrt((each**2).mean(1)) + 0.05))
        return np.concatenate(parts, axis=1)

    @staticmethod
    def _inputs(steps: Steps) -> np.ndarray:
        """Return the inputs of the linear model, (R n, X)."""
        number, count, size = steps.change.shape
        before = _lagged(steps.change)[..., size:]
        time = np.broadcast_to(np.linspace(-1.0, 1.0, count)[:, None], (number, count, 1))
        parts = [steps.observation, before, _lagged(steps.action), time]
        return np.concatenate(parts, axis=2).reshape(number * count, -1)


def _lagged(values: np.ndarray) -> np.ndarray:
    """Return every step (R, n, X) beside those before it, zeros at first: (R, n, (lags + 1) X)."""
    count = values.shape[1]
    padded = np.pad(values, ((0, 0), (_LAGS, 0), (0, 0)))
    steps = [padded[:, _LAGS - lag : _LAGS - lag + count] for lag in range(_LAGS + 1)]
    return np.concatenate(steps, axis=2)


def _symlog(values: np.ndarray) -> np.ndarray:
    """Return the symmetric logarithm sign(x) log(1 + |x|)."""
    return np.sign(values) * np.log1p(np.abs(values))


def scores_of(examples: np.ndarray, label: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of each change, (Q, C), but for a constant: linear discriminants.

    Episodes of a change scatter around its mean, those of all changes alike.

    Args:
        examples: Features (S, F).
        label: Their changes, 0 .. C - 1, (S,).
        queries: Features (Q, F).
    """
    means = np.stack([examples[label == change].mean(0) for change in range(label.max() + 1)])
    away = examples - means[label]
    scale = away.std(0)
    scale[scale < 1e-9] = np.inf  # a constant feature has no effect
    within = ShrunkCovariance(assume_centered=True, shrinkage=_SHRINKAGE).fit(away / scale)
    return -0.5 * np.stack([within.mahalanobis((queries - mean) / scale) for mean in means], axis=1)


class WhatChanged(NamedTuple):
    """Comparison of a robot's first trial episode with simulated robots."""

    changes: tuple[str, ...]
    """Names of C changes; the first is ``unchanged``."""
    probabilities: np.ndarray
    """Probability of each, (C,), given that it is one of them, and all are equally likely."""
    is_changed: bool
    """Whether it looks less like an unchanged robot than 95 % of unchanged ones."""
    is_known: bool
    """Whether it lies as close to one of the changes as 98 % of robots with one."""

    @property
    def best(self) -> str:
        """The change that it looks most like."""
        return self.changes[int(self.probabilities.argmax())]

    def sentence(self, most: int = 3) -> str:
        """Return the result in one plain sentence."""
        if not self.is_known:
            return "the first episode looks like none of the changes that are known"
        unchanged = f"one of an unchanged robot ({self.probabilities[0]:.2f})"
        if not self.is_changed and self.best == self.changes[0]:
            return f"the first episode looks most like {unchanged}"
        order = [place for place in self.probabilities.argsort()[::-1] if place > 0]
        named = [
            f"{self.changes[place].replace('_', ' ')} ({self.probabilities[place]:.2f})"
            for place in order[:most]
            if place == order[0] or self.probabilities[place] >= 0.05
        ]
        if not self.is_changed:
            likeliest = f"the likeliest change is {named[0]}"
            return f"the first episode cannot be distinguished from {unchanged}; {likeliest}"
        return f"the first episode looks most like: {', then '.join(named)}"


class Recogniser:
    """Recognises changes by a policy's first trial episodes on robots with and without changes.

    Args:
        policy: Policy that explores.
        changes: Changes to distinguish, with ``unchanged`` first; all of the family if not given.
        num_steps: First control steps of an episode that are compared; all of them if not given.
        num_robots: Simulated robots for each change.
        rewards_hidden: Whether the policy explores without rewards.
        seed: Seed of the simulated robots.

    Raises:
        ValueError: The family's changes are not known, or the policy does not adapt.
    """

    def __init__(
        self,
        policy: AdaptablePolicy,
        *,
        changes: Changes | None = None,
        num_steps: int | None = None,
        num_robots: int = _ROBOTS,
        rewards_hidden: bool = False,
        seed: int = 0,
    ) -> None:
        self._changes = changes or changes_of(policy.config.env_id)
        self._interface, self._num_steps = policy.interface, num_steps

        def simulate(place: int, number: int, changes: Changes) -> Steps:
            options = {"seed": _FIRST_SEED + 2 * seed + place, "rewards_hidden": rewards_hidden}
            return self._steps(run_trials(policy, changes, number, **options))

        unchanged = simulate(1, _MODEL_ROBOTS + _LIMIT_ROBOTS, {UNCHANGED: ({},)})
        self._model = NominalModel(Steps(*(each[:_MODEL_ROBOTS] for each in unchanged)))
        self._examples = self._model.features(simulate(0, num_robots, self._changes))
        self._label = np.tile(np.arange(len(self._changes)), num_robots)
        self._sharpness, self._least_near = self._calibrate()
        _, probabilities = self._compare(Steps(*(each[_MODEL_ROBOTS:] for each in unchanged)))
        likely = probabilities[:, 0]
        self._least_unchanged = np.quantile(likely, FALSE_ALARM_RATE, method="weibull")

    def judge(self, episodes: Episodes) -> list[WhatChanged]:
        """Judge the first trial episodes of N robots, (N, E, T)."""
        scores, probabilities = self._compare(self._steps(episodes))
        is_changed = probabilities[:, 0] < self._least_unchanged
        is_known = scores.max(1) >= self._least_near
        return [
            WhatChanged(tuple(self._changes), own, bool(changed), bool(known))
            for own, changed, known in zip(probabilities, is_changed, is_known, strict=True)
        ]

    def _steps(self, episodes: Episodes) -> Steps:
        return Steps.of(episodes, self._interface, self._num_steps)

    def _compare(self, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
        """Return the score and the probability of each change, (N, C) each."""
        scores = scores_of(self._examples, self._label, self._model.features(steps))
        return scores, softmax(self._sharpness * scores, axis=1)

    def _calibrate(self) -> tuple[float, float]:
        """Fit the sharpness of probabilities and the distance limit on robots that were left out.

        The sharpness has the least Brier score: one robot that is far from its change would
        dominate a likelihood.
        """
        features, label = self._examples, self._label
        fold = np.arange(len(label)) // len(self._changes) % _FOLDS
        scores = np.empty((len(label), len(self._changes)))
        for out in range(_FOLDS):
            kept = fold != out
            scores[~kept] = scores_of(features[kept], label[kept], features[~kept])
        truth = np.eye(len(self._changes))[label]

        def brier_score(log_sharpness: float) -> float:
            return ((softmax(np.exp(log_sharpness) * scores, axis=1) - truth) ** 2).sum(1).mean()

        best: Any = minimize_scalar(brier_score, bounds=np.log([1e-3, 10.0]), method="bounded")
        least = np.quantile(scores.max(1), UNKNOWN_RATE, method="weibull")
        return float(np.exp(best.x)), float(least)


@own_settings()
def what_changed(policy: AdaptablePolicy, episodes: Episodes, *, seed: int = 0) -> WhatChanged:
    """Compare a robot's first trial episode with an unchanged robot and with each change.

    Later episodes are not read: the policy explores otherwise in them than in first ones.

    Example::

        policy = mr.load_policy("reach", "latent")
        print(what_changed(policy, policy.explore(robot, episodes=5)).sentence())

    Args:
        policy: Policy that explored, not adapted before.
        episodes: Its trial episodes on one robot, (1, E, T).  Rewards are not read.  If the first
            ended early, it is compared with the beginning of simulated ones.
        seed: Seed of the simulated robots that it is compared with.

    Raises:
        ValueError: The episodes are of several robots, the first is too short, or the family's
            changes are not known.
    """
    require_recognisable(policy)
    if episodes.num_tasks != 1:
        raise ValueError(f"episodes must be of one robot, got {episodes.num_tasks}")
    hidden = bool(episodes.rewards[episodes.mask > 0].isnan().float().mean() > 0.5)
    known = episodes.first(1).pad(policy.interface.horizon).next_observations
    num_steps = int((~known.isnan().any(-1)).sum())
    if num_steps < LEAST_STEPS:
        raise ValueError(
            f"the first episode shows the outcome of {num_steps} control steps, but changes are "
            f"named from {LEAST_STEPS} or more: run a longer one"
        )
    recogniser = Recogniser(policy, num_steps=num_steps, rewards_hidden=hidden, seed=seed)
    return recogniser.judge(episodes)[0]
