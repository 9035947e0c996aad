"""An evaluation in sentences, made from its numbers alone.

`verdicts` give the gain by adapting, `where_they_hold` the validity range and the failure regions
of each policy, `conditions` the special conditions of the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from metarobot.evaluation.protocol import NEVER_ADAPTS, ORACLE, RANDOM
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import (
    NEARLY_ALL,
    Axis,
    Conditions,
    Evaluation,
    GridMap,
    Headroom,
    HeatMap,
    Row,
)
from metarobot.reporting.style import (
    after_episodes,
    algorithm_title,
    evaluation_title,
    in_unit,
    interval,
    latent_first,
    number,
    parameter_words,
    percent,
    percent_interval,
    split_tasks,
)

ENOUGH = 0.5
"""Success that counts as working."""
_MOST_PLACES = 2
_MOST_OF_THE_MAP = 0.5
"""Largest failure region, as a part of the map: a larger one is not informative."""
_LEAST_FAILING = 0.5
"""Smallest part of the tasks in a failure region that fail."""
SMALL_HEADROOM = 0.1
"""Headroom below this part of (oracle - random) is called small."""


def verdicts(evaluation: Evaluation) -> list[str]:
    """Return a sentence for each held-out split and learner about a few adaptation episodes.

    The sentences come from the numbers alone. They report a win of domain randomisation, a
    difference within the interval, and little or no headroom. Splits of training tasks are used
    only if there is no other.

    Args:
        evaluation: The evaluation.
    """
    known = [entry.split for entry in evaluation.headroom]
    chosen = [split for split in known if split != "train"] or known
    if not evaluation.tasks_as_trained:
        chosen = known
    sentences = [
        _verdict(evaluation, entry, rows)
        for entry in evaluation.headroom
        for name in evaluation.learners
        if entry.split in chosen and (rows := evaluation.curves.get((name, entry.split)))
    ]
    return [*sentences, *_not_learned(evaluation)] if sentences else _without_headroom(evaluation)


def conclusion(evaluation: Evaluation) -> str:
    """Return one sentence: the success after adapting on the tasks farthest from training.

    Args:
        evaluation: The evaluation; without a policy that adapts the sentence says so.
    """
    split = evaluation.splits[-1]
    for name in latent_first(evaluation.learners):
        rows = evaluation.curves.get((name, split), ())
        if after := _after_few(evaluation, rows):
            return (
                f"{_stage(after)}, {algorithm_title(name)} succeeds in "
                f"{percent(after.success.value)} of the episodes on "
                f"{split_tasks(evaluation, split)}; before adapting, in "
                f"{percent(rows[0].success.value)}."
            )
    return "No policy in these runs adapts."


def summary(evaluation: Evaluation) -> str:
    """Return the result in a few lines: the best policy of each split, and where it fails.

    A policy wins if the interval of its mean return lies above those of all others. The oracle,
    which observes the task, and random actions are named beside them.
    """
    few = evaluation.headline or 0
    lines, best = list[str](), set[str]()
    for split in evaluation.splits:
        found = {
            policy.algorithm: row
            for policy in evaluation.policies
            for row in [evaluation.after(policy.algorithm, split, few if policy.adapts else 0)]
            if row and policy.algorithm != RANDOM
        }
        oracle = found.pop(ORACLE, None)
        if not found:
            continue
        first = max(found.values(), key=lambda row: row.return_mean.value)
        equal = [r for r in found.values() if r.return_mean.high >= first.return_mean.low]
        others = [row for row in found.values() if row not in equal]
        others.sort(key=lambda row: -row.success.value)
        best |= {row.algorithm for row in equal}
        names = " and ".join(map(_success, equal))
        parts = [f"{names} {'wins' if len(equal) == 1 else 'are equally good'}"]
        parts += [", ".join(map(_success, others))] if others else []
        parts += [f"upper bound: {_success(oracle)}"] if oracle else []
        lines.append(f"- {split_tasks(evaluation, split)}: {'; '.join(parts)}")
    lines += [f"- {sentence}" for name, sentence in _held(evaluation).items() if name in best]
    special = [conditions(evaluation), *_not_learned(evaluation)]
    lines += [f"- {sentence}" for sentence in special if sentence]
    stage = f" {after_episodes(few)}" if few else ""
    return "\n".join([f"{evaluation_title(evaluation)}, success{stage}:", *lines])


def _success(row: Row) -> str:
    return f"{algorithm_title(row.algorithm)} {percent(row.success.value)}"


def conditions(evaluation: Evaluation) -> str:
    """Return sentences about special conditions: a variant, or hidden rewards; else "".

    Args:
        evaluation: The evaluation.
    """
    measured, trained, parts = evaluation.variant, evaluation.trained_on, list[str]()
    if measured == trained and measured is not None:
        parts.append(f"Trained and measured on {_named(measured)}.")
    elif measured != trained:
        text = f"Measured on {_named(measured)}. The policies were trained on {_named(trained)}"
        same = ", with the same ranges of tasks."
        other = ": the splits below are those of the measured conditions."
        parts.append(text + (same if evaluation.tasks_as_trained else other))
    if evaluation.config.rewards == "hidden":
        parts.append("Rewards were hidden: policies adapt and act by observations alone.")
        names = ", ".join(map(algorithm_title, evaluation.left_out))
        parts += [f"Left out, as they need rewards: {names}."] if names else []
    return " ".join(parts)


def _named(variant: Conditions | None) -> str:
    if variant is None:
        return "the family as it is"
    return f"the variant {variant.name}" + f" ({variant.description})" * bool(variant.description)


def _without_headroom(evaluation: Evaluation) -> list[str]:
    """Return sentences about the change by adapting, without a headroom."""
    if not evaluation.learners:
        return ["No policy in these runs adapts."]
    sentences = []
    for name in evaluation.learners:
        for split in evaluation.splits:
            rows = evaluation.curves.get((name, split), ())
            after = _after_few(evaluation, rows)
            if after:
                start, end = (number(row.return_mean.value) for row in (rows[0], after))
                sentences.append(
                    f"{_stage(after)} on {split_tasks(evaluation, split)}, the mean return of "
                    f"{algorithm_title(name)} is {end}; before adapting it was {start}."
                )
    there = {policy.algorithm for policy in evaluation.policies}
    missing = [name for name in (NEVER_ADAPTS, ORACLE) if name not in there]
    if not missing:
        return sentences
    names = " and no ".join(map(algorithm_title, missing))
    return [
        *sentences,
        f"The runs hold no {names}: the captured part of the headroom is unknown.",
    ]


def _after_few(evaluation: Evaluation, rows: Sequence[Row]) -> Row | None:
    """Return the row after the headline number of episodes."""
    few = evaluation.headline
    return next((row for row in rows if few is not None and row.episodes == few), None)


def _stage(row: Row) -> str:
    return after_episodes(row.episodes).capitalize()


def _verdict(evaluation: Evaluation, headroom: Headroom, rows: Sequence[Row]) -> str:
    after, where = _after_few(evaluation, rows), split_tasks(evaluation, headroom.split)
    name = algorithm_title(rows[0].algorithm)
    if after is None:
        return f"On {where}, no adaptation of {name} was evaluated."
    if after.captured is None or not headroom.is_meaningful:
        return f"On {where}, {_no_headroom(headroom, name, after)}"
    text = f"{_stage(after)} on {where}, {_closing(after.captured, name)}"
    if after.worse:
        text += f"; {percent(after.worse.value)} {percent_interval(after.worse)} of the tasks"
        text += " became worse"
    needed = evaluation.episodes_to_90.get((after.algorithm, after.split))
    text = f"{text}. {_way(rows, needed)}"
    part = headroom.over_random
    if part is not None and 0.0 < part < SMALL_HEADROOM:
        text += f" The headroom itself is small: {percent(part)} of the distance from random"
        text += " actions to the oracle."
    return text


def _closing(share: Interval, name: str) -> str:
    """Describe the captured part of the headroom, by its bounds as printed."""
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


def _way(rows: Sequence[Row], needed: int | None) -> str:
    """Describe the captured part before adapting, and the episodes to capture nearly all of it."""
    before, most = rows[0].captured, rows[-1].episodes
    start = f"Before adapting it stood at {percent(before and before.value)}"
    if needed == 0 or most == 0:
        return f"{start}."
    nearly_all = percent(NEARLY_ALL)
    if needed is None:
        return f"{start}; it does not reach {nearly_all} within {most} episodes."
    return f"{start}; it reaches {nearly_all} {after_episodes(needed)}."


def _no_headroom(headroom: Headroom, name: str, after: Row) -> str:
    gap = f"{number(headroom.gap.value)} {interval(headroom.gap)}"
    returns = (
        f"Returns: domain randomisation {number(headroom.domain_randomisation)}, "
        f"{name} {after_episodes(after.episodes)} {number(after.return_mean.value)}, "
        f"oracle {number(headroom.oracle)}."
    )
    if round(headroom.gap.high, 2) < 0.0:  # as printed
        return f"domain randomisation scores above the oracle (headroom {gap}). {returns}"
    if headroom.random is not None and headroom.oracle <= headroom.random:
        return f"the oracle does no better than random actions. {returns}"
    return (
        "there is no measurable gap between domain randomisation and the oracle (headroom "
        f"{gap}). {returns}"
    )


def _not_learned(evaluation: Evaluation) -> list[str]:
    """Return the way out where the oracle, which observes the task, gains nothing by it.

    The oracle is trained by the same optimiser as the others. A small return shows that it has not
    learned to use the task, not that the task need not be known. One that gains on training tasks
    but not elsewhere has learned.
    """
    known = evaluation.headroom
    if any(each.is_meaningful for each in [e for e in known if e.split == "train"] or known):
        return []
    lost = [entry for entry in known if not entry.is_meaningful]
    if not lost:
        return []
    where = " and ".join(split_tasks(evaluation, entry.split) for entry in lost)
    rises = {
        policy.algorithm: float(np.mean(seeds))
        for policy in evaluation.policies
        if (seeds := [rise for rise in policy.rise if rise is not None])
    }
    words = " and ".join(
        f"{_signed(rises[name])} for {algorithm_title(name)}"
        for name in (ORACLE, NEVER_ADAPTS)
        if name in rises
    )
    text = (
        "Not learned yet: train longer (`metarobot train --resume RUN --total-steps N`). On "
        f"{where} the oracle, which observes the task, gains nothing by it."
    )
    if words:
        text += " Over the last quarter of training the return still changes per 100,000 control "
        text += f"steps by {words}."
    return [f"{text} `metarobot check` estimates what knowing the task can gain."]


def _signed(value: float) -> str:
    """Return a rise with its sign, to 2 significant digits."""
    return f"{value:+.2g}".replace("-", "\N{MINUS SIGN}")


def where_they_hold(evaluation: Evaluation) -> list[str]:
    """Return the validity range of every learner, measured on the heat map, in sentences.

    It covers a value of a parameter if half of the episodes succeed, over all values of the other
    parameter in the training range. Failure regions in it, where both parameters together are too
    far from training, such as a corner of the map, are named too.

    Args:
        evaluation: The evaluation; without a heat map there are no sentences.
    """
    return [*_held(evaluation).values()]


def _held(evaluation: Evaluation) -> dict[str, str]:
    """Return a sentence for each learner with a map after the headline number of episodes."""
    heat_map = evaluation.heat_map
    if heat_map is None or not all(map(_in_training, (heat_map.x, heat_map.y))):
        return {}  # no map, or one so coarse that it skips the training range
    return {
        name: _sentence(heat_map, each)
        for name in evaluation.learners
        for each in heat_map.maps
        if each.algorithm == name and each.adaptation_episodes == heat_map.headline
    }


def _sentence(heat_map: HeatMap, drawn: GridMap) -> str:
    who = f"{after_episodes(drawn.adaptation_episodes).capitalize()}, "
    who += algorithm_title(drawn.algorithm)
    # Missing values count as failures.
    x, y, success = heat_map.x, heat_map.y, np.nan_to_num(np.array(drawn.success, dtype=float))
    along_x = _works(x, success[_in_training(y)].mean(0))
    along_y = _works(y, success[:, _in_training(x)].mean(1))
    if not (along_x and along_y):
        return f"{who} fails in more than half of the episodes within the training range already."
    part = Part(x, y, along_x, along_y, success[np.ix_(along_y, along_x)])
    but = exceptions(part)
    where = f"{axis_ends(x, along_x)} and {axis_ends(y, along_y)}"
    if len(along_x) == len(x.values) and len(along_y) == len(y.values):
        everything = f"{who} works for all measured tasks"
        return f"{everything}{but}. Measured: {where}." if but else f"{everything}: {where}."
    measured = " and ".join(axis_range(axis, axis.values) for axis in (x, y))
    return (
        f"{who} works for {where}{but}. Measured: {measured}; beyond, less than half of the "
        "episodes succeed on average."
    )


def _works(axis: Axis, success: np.ndarray) -> list[int]:
    """Return the longest run of values with enough success that reaches into the training range."""
    edges = [-1, *np.flatnonzero(~(success >= ENOUGH)).tolist(), len(success)]
    runs = [[*range(before + 1, after)] for before, after in pairwise(edges)]
    trained = {*_in_training(axis)}
    return max((run for run in runs if trained & {*run}), key=len, default=[])


def _in_training(axis: Axis) -> list[int]:
    """Return the indices of the axis values in the training range."""
    low, high = axis.train
    return [index for index, value in enumerate(axis.values) if low <= value <= high]


class FailureRegion(NamedTuple):
    """Neighbouring tasks that fail, with the box around them."""

    rows: slice
    """Along y."""
    columns: slice
    """Along x."""
    num_failing: int
    """Number of failing tasks."""
    success: float
    """Mean success in the box."""


class Part(NamedTuple):
    """The part of a heat map where a policy works on average over each parameter."""

    x: Axis
    """The axis that runs to the right."""
    y: Axis
    """The axis that runs upwards."""
    along_x: Sequence[int]
    """Consecutive indices of the values of x."""
    along_y: Sequence[int]
    """Consecutive indices of the values of y."""
    success: np.ndarray
    """Success of each task, (len(along_y), len(along_x))."""


def exceptions(part: Part) -> str:
    """Describe the failure regions in a part of a heat map; "" if there are none."""
    failing = part.success < ENOUGH
    places, total = _failure_regions(part.success, failing), int(failing.sum())
    rest = total - sum(place.num_failing for place in places)
    if total == 0:
        return ""
    if 2 * rest >= total:  # scattered: naming some regions would hide the others
        return (
            f" on average, but fails at {total} of the {failing.size} tasks measured there, as "
            f"{_worst(part)}"
        )
    success = [f"{percent(place.success)} of the episodes succeed" for place in places[:1]]
    success += [percent(place.success) for place in places[1:]]
    parts = [
        f"{_region_words(part, place)} ({words})"
        for place, words in zip(places, success, strict=True)
    ]
    besides = f", and at {rest} of {failing.size} tasks besides" if rest else ""
    return f", except where {' or where '.join(parts)}{besides}"


def _failure_regions(success: np.ndarray, failing: np.ndarray) -> list[FailureRegion]:
    """Return the largest groups of neighbours that fail, each with the box around it.

    The box of an oblique corner contains some tasks that do not fail; excluding them too is
    conservative.
    """
    groups, found = np.zeros(failing.shape, np.int32), []
    ndimage.label(failing, structure=np.ones((3, 3)), output=groups)
    for label, box in enumerate(ndimage.find_objects(groups), start=1):
        size = int((groups == label).sum())
        if (
            failing[box].mean() >= _LEAST_FAILING
            and success[box].mean() < ENOUGH
            and failing[box].size <= _MOST_OF_THE_MAP * failing.size
        ):
            found.append(FailureRegion(box[0], box[1], size, float(success[box].mean())))
    return sorted(found, key=lambda place: -place.num_failing)[:_MOST_PLACES]


def _region_words(part: Part, place: FailureRegion) -> str:
    """Describe a region: "the block mass is above 1.4 kg and the pad friction below 0.25"."""
    sides = (
        (part.x, _condition(part.x, part.along_x, place.columns)),
        (part.y, _condition(part.y, part.along_y, place.rows)),
    )
    parts = [(parameter_words(axis.name, axis.unit), words) for axis, words in sides if words]
    return " and ".join(
        f"the {name} {'' if index else 'is '}{words}" for index, (name, words) in enumerate(parts)
    )


def _condition(axis: Axis, along: Sequence[int], place: slice) -> str:
    """Describe the values of a region by the nearest values at which the policy works."""
    below, above = (along[end] for end in (place.start, place.stop - 1))
    from_low, to_high = below == along[0], above == along[-1]
    low, high = (axis.values[max(below - 1, 0)], axis.values[min(above + 1, len(axis.values) - 1)])
    if from_low and to_high:
        return ""
    if from_low:
        return f"below {axis_range(axis, [high])}"
    if to_high:
        return f"above {axis_range(axis, [low])}"
    return f"between {axis_range(axis, [low, high], ' and ')}"


def _worst(part: Part) -> str:
    row, column = divmod(int(part.success.argmin()), part.success.shape[1])
    x, y = axis_ends(part.x, [part.along_x[column]]), axis_ends(part.y, [part.along_y[row]])
    return f"with {x} and {y}, where {percent(part.success[row, column])} of the episodes succeed"


def axis_range(axis: Axis, values: Sequence[float], between: str = " to ") -> str:
    """Return the ends of values with their unit, one if they are the same: "0.05 to 1.8 kg"."""
    ends = dict.fromkeys((f"{values[0]:.3g}", f"{values[-1]:.3g}"))
    return in_unit(between.join(ends).replace("-", "\N{MINUS SIGN}"), axis.unit)


def axis_ends(axis: Axis, run: Sequence[int]) -> str:
    """Return a parameter with the ends of a run of its values: "a block mass of 0.05 to 1.8 kg"."""
    values = [axis.values[run[0]], axis.values[run[-1]]]
    words = parameter_words(axis.name, axis.unit)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} of {axis_range(axis, values)}"
