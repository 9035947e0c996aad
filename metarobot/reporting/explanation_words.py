"""What adaptation has sensed and changed, in one plain sentence for each picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from metarobot.envs import find_family, parameter_words
from metarobot.evaluation.explanation import (
    ActionChange,
    Estimate,
    Explanation,
    Reading,
    Sensitivity,
)
from metarobot.reporting.style import after_episodes, in_unit, number, percent

KNOWN, ROUGHLY_KNOWN = 0.8, 0.3
"""R² from which a parameter counts as known, and as roughly known."""
_SPLIT_WORDS = {"interpolation": "in the gaps held out", "extrapolation": "beyond that range"}
_HELD = 0.8
"""Share of true values below which a band of 90 % is called too sure."""
_SLIGHT = 0.05
"""Change of the action, in half ranges, below which it does not follow a parameter."""


def sentences(explanation: Explanation) -> dict[str, str]:
    """Return a sentence for each picture, by the picture's name."""
    words = {"readings": _readings(explanation), "actions": _actions(explanation)}
    if explanation.narrowing:
        words["belief"] = _belief(explanation)
    if explanation.state_map:
        words["states"] = _states(explanation)
    if explanation.updates:
        words["updates"] = _updates(explanation)
    return words


def one_task_sentences(explanation: Explanation) -> list[str]:
    """Say of one task what was sensed, how far it lies from training, and what has changed."""
    task = explanation.one_task
    if task is None:
        return []
    parameters = {each.name: each for each in explanation.parameters}
    told = [_estimate(each, parameters[each.parameter].unit) for each in task.estimates]
    lines = [f"{after_episodes(task.adaptation_episodes).capitalize()}: {'; '.join(told)}."]
    outside = [each for each in task.estimates if not each.is_trained]
    if outside:
        names = " and ".join(
            parameter_words(each.parameter, parameters[each.parameter].unit) for each in outside
        )
        lines.append(
            f"Warning: {names} lie{'s' * (len(outside) == 1)} beyond the training range, where "
            "nothing was promised: look at the heat map of the evaluation."
        )
    changes = change_words(explanation.family, task.changes)
    lines.append(f"Its mean action changes: {'; '.join(changes)}.")
    return lines


def change_words(family: str, changes: Sequence[ActionChange]) -> Iterator[str]:
    """Say how each element of the action changes, in its unit where the family has one."""
    scales = find_family(family).action_scales
    for index, change in enumerate(changes):
        if scales:
            scale = scales[index]
            before, after = scale.value(change.before), scale.value(change.after)
            yield f"{scale.quantity} from {before:.3g} to {after:.3g} {scale.unit}"
        else:
            before, after = number(change.before), number(change.after)
            yield f"{change.element} from {before} to {after} half ranges"


def _words_of(explanation: Explanation) -> dict[str, str]:
    """Return the names of the task parameters for people."""
    return {each.name: parameter_words(each.name, each.unit) for each in explanation.parameters}


def _estimate(found: Estimate, unit: str) -> str:
    words, value = parameter_words(found.parameter, unit), in_unit(f"{found.value:.3g}", unit)
    return (
        f"the {words} is about {value} "
        f"[{found.low:.3g}, {found.high:.3g}] (in truth {found.true:.3g})"
    )


def _readings(explanation: Explanation) -> str:
    number_of_episodes = max(r.adaptation_episodes for r in explanation.readings)
    words = _words_of(explanation)
    last = [r for r in explanation.readings if r.adaptation_episodes == number_of_episodes]
    kinds: dict[str, list[str]] = {"knows": [], "knows roughly": [], "cannot tell": []}
    for reading in last:
        if reading.split == "train":
            kind = "knows" if reading.r2 >= KNOWN else "knows roughly"
            kind = kind if reading.r2 >= ROUGHLY_KNOWN else "cannot tell"
            kinds[kind].append(f"the {words[reading.parameter]} (R² {number(reading.r2)})")
    parts = [f"{kind} {' and '.join(names)}" for kind, names in kinds.items() if names]
    text = f"{after_episodes(number_of_episodes).capitalize()}, adaptation {', '.join(parts)}."
    return f"{text}{_elsewhere(last)}{_by_simulation(explanation)}"


def _elsewhere(last: Sequence[Reading]) -> str:
    """Say how well those are read on held-out tasks that can be read on others."""
    known = {r.parameter for r in last if r.split == "train" and r.r2 >= ROUGHLY_KNOWN}
    means = {
        split: [r.r2 for r in last if r.split == split and r.parameter in known]
        for split in _SPLIT_WORDS
    }
    told = [
        f"{number(float(np.mean(r2)))} {_SPLIT_WORDS[split]}" for split, r2 in means.items() if r2
    ]
    which = "Their mean" if len(known) > 1 else "Its"
    return f" {which} R² is {' and '.join(told)}." if told else ""


def _by_simulation(explanation: Explanation) -> str:
    """Say what simulation reads from the same episodes, if that was measured."""
    words, rows = _words_of(explanation), explanation.identified
    if not rows:
        return ""
    r2 = {name: [r.r2 for r in rows if r.parameter == name] for name in words}
    told = [f"{number(float(np.mean(each)))} for the {words[n]}" for n, each in r2.items() if each]
    fitted = f"simulation, fitted to the same {rows[0].adaptation_episodes} episodes"
    return f" Of {fitted} of held-out tasks, it is {', '.join(told)}."


def _belief(explanation: Explanation) -> str:
    words, told = _words_of(explanation), list[str]()
    for found in explanation.narrowing:
        width, holds = percent(found.width), percent(found.holds_truth)
        told += (
            [f"that of the {words[found.parameter]} {width} and {holds}"]
            if told
            else [
                f"{after_episodes(found.adaptation_episodes).capitalize()} the 90 % band of the "
                f"{words[found.parameter]} is {width} as wide as before and holds {holds} of the "
                "true values"
            ]
        )
    text = f"{', '.join(told)}, over all held-out tasks."
    if min(found.holds_truth for found in explanation.narrowing) >= _HELD:
        return text
    return f"{text} A band that holds fewer than 90 % is too sure of itself."


def _states(explanation: Explanation) -> str:
    found = explanation.state_map
    share = 0.0 if found is None else sum(found.shares)
    return (
        f"{100 * share:.0f} % of what differs between adapted tasks lies in this plane; where the "
        "colours are in order, the policy has sorted the tasks by that parameter."
    )


def _actions(explanation: Explanation) -> str:
    words = _words_of(explanation)
    most = max(explanation.sensitivities, key=lambda row: abs(row.change))
    if abs(most.change) < _SLIGHT:
        return "The adapted action hardly follows any task parameter."
    text = (
        f"The {most.element} follows the {words[most.parameter]} most: it changes by "
        f"{number(most.change)} half ranges from the lowest to the highest value trained on"
    )
    return f"{text}{_beside_the_oracle(most)}."


def _beside_the_oracle(row: Sensitivity) -> str:
    if row.of_oracle is None:
        return ""
    return f", and that of the policy which is told the task by {number(row.of_oracle)}"


def _updates(explanation: Explanation) -> str:
    most = max(explanation.updates, key=lambda update: update.size)
    distances, cosines = np.array(explanation.similarity).T
    near = distances <= np.median(distances)
    return (
        f"{most.layer} moves most, by {100 * most.size:.0f} % of its length. Updates of tasks that "
        f"are alike have a mean cosine of {number(float(cosines[near].mean()))}, of others "
        f"{number(float(cosines[~near].mean()))}."
    )
