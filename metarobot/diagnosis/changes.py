"""What has changed on a robot: its first trial episode is compared with simulated changed robots.

A change is a part of a variant's document (docs/variants.md): a task parameter far beyond the
training range, or a disturbance of commands, sensors or the arm.  `what_changed` simulates robots
with every change, with the same policy.  A linear model, fitted to unchanged robots, predicts the
motion of every step.  An episode is described by what this model leaves, and linear discriminants
compare the descriptions.  All of it is in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.special import log_softmax, softmax

from metarobot.adaptation.interface import Interface
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.default_dtype import float32_by_default
from metarobot.envs import Tasks, Variant, file_name, find_family, make_env
from metarobot.envs.checked_numbers import show
from metarobot.envs.tasks import Split
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.hidden_rewards import RewardBlindPolicy
from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator

FALSE_ALARM_RATE = 0.05
"""Of unchanged robots that may be called changed."""
UNKNOWN_RATE = 0.02
"""Of robots with a known change that may be called like none."""
LEAST_STEPS = 5
"""Control steps that can be compared: a command that acts three steps late shows in them."""

_ROBOTS = 60
"""Simulated robots with each change."""
_MODEL_ROBOTS, _LIMIT_ROBOTS = 60, 100
"""Further unchanged robots: for the linear model, and for the rate of false alarms."""
_FIRST_SEED = 2000
"""Added to the seed of the simulated robots."""
_FOLDS = 5
_SHARPNESS = np.geomspace(0.005, 5.0, 60)
_LAGS = 4
"""Control steps before a step whose commands and residuals are seen together with its residual."""
_STILL = 1e-6
"""Change of an observation, in half ranges, below which it is the same number again."""
_MODEL_RIDGE, _OWN_RIDGE = 0.03, 0.02
_SHRINKAGE = 0.1
_REST = 0.1
"""Share of the variance between changes that is taken to lie in all directions alike."""

UNCHANGED = "unchanged"

Document = Mapping[str, Any]


class Change(NamedTuple):
    """Something that happens to a robot."""

    name: str
    """What it is called: letters and ``_``."""
    levels: tuple[Document, ...]
    """Its severities, as documents of variants without the family; robots take turns."""
    held_out: bool = False
    """Whether it also tests robots with a change that is not in the list (scripts/changes.py)."""

    def variants(self, env_id: str) -> list[Variant | None]:
        """Return a variant of the family for each severity; None is the family as it is."""
        return [
            Variant.from_dict({"family": env_id, **level}, name=self.name) if level else None
            for level in self.levels
        ]


def _disturbed(**disturbances: Any) -> Document:
    return {"disturbances": disturbances}


def _ranging(name: str, low: float, high: float) -> Document:
    return {"ranges": {name: {"train": [low, high]}}}


def _pushed(force_n: float, duration_s: float, **when: Any) -> Document:
    return _disturbed(push={"force_n": force_n, "duration_s": duration_s, **when})


def _changing(at_step: int, **how: Any) -> Document:
    return {"change": {"at_step": at_step, **how}}


_LATE = Change("late_commands", tuple(_disturbed(action_delay_steps=n) for n in (1, 2, 3)))
_LOST = Change(
    "lost_observations",
    tuple(_disturbed(observation_dropout=share) for share in (0.2, 0.35, 0.5)),
    held_out=True,
)

REACH_CHANGES = (
    Change(UNCHANGED, ({},)),
    Change("heavier_payload", (_ranging("payload_kg", 2.5, 4.5),)),
    Change("dry_joints", (_ranging("joint_friction_nm", 2.0, 4.0),)),
    Change("weak_drive", (_ranging("drive_strength", 0.3, 0.55),)),
    _LATE,
    Change("noisy_observations", tuple(_disturbed(sensor_noise={"m": m}) for m in (0.01, 0.02))),
    Change("bumps", tuple(_pushed(n, 0.12, probability=0.06) for n in (30.0, 60.0))),
    Change("load_picked_up", tuple(_changing(n, values={"payload_kg": 4.0}) for n in (10, 20))),
    Change("thick_grease", (_ranging("joint_damping_ratio", 2.5, 5.0),), held_out=True),
    Change(
        "fading_drive",
        tuple(_changing(n, factors={"drive_strength": 0.4}) for n in (10, 20)),
        held_out=True,
    ),
    # The yaw is multiplied: a frame that was nearly right hardly slips.
    Change(
        "slipping_frame",
        tuple(_changing(15, factors={"frame_yaw_rad": factor}) for factor in (0.3, -0.3)),
        held_out=True,
    ),
    _LOST,
    Change(
        "pulling_cable",
        tuple(_pushed(n, 1.92, at_steps=[0]) for n in (15.0, 30.0)),
        held_out=True,
    ),
)

GRIP_CHANGES = (
    Change(UNCHANGED, ({},)),
    Change("heavier_block", (_ranging("block_mass_kg", 1.8, 3.0),)),
    Change("greasy_pads", (_ranging("pad_friction", 0.06, 0.16),)),
    _LATE,
    Change(
        "noisy_opening", tuple(_disturbed(sensor_noise={"m": m}) for m in (0.0005, 0.001, 0.002))
    ),
    Change("knocks", tuple(_pushed(n, 0.12, probability=0.1) for n in (4.0, 8.0))),
    Change(
        "oil_arrives",
        tuple(_changing(n, factors={"pad_friction": 0.3}) for n in (6, 9)),
        held_out=True,
    ),
    Change(
        "load_poured_in",
        tuple(_changing(n, values={"block_mass_kg": 2.5}) for n in (6, 9)),
        held_out=True,
    ),
    Change(
        "noisy_speed",
        tuple(_disturbed(sensor_noise={"m/s": speed}) for speed in (0.01, 0.02, 0.04)),
        held_out=True,
    ),
    _LOST,
    Change(
        "pulling_cable",
        tuple(_pushed(n, 0.96, at_steps=[0]) for n in (2.0, 4.0)),
        held_out=True,
    ),
)

CHANGES = {"metarobot/Reach-v0": REACH_CHANGES, "metarobot/Grip-v0": GRIP_CHANGES}
"""Changes of each family, by its id; the first is none."""


def changes_of(env_id: str) -> tuple[Change, ...]:
    """Return the changes of a family.

    Raises:
        ValueError: None are known for it.
    """
    if env_id not in CHANGES:
        families = " and ".join(sorted(map(file_name, CHANGES)))
        raise ValueError(
            f"changes are known for {families} only, got {show(env_id)}: "
            "leave out what_changed (--what-changed)"
        )
    return CHANGES[env_id]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """First trial episodes of a policy on R robots: every robot has every change once."""

    policy: AdaptablePolicy
    num_robots: int
    """R, tasks of the family."""
    split: Split = "train"
    """Where the robots' task parameters come from."""
    seed: int = 0
    """Of robots, starts and noise."""
    rewards_hidden: bool = False
    """Whether the policy explores without rewards."""

    def run(self, changes: tuple[Change, ...]) -> Episodes:
        """Return the episodes of R robots with C changes, (R C, 1, T): robot by robot.

        Raises:
            ValueError: As `require_recognisable`.
        """
        require_recognisable(self.policy)
        env_id = self.policy.config.env_id
        rng = numpy_generator(self.seed, 0, Phase.EVALUATION_TASKS)
        robots = find_family(env_id).distribution.sample(rng, self.num_robots, self.split)
        blocks, rows = [], []
        for place, change in enumerate(changes):
            variants = change.variants(env_id)
            for level, variant in enumerate(variants):
                own = np.arange(level, self.num_robots, len(variants))
                if len(own):
                    tasks = self._changed(robots.rows(own), place, variant)
                    blocks.append(self._episodes(tasks, place, variant, own))
                    rows.append(own * len(changes) + place)
        order = np.argsort(np.concatenate(rows)).tolist()
        names = [field.name for field in fields(Episodes)]
        joined = {name: torch.cat([getattr(block, name) for block in blocks]) for name in names}
        return Episodes(**joined).rows(order)

    def _episodes(
        self, tasks: Tasks, place: int, variant: Variant | None, robots: np.ndarray
    ) -> Episodes:
        """Return the episodes of some robots with one severity of a change, as one native batch."""
        policy, count = self.policy, len(robots)
        explorer = policy.algorithm.exploring_policy
        num_envs = policy.algorithm.num_simulations(count, 1)
        env = make_env(policy.config.env_id, num_envs, num_threads=1, variant=variant)
        with closing(env):
            env.set_tasks(tasks)
            draws = draw_episodes(
                self.seed,
                1 + place,
                Phase.ADAPTATION,
                tasks=robots.tolist(),
                episode_shape=(1, env.horizon, env.start_size, policy.interface.action_size),
            )
            return collect(
                env,
                RewardBlindPolicy(explorer) if self.rewards_hidden else explorer,
                repeat_params(policy.params, count),
                noise=draws.noise,
                start=draws.start,
            )

    def _changed(self, robots: Tasks, place: int, variant: Variant | None) -> Tasks:
        """Return robots as they are but for what a change makes of their task parameters."""
        if variant is None:
            return robots
        family = find_family(self.policy.config.env_id).distribution
        rng = numpy_generator(self.seed, 1 + place, Phase.EVALUATION_TASKS)
        columns = {name: robots[name] for name in robots.names}
        for parameter in variant.distribution.parameters:
            if parameter != family[parameter.name]:
                columns[parameter.name] = parameter.sample(rng, len(robots), "train")
        return Tasks(columns)


