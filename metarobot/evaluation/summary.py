"""From scores to curves: means with intervals, the fraction of the headroom captured, and harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from metarobot.envs import Split
from metarobot.evaluation.curve import Curve, Point
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import NEVER_ADAPTS, ORACLE, RANDOM
from metarobot.evaluation.result import Headroom
from metarobot.evaluation.scores import Scores, Stage, TaskSetScores
from metarobot.evaluation.statistics import (
    bootstrap_captured,
    bootstrap_harmed,
    bootstrap_headroom,
    bootstrap_iqm,
    bootstrap_mean,
    bootstrap_worst_tenth,
)


def summarise_split(
    split: Split, policies: Mapping[str, TaskSetScores], config: EvaluationConfig
) -> tuple[list[Curve], Headroom | None]:
    """Return the curves of all policies on a split, and its headroom.

    Args:
        split: The split.
        policies: Scores (S, N) of every policy.
        config: How much was measured.

    Returns:
        Curves of episodes as judged and of exploring ones (random actions have the latter only),
        and the headroom, None without domain randomisation and the oracle.
    """
    seed, curves = config.seed, []
    ends = _Ends.of(split, policies, seed)
    for name, scores in policies.items():
        if name != RANDOM:
            held_against = None if name in (NEVER_ADAPTS, ORACLE) else ends
            curves.append(_judged_curve(split, name, scores, held_against, seed))
        curves.append(_exploring_curve(split, name, scores, seed))
    return curves, ends and ends.headroom


@dataclass(frozen=True)
class _Ends:
    """What adaptation is held against on a split."""

    never: np.ndarray  # returns of domain randomisation, (S, N)
    oracle: np.ndarray  # returns of the oracle, (S, N)
    headroom: Headroom

    @classmethod
    def of(cls, split: Split, policies: Mapping[str, TaskSetScores], seed: int) -> _Ends | None:
        """Return the ends of the headroom, None where one of them is missing."""
        if not {NEVER_ADAPTS, ORACLE} <= set(policies):
            return None
        never, oracle = _before(policies[NEVER_ADAPTS]), _before(policies[ORACLE])
        random = _before(policies[RANDOM]) if RANDOM in policies else None
        headroom = Headroom(
            split=split,
            random=None if random is None else float(random.mean()),
            domain_randomisation=float(never.mean()),
            oracle=float(oracle.mean()),
            gap=bootstrap_headroom(never, oracle, np.random.default_rng(seed)),
        )
        return cls(never, oracle, headroom)


def _before(scores: TaskSetScores) -> np.ndarray:
    """Return the returns as judged before adapting, (S, N)."""
    return scores.by_episodes[0].judged.returns


def _judged_curve(
    split: Split, algorithm: str, scores: TaskSetScores, ends: _Ends | None, seed: int
) -> Curve:
    before = _before(scores)

    def points(stages: list[Stage]) -> tuple[Point, ...]:
        return tuple(_judged_point(stage, before, ends, seed) for stage in stages)

    return Curve(
        algorithm=algorithm,
        split=split,
        exploring=False,
        points=points(scores.by_episodes),
        blocks=points(scores.by_blocks),
    )


def _judged_point(stage: Stage, before: np.ndarray, ends: _Ends | None, seed: int) -> Point:
    """Return the point of a stage.

    Every interval has a fresh generator, so that none depends on which others are asked for.
    """
    returns = stage.judged.returns
    point = plain_point(stage.num_episodes, stage.judged, seed)
    if ends:
        rng = np.random.default_rng(seed)
        share = bootstrap_captured(returns, ends.never, ends.oracle, rng)
        point = replace(point, captured=share, captured_per_seed=_captured_per_seed(returns, ends))
    if stage.adapting and ends and ends.headroom.is_meaningful:
        gap, rng = ends.headroom.gap.value, np.random.default_rng(seed)
        point = replace(point, harmed=bootstrap_harmed(before, returns, gap, rng))
    if stage.adapting:
        given_up = before - stage.adapting.returns
        point = replace(
            point,
            worst_tenth=bootstrap_worst_tenth(before, returns, np.random.default_rng(seed)),
            trial_cost=bootstrap_mean(given_up, np.random.default_rng(seed)),
        )
    return point


def _exploring_curve(split: Split, algorithm: str, scores: TaskSetScores, seed: int) -> Curve:
    used = [stage.num_episodes for stage in scores.by_blocks]
    blocks = tuple(
        plain_point(number, found, seed)
        for number, found in zip(used, scores.exploring, strict=True)
    )
    return Curve(algorithm=algorithm, split=split, exploring=True, points=blocks[:1], blocks=blocks)


def plain_point(num_episodes: int, scores: Scores, seed: int) -> Point:
    """Return what scores say by themselves."""
    rng = np.random.default_rng(seed)
    return Point(
        adaptation_episodes=num_episodes,
        return_mean=bootstrap_mean(scores.returns, rng),
        return_iqm=bootstrap_iqm(scores.returns, rng),
        success=bootstrap_mean(scores.success, rng),
    )


def _captured_per_seed(returns: np.ndarray, ends: _Ends) -> tuple[float | None, ...]:
    won = returns.mean(axis=1) - ends.never.mean(axis=1)
    whole = ends.oracle.mean(axis=1) - ends.never.mean(axis=1)
    return tuple(map(_ratio, won.tolist(), whole.tolist()))


def _ratio(part: float, whole: float) -> float | None:
    """Return part / whole, None where there is no whole."""
    return part / whole if whole else None
