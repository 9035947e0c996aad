"""What an evaluation says in sentences, made from the numbers alone."""

from __future__ import annotations

from metarobot.evaluation.references import NEVER_ADAPTS, ORACLE
from metarobot.evaluation.result import Conditions, Curve, Evaluation, Headroom, Point
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.style import algorithm_title, interval, number, percent, percent_interval

SMALL_HEADROOM = 0.1
"""Headroom below this part of (oracle - random) is called small."""
_WHERE = {
    "train": "new tasks from the training range",
    "interpolation": "tasks in the gaps held out of the training range",
    "extrapolation": "tasks beyond the training range",
}
_WHERE_ELSE = {
    "train": "tasks from the main range",
    "interpolation": "tasks in the gaps of the main range",
    "extrapolation": "tasks beyond the main range",
}
"""The same where the policies were trained on something else."""


def verdicts(evaluation: Evaluation) -> list[str]:
    """Say in one sentence a held-out split what one adaptation step is worth there.

    The sentences come from the numbers alone, and say so where domain randomisation wins, where
    the difference is within the interval, and where there is little or no headroom. Splits that
    were trained on are used only if there is no other.

    Args:
        evaluation: The evaluation.
    """
    known = [entry.split for entry in evaluation.headroom]
    chosen = [split for split in known if split != "train"] or known
    if not evaluation.tasks_as_trained:
        chosen = known
    several = len(evaluation.learners) > 1
    sentences = []
    for entry in evaluation.headroom:
        for name in evaluation.learners:
            curve = evaluation.curve(name, entry.split)
            if curve and entry.split in chosen:
                sentence = f"On {_tasks(evaluation, entry.split)}, {_verdict(entry, curve)}"
                sentences.append(f"{algorithm_title(name)}: {sentence}" if several else sentence)
    return sentences or _without_headroom(evaluation)


def conditions(evaluation: Evaluation) -> str:
    """Say what was measured and trained on where a variant is part of it; else nothing.

    Args:
        evaluation: The evaluation.
    """
    measured, trained = evaluation.variant, evaluation.trained_on
    if measured is None and trained is None:
        return ""
    if measured == trained:
        return f"Trained and measured on {_named(measured)}."
    text = f"Measured on {_named(measured)}. The policies were trained on {_named(trained)}"
    if evaluation.tasks_as_trained:
        return f"{text}, with the same ranges of tasks."
    return f"{text}: the splits below are those of what is measured."


def _tasks(evaluation: Evaluation, split: str) -> str:
    return (_WHERE if evaluation.tasks_as_trained else _WHERE_ELSE)[split]


def _named(variant: Conditions | None) -> str:
    if variant is None:
        return "the family as it is"
    return f"the variant {variant.name}" + f" ({variant.description})" * bool(variant.description)


def _without_headroom(evaluation: Evaluation) -> list[str]:
    """Say what changed by one adaptation step where nothing tells what there was to win."""
    if not evaluation.learners:
        return ["No policy in these runs adapts."]
    sentences = []
    for name in evaluation.learners:
        for split in evaluation.splits:
            curve = evaluation.curve(name, split)
            after = curve.after(1) if curve else None
            if curve and after:
                returns = (point.return_mean.value for point in (curve.points[0], after))
                start, end = map(number, returns)
                sentences.append(
                    f"On {_tasks(evaluation, split)}, one adaptation step of "
                    f"{algorithm_title(name)} takes the mean return from {start} to {end}."
                )
    there = {policy.algorithm for policy in evaluation.policies}
    missing = [name for name in (NEVER_ADAPTS, ORACLE) if name not in there]
    if not missing:
        return sentences
    names = " and no ".join(map(algorithm_title, missing))
    return [
        *sentences,
        f"The runs hold no {names}: which part of the headroom that is cannot be told.",
    ]


def _verdict(headroom: Headroom, curve: Curve) -> str:
    before, after = curve.points[0], curve.after(1)
    if after is None:
        return "no adaptation step was evaluated."
    if after.captured is None or not headroom.is_meaningful:
        return _no_headroom(headroom, after)
    text = _closing(after.captured, f"one adaptation step of {after.adaptation_episodes} episodes")
    share = None if before.captured is None else before.captured.value
    return f"{text} Before adapting it stood at {percent(share)}.{_small_headroom_note(headroom)}"


def _closing(share: Interval, step: str) -> str:
    """Say what one step captured, judged by the bounds as they are shown."""
    amount = f"{percent(share.value)} {percent_interval(share)}"
    low, high = round(100 * share.low), round(100 * share.high)
    gap = "the gap between domain randomisation and the oracle"
    if high < 0:
        return f"domain randomisation wins: {step} ends below it, at {amount} of {gap}."
    if low <= 0:
        return f"{step} makes no measurable difference to domain randomisation: {amount} of {gap}."
    if low > 100:
        return f"{step} passes the oracle, which is then no upper bound: {amount} of {gap}."
    return f"{step} closes {amount} of {gap}."


def _no_headroom(headroom: Headroom, after: Point) -> str:
    gap = f"{number(headroom.gap.value)} {interval(headroom.gap)}"
    returns = (
        f"Returns: domain randomisation {number(headroom.domain_randomisation)}, "
        f"after one adaptation step {number(after.return_mean.value)}, "
        f"oracle {number(headroom.oracle)}."
    )
    if round(headroom.gap.high, 2) < 0.0:  # judged by what is shown
        return (
            f"domain randomisation scores above the oracle (headroom {gap}), which is then "
            f"no upper bound: no fraction of a gap can be given. {returns}"
        )
    if headroom.random is not None and headroom.oracle <= headroom.random:
        return (
            "the oracle does no better than random actions, so that no fraction of its lead over "
            f"domain randomisation can be given. {returns}"
        )
    return (
        "there is no measurable gap between domain randomisation and the oracle (headroom "
        f"{gap}), so there is nothing for adaptation to gain. {returns}"
    )


def _small_headroom_note(headroom: Headroom) -> str:
    part = headroom.over_random
    if part is None or not 0.0 < part < SMALL_HEADROOM:
        return ""
    return (
        f" The gap itself is small: {percent(part)} of the distance from random actions to the "
        "oracle."
    )