def require_recognisable(policy: AdaptablePolicy) -> None:
    """Refuse a policy of whose robots nobody can say what has changed.

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
    """The first n control steps of R episodes whose outcome was seen; zeros where none counts."""

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
        low, high = (
            np.array(bounds) for bounds in (interface.observation_low, interface.observation_high)
        )
        seen, following = (
            2 * (each[:, 0, : num_steps or interface.horizon - 1].numpy() - low) / (high - low) - 1
            for each in (episodes.observations, episodes.next_observations)
        )
        number = seen.shape[1]
        counts = episodes.mask[:, 0, :number, None].numpy() > 0
        action = episodes.actions[:, 0, :number].numpy().clip(-1.0, 1.0)
        change = np.nan_to_num(following - seen)
        return cls(*(np.where(counts, each, 0.0) for each in (seen, change, action)))


@dataclass(frozen=True, eq=False)
class NominalModel:
    """Predicts what a step changes on an unchanged robot, linearly in it and the steps before.

    Attributes:
        weights: Of the regressors, (X, O).
        spread: Standard deviations of what is left, (O,).
    """

    weights: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, steps: Steps) -> Self:
        """Fit it by ridge regression, in standard deviations of the regressors."""
        rows, change = (each.reshape(-1, each.shape[2]) for each in (_inputs(steps), steps.change))
        scale = rows.std(0)
        scale[scale < 1e-9] = 1.0
        scaled = rows / scale
        weights = _ridge(scaled, change, _MODEL_RIDGE) / scale[:, None]
        return cls(weights, (change - rows @ weights).std(0) + _STILL)

    def features(self, steps: Steps) -> np.ndarray:
        """Describe episodes by what the model leaves of their steps, (R, F).

        These are its products with commands, observations and itself, over the steps before; its
        sizes in both halves of the episode; and the sizes of what a ridge regression on the
        episode's own commands and observations leaves, as task parameters of the robot do not.
        """
        left = (steps.change - _inputs(steps) @ self.weights) / self.spread
        number, count, _ = left.shape
        log = _symlog(left)
        commands = _lagged(steps.action, _LAGS)
        others = np.concatenate([commands, steps.observation, _lagged(log, _LAGS)], axis=2)
        products = log.transpose(0, 2, 1) @ others / count
        own = np.concatenate([commands[..., : 2 * steps.action.shape[2]], steps.observation], 2)
        own = np.concatenate([own, np.ones((number, count, 1))], axis=2)
        rest = log - own @ _ridge(own, log, _OWN_RIDGE)
        same = (np.abs(steps.change) < _STILL).mean(2, keepdims=True)
        parts = [products.reshape(number, -1)]
        parts += [(rest[:, lag:] * rest[:, :-lag]).sum(1) / count for lag in (1, 2)]
        for half in np.array_split(np.arange(count), 2):
            parts += [same[:, half].mean(1), log[:, half].mean(1)]
            parts += [_log_sizes(each[:, half]) for each in (left, rest)]
        return np.concatenate(parts, axis=1)


def _ridge(rows: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Return weights (..., X, Y) of a ridge regression on rows (..., n, X)."""
    across, size = rows.swapaxes(-1, -2), rows.shape[-1]
    penalties = penalty * rows.shape[-2] * np.eye(size)
    return np.linalg.solve(across @ rows + penalties, across @ targets)


