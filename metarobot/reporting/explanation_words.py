"""What adaptation has sensed and changed, in one plain sentence for each picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from metarobot.envs import find_family, parameter_words
from metarobot.evaluation.explanation import (
    ActionChange,
    Estimate,
    Explanation,
    Sensitivity,
)
from metarobot.reporting.explanation_pictures import parameters_of
from metarobot.reporting.style import after_episodes, in_unit, number

KNOWN, ROUGHLY_KNOWN = 0.8, 0.3
"""R² from which a parameter counts as known, and as roughly known."""
_SPLIT_WORDS = {"interpolation": "in the gaps held out", "extrapolation": "beyond that range"}
_SLIGHT = 0.05
"""Change of the action, in half ranges, below which it does not follow a parameter."""


def sentences(explanation: Explanation) -> dict[str, str]:
    """Return a sentence for each picture, by the picture's name."""
    words = {"readings": _readings(explanation), "actions": _actions(explanation)}
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
    parameters = {each.name: each for each in parameters_of(explanation)}
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


def _estimate(found: Estimate, unit: str) -> str:
    words, value = parameter_words(found.parameter, unit), in_unit(f"{found.value:.3g}", unit)
    return (
        f"the {words} is about {value} "
        f"[{found.low:.3g}, {found.high:.3g}] (in truth {found.true:.3g})"
    )


def _readings(explanation: Explanation) -> str:
    number_of_episodes = max(r.adaptation_episodes for r in explanation.readings)
    words = {
        each.name: parameter_words(each.name, each.unit) for each in parameters_of(explanation)
    }
    last = [r for r in explanation.readings if r.adaptation_episodes == number_of_episodes]
    kinds: dict[str, list[str]] = {"knows": [], "knows roughly": [], "cannot tell": []}
    for reading in last:
        if reading.split == "train":
            kind = "knows" if reading.r2 >= KNOWN else "knows roughly"
            kind = kind if reading.r2 >= ROUGHLY_KNOWN else "cannot tell"
            kinds[kind].append(f"the {words[reading.parameter]} (R² {number(reading.r2)})")
    parts = [f"{kind} {' and '.join(names)}" for kind, names in kinds.items() if names]
    elsewhere = [
        f"{_SPLIT_WORDS[split]} {number(float(np.mean([r.r2 for r in last if r.split == split])))}"
        for split in _SPLIT_WORDS
        if any(r.split == split for r in last)
    ]
    text = f"{after_episodes(number_of_episodes).capitalize()}, adaptation {', '.join(parts)}."
    return f"{text} Mean R² {' and '.join(elsewhere)}." if elsewhere else text


def _states(explanation: Explanation) -> str:
    found = explanation.state_map
    share = 0.0 if found is None else sum(found.shares)
    return (
        f"{100 * share:.0f} % of what differs between adapted tasks lies in this plane; where the "
        "colours are in order, the policy has sorted the tasks by that parameter."
    )


def _actions(explanation: Explanation) -> str:
    words = {
        each.name: parameter_words(each.name, each.unit) for each in parameters_of(explanation)
    }
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
