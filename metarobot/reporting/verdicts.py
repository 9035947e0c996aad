"""What an evaluation says in sentences, made from the numbers alone."""

from __future__ import annotations

from metarobot.evaluation.curve import NEARLY_ALL, Curve, Point, headline_episodes
from metarobot.evaluation.references import NEVER_ADAPTS, ORACLE
from metarobot.evaluation.result import Conditions, Evaluation, Headroom
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.style import (
    after_episodes,
    algorithm_title,
    interval,
    number,
    percent,
    percent_interval,
)

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
    """Say for each held-out split and learner what a few adaptation episodes are worth there.

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
    sentences = [
        _verdict(evaluation, entry, curve)
        for entry in evaluation.headroom
        for name in evaluation.learners
        if entry.split in chosen and (curve := evaluation.curve(name, entry.split))
    ]
    return sentences or _without_headroom(evaluation)


def conditions(evaluation: Evaluation) -> str:
    """Say what was special: a variant, or that rewards were hidden; else nothing.

    Args:
        evaluation: The evaluation.
    """
    return " ".join(filter(None, (_which_variants(evaluation), _what_was_hidden(evaluation))))


def _what_was_hidden(evaluation: Evaluation) -> str:
    if evaluation.config.rewards == "seen":
        return ""
    text = "Rewards were hidden: policies adapt and act by what they see alone."
    names = ", ".join(map(algorithm_title, evaluation.left_out))
    return f"{text} Left out, as they need rewards: {names}." if names else text


def _which_variants(evaluation: Evaluation) -> str:
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
    """Say what changed by adapting where nothing tells what there was to win."""
    if not evaluation.learners:
        return ["No policy in these runs adapts."]
    sentences = []
    for name in evaluation.learners:
        for split in evaluation.splits:
            curve = evaluation.curve(name, split)
            after = _told_of(curve) if curve else None
            if curve and after:
                start, end = (number(p.return_mean.value) for p in (curve.points[0], after))
                sentences.append(
                    f"{_stage(after).capitalize()} on {_tasks(evaluation, split)}, the mean return "
                    f"of {algorithm_title(name)} is {end}; before adapting it was {start}."
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


def _told_of(curve: Curve) -> Point | None:
    """Return the point that the sentences are of; after a first block if it is all there is."""
    told_of = headline_episodes(point.adaptation_episodes for point in curve.points)
    return curve.after_blocks(1) if told_of is None else curve.after_episodes(told_of)


def _stage(point: Point) -> str:
    return after_episodes(point.adaptation_episodes)


def _verdict(evaluation: Evaluation, headroom: Headroom, curve: Curve) -> str:
    after, where = _told_of(curve), _tasks(evaluation, headroom.split)
    name = algorithm_title(curve.algorithm)
    if after is None:
        return f"On {where}, no adaptation of {name} was evaluated."
    if after.captured is None or not headroom.is_meaningful:
        return f"On {where}, {_no_headroom(headroom, name, after)}"
    text = f"{_stage(after).capitalize()} on {where}, {_closing(after.captured, name)}"
    if after.harmed:
        text += f"; {percent(after.harmed.value)} {percent_interval(after.harmed)} of the tasks"
        text += " became worse"
    return f"{text}. {_way(curve)}{_small_headroom_note(headroom)}"


def _closing(share: Interval, name: str) -> str:
    """Say what was captured, judged by the bounds as they are shown."""
    amount = f"{percent(share.value)} {percent_interval(share)} of the headroom"
    low, high = round(100 * share.low), round(100 * share.high)
    if high < 0:
        return f"domain randomisation wins against {name}, which captures {amount}"
    if low <= 0:
        return (
            f"{name} makes no measurable difference to domain randomisation: it captures {amount}"
        )
    if low > 100:
        return f"{name} passes the oracle, which is then no upper bound: it captures {amount}"
    return f"{name} captures {amount}"


def _way(curve: Curve) -> str:
    """Say where it began, and how many episodes nearly all of the headroom takes."""
    before, needed = curve.points[0].captured, curve.episodes_to_90
    start = f"Before adapting it stood at {percent(before and before.value)}"
    most = curve.points[-1].adaptation_episodes
    if needed == 0 or most == 0:
        return f"{start}."
    nearly_all = percent(NEARLY_ALL)
    if needed is None:
        return f"{start}; it does not reach {nearly_all} within {most} episodes."
    return f"{start}; it reaches {nearly_all} {after_episodes(needed)}."


def _no_headroom(headroom: Headroom, name: str, after: Point) -> str:
    gap = f"{number(headroom.gap.value)} {interval(headroom.gap)}"
    returns = (
        f"Returns: domain randomisation {number(headroom.domain_randomisation)}, "
        f"{name} {_stage(after)} {number(after.return_mean.value)}, "
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
        f" The headroom itself is small: {percent(part)} of the distance from random actions to "
        "the oracle."
    )