def _inputs(steps: Steps) -> np.ndarray:
    """Return what a step's change is predicted from, (R, n, X)."""
    number, count, size = steps.change.shape
    before = _lagged(steps.change, 3)[..., size:]
    time = np.broadcast_to(np.linspace(-1.0, 1.0, count)[:, None], (number, count, 1))
    parts = [steps.observation, before, _lagged(steps.action, 3), time, np.ones_like(time)]
    return np.concatenate(parts, axis=2)


def _lagged(values: np.ndarray, lags: int) -> np.ndarray:
    """Return every step (R, n, X) beside those before it, zeros at first, (R, n, (lags + 1) X)."""
    count = values.shape[1]
    padded = np.pad(values, ((0, 0), (lags, 0), (0, 0)))
    return np.concatenate([padded[:, lags - k : lags - k + count] for k in range(lags + 1)], axis=2)


def _log_sizes(values: np.ndarray) -> np.ndarray:
    """Return the logarithms of root mean squares and greatest sizes of (R, n, O), (R, 2 O)."""
    sizes = [np.sqrt((values**2).mean(1)), np.abs(values).max(1)]
    return np.log(np.concatenate(sizes, axis=1) + 0.05)


def _symlog(values: np.ndarray) -> np.ndarray:
    """Return the symmetric logarithm sign(x) log(1 + |x|)."""
    return np.sign(values) * np.log1p(np.abs(values))


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Scores changes by examples of each: x = μ_c + e, with e ~ N(0, I) and μ_c ~ N(0, diag(V)).

    The coordinates x are those in which episodes of one change scatter alike, and changes of
    training differ independently.  With n examples of mean m, an episode of a change is drawn from
    N(n V / (n V + 1) m, 1 + V / (n V + 1)).

    Source: Ioffe 2006, doi:10.1007/11744085_41.

    Attributes:
        mean: Of the features, (F,).
        axes: Of the coordinates, (F, F).
        variances: V, (F,).
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, label: np.ndarray) -> Self:
        """Estimate it from features (R, F) of episodes with changes 0 .. C - 1, (R,)."""
        size = features.shape[1]
        scale = features.std(0)
        scale[scale < 1e-9] = np.inf  # a constant feature says nothing
        means = np.array([features[label == change].mean(0) for change in range(label.max() + 1)])
        away = (features - means[label]) / scale
        within = away.T @ away / len(away)
        within = (1 - _SHRINKAGE) * within + _SHRINKAGE * np.trace(within) / size * np.eye(size)
        mean = means.mean(0)
        between = np.cov((means / scale).T)
        variances, axes = eigh(between, within)
        variances = (1 - _REST) * variances.clip(0.0) + _REST * variances.mean()
        return cls(mean, axes / scale[:, None], variances)

    def scores(self, examples: np.ndarray, label: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each change 0 .. C - 1, (Q, C), but for a constant.

        Args:
            examples: Features (S, F).
            label: Their changes, (S,).
            queries: Features (Q, F).
        """
        own, seen = ((each - self.mean) @ self.axes for each in (examples, queries))
        columns = []
        for change in range(label.max() + 1):
            shown = own[label == change]
            weight = self.variances / (len(shown) * self.variances + 1)
            away = seen - len(shown) * weight * shown.mean(0)
            columns.append(-0.5 * (away**2 / (1 + weight) + np.log1p(weight)).sum(1))
        return np.stack(columns, axis=1)


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
        named = [
            f"{self.changes[place].replace('_', ' ')} ({self.probabilities[place]:.2f})"
            for place in order[:most]
            if place == order[0] or self.probabilities[place] >= 0.05
        ]
        if not self.is_changed:
            return (
                "the first episode cannot be told from one of an unchanged robot "
                f"({self.probabilities[0]:.2f}); the likeliest change is {named[0]}"
            )
        return f"the first episode looks most like: {', then '.join(named)}"


class Recogniser:
    """Knows what a policy's first trial episodes look like on robots with and without changes.

    Args:
        policy: Who explores.
        changes: What is distinguished, with ``unchanged`` first; all of the family if not given.
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
        changes: tuple[Change, ...] | None = None,
        num_steps: int | None = None,
        num_robots: int = _ROBOTS,
        rewards_hidden: bool = False,
        seed: int = 0,
    ) -> None:
        self._changes = changes or changes_of(policy.config.env_id)
        self._interface, self._num_steps = policy.interface, num_steps

        def simulate(place: int, number: int, changes: tuple[Change, ...]) -> Steps:
            trials = Trials(
                policy=policy,
                num_robots=number,
                seed=_FIRST_SEED + 2 * seed + place,
                rewards_hidden=rewards_hidden,
            )
            return self._steps(trials.run(changes))

        unchanged = simulate(1, _MODEL_ROBOTS + _LIMIT_ROBOTS, self._changes[:1])
        self._model = NominalModel.fit(Steps(*(each[:_MODEL_ROBOTS] for each in unchanged)))
        self._examples = self._model.features(simulate(0, num_robots, self._changes))
        self._label = np.tile(np.arange(len(self._changes)), num_robots)
        self._discriminant = Discriminant.fit(self._examples, self._label)
        self._sharpness, self._least_near = self._calibrate()
        others = self._model.features(Steps(*(each[_MODEL_ROBOTS:] for each in unchanged)))
        likely = self._probabilities(self._scores(others))[:, 0]
        self._least_unchanged = float(np.quantile(likely, FALSE_ALARM_RATE, method="weibull"))

    def judge(self, episodes: Episodes) -> list[WhatChanged]:
        """Judge the first trial episodes of N robots, (N, E, T)."""
        scores = self._scores(self._model.features(self._steps(episodes)))
        near = scores.max(1) >= self._least_near
        names = tuple(change.name for change in self._changes)
        return [
            WhatChanged(names, own, bool(own[0] < self._least_unchanged), bool(known))
            for own, known in zip(self._probabilities(scores), near, strict=True)
        ]

    def _steps(self, episodes: Episodes) -> Steps:
        return Steps.of(episodes, self._interface, self._num_steps)

    def _scores(self, features: np.ndarray) -> np.ndarray:
        return self._discriminant.scores(self._examples, self._label, features)

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        return softmax(self._sharpness * scores, axis=1)

    def _calibrate(self) -> tuple[float, float]:
        """Choose how sharp probabilities are, and how far is like none, on robots left out."""
        num_changes = len(self._changes)
        scores = np.empty((len(self._label), num_changes))
        fold = np.arange(len(self._label)) // num_changes % _FOLDS
        for number in range(_FOLDS):
            kept, out = fold != number, fold == number
            features, label = self._examples[kept], self._label[kept]
            scores[out] = Discriminant.fit(features, label).scores(
                features, label, self._examples[out]
            )
        rows = np.arange(len(scores))
        losses = [
            -log_softmax(sharpness * scores, axis=1)[rows, self._label].mean()
            for sharpness in _SHARPNESS
        ]
        return float(_SHARPNESS[np.argmin(losses)]), float(
            np.quantile(scores.max(1), UNKNOWN_RATE, method="weibull")
        )


@float32_by_default()
def what_changed(policy: AdaptablePolicy, episodes: Episodes, *, seed: int = 0) -> WhatChanged:
    """Say what a robot's first trial episode looks like: an unchanged one, or which change.

    Later episodes are not read: the policy explores otherwise in them than in first ones.

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
    known = episodes.first(1).pad(policy.interface.horizon).next_observations
    num_steps = int((~known.isnan().any(-1)).sum())
    if num_steps < LEAST_STEPS:
        raise ValueError(
            f"the first episode shows what came of {num_steps} control steps, but changes are "
            f"named from {LEAST_STEPS} or more: run a longer one"
        )
    recogniser = Recogniser(policy, num_steps=num_steps, rewards_hidden=hidden, seed=seed)
    return recogniser.judge(episodes)[0]
