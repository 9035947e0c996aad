"""From scores to curves: means with intervals, and the fraction of the headroom captured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from metarobot.envs import Split
from metarobot.evaluation.measurement import Stages
from metarobot.evaluation.protocol import EvaluationConfig, Scores
from metarobot.evaluation.references import NEVER_ADAPTS, ORACLE, RANDOM
from metarobot.evaluation.result import Curve, Headroom, Point
from metarobot.evaluation.statistics import (
    Interval,
    bootstrap_captured,
    bootstrap_headroom,
    bootstrap_iqm,
    bootstrap_mean,
)

Captured = tuple[Interval | None, tuple[float | None, ...]]
"""A fraction of the headroom over all seeds, and that of each seed, (S,)."""


def summarise_split(
    split: Split, policies: Mapping[str, Stages], config: EvaluationConfig
) -> tuple[list[Curve], Headroom | None]:
    """Return the curves of all policies on a split, and its headroom.

    Args:
        split: The split.
        policies: Scores (S, N) of every policy after 0, 1, .. adaptation steps.
        config: How much was measured.

    Returns:
        Curves of episodes as judged and of exploring ones (random actions have the latter only),
        and the headroom, None without domain randomisation and the oracle.
    """
    curves: list[Curve] = []
    for name, stages in policies.items():
        if name != RANDOM:
            captured = _captured_by(policies, name, config)
            judged = [stage.judged for stage in stages]
            curves.append(_curve(split, name, False, judged, captured, config))
        exploring = [stage.exploring for stage in stages]
        curves.append(_curve(split, name, True, exploring, [], config))
    return curves, _headroom(split, policies, config)


def _curve(
    split: Split,
    algorithm: str,
    exploring: bool,
    stages: list[Scores],
    captured: list[Captured],
    config: EvaluationConfig,
) -> Curve:
    points = []
    for step, scores in enumerate(stages):
        rng = np.random.default_rng(config.seed)
        mean, iqm = bootstrap_mean(scores.returns, rng), bootstrap_iqm(scores.returns, rng)
        share, per_seed = captured[step] if captured else (None, ())
        points.append(
            Point(
                adaptation_episodes=step * config.episodes_per_step,
                adaptation_steps=step,
                return_mean=mean,
                return_iqm=iqm,
                success=bootstrap_mean(scores.success, rng),
                captured=share,
                captured_per_seed=per_seed,
            )
        )
    return Curve(algorithm=algorithm, split=split, exploring=exploring, points=tuple(points))


def _captured_by(
    policies: Mapping[str, Stages], name: str, config: EvaluationConfig
) -> list[Captured]:
    """Return what a policy captured of the headroom after each step; empty without its ends."""
    if name in (NEVER_ADAPTS, ORACLE) or not {NEVER_ADAPTS, ORACLE} <= set(policies):
        return []
    never, oracle = _returns(policies[NEVER_ADAPTS])[0], _returns(policies[ORACLE])[0]
    rng = np.random.default_rng(config.seed)
    bootstrap_headroom(never, oracle, rng)  # shares the random numbers with the headroom's interval
    found = []
    for returns in _returns(policies[name]):
        share = bootstrap_captured(returns, never, oracle, rng)
        won, whole = returns.mean(axis=1) - never.mean(axis=1), oracle.mean(1) - never.mean(1)
        found.append((share, tuple(map(_ratio, won.tolist(), whole.tolist()))))
    return found


def _headroom(
    split: Split, policies: Mapping[str, Stages], config: EvaluationConfig
) -> Headroom | None:
    if not {NEVER_ADAPTS, ORACLE} <= set(policies):
        return None
    never, oracle = _returns(policies[NEVER_ADAPTS])[0], _returns(policies[ORACLE])[0]
    random = _returns(policies[RANDOM])[0] if RANDOM in policies else None
    return Headroom(
        split=split,
        random=None if random is None else float(random.mean()),
        domain_randomisation=float(never.mean()),
        oracle=float(oracle.mean()),
        gap=bootstrap_headroom(never, oracle, np.random.default_rng(config.seed)),
    )


def _returns(stages: Stages) -> list[np.ndarray]:
    """Return the returns as judged after each adaptation step, (S, N) each."""
    return [stage.judged.returns for stage in stages]


def _ratio(part: float, whole: float) -> float | None:
    """Return part / whole, None where there is no whole."""
    return part / whole if whole else None
