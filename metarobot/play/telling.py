"""What there is to tell of a policy at work: outcomes, changes of the action, estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms.spread_tasks import tasks_of
from metarobot.envs import Tasks, find_family
from metarobot.evaluation.belief import believed
from metarobot.evaluation.explanation import ActionChange, Estimate
from metarobot.evaluation.probes import Probe
from metarobot.evaluation.read_estimates import read_estimates
from metarobot.play.episode import Result
from metarobot.play.state import Outcomes
from metarobot.reporting.explanation_words import change_words


def outcomes_of(results: Sequence[Result]) -> Outcomes | None:
    """Return how episodes went on average, None if there is none."""
    if not results:
        return None
    return Outcomes(
        num_episodes=len(results),
        mean_return=float(np.mean([result.total for result in results])),
        success=float(np.mean([result.success for result in results])),
    )


def changes_of(policy: AdaptablePolicy, means: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Say how the mean action has changed, in words.

    Args:
        policy: The policy before adapting.
        means: Mean action (A,) before and after, in half action ranges; empty if not known.
    """
    if not means:
        return ()
    env_id = policy.config.env_id
    elements = find_family(env_id).action_elements
    changes = [
        ActionChange(element=element, before=float(before), after=float(after))
        for element, before, after in zip(elements, *means, strict=True)
    ]
    return tuple(change_words(env_id, changes))


def estimates_of(
    policy: AdaptablePolicy,
    adapted: AdaptablePolicy | None,
    tasks: Tasks,
    probes: Mapping[int, Probe] | None,
) -> tuple[tuple[Estimate, ...], str]:
    """Return what the adapted policy takes the task for, and what is to be said of that.

    Args:
        policy: The policy before adapting.
        adapted: The policy after, None if it has not adapted.
        tasks: The one task, in truth.
        probes: What reads it, by the number of adaptation episodes; None as long as they are
            being fitted, and empty where they cannot be.
    """
    if not policy.algorithm.adapts:
        return (), f"{policy.config.algorithm} does not adapt"
    if adapted is None:
        return (), "adapt first: nothing is known of the task yet"
    before, after = policy.task_params, adapted.task_params
    trained_on = tasks_of(policy.config)
    belief = policy.algorithm.belief(after)
    unsure = belief is not None and not bool(belief.is_used[0])
    note = "it does not act on this: it is too unsure, or there is nothing to win" if unsure else ""
    if probes:
        state = policy.algorithm.adapted_state(before, after).double().numpy()
        number = max(number for number in probes if number <= adapted.num_episodes)
        probe = probes[number]
        return read_estimates(trained_on, tasks, probe.predict(state), probe.error), note
    what = "what it takes the task for" if belief is None else "how far it may be off"
    waiting = f"{what} is being measured on other tasks, which takes a minute or two"
    note = note or (waiting if probes is None else f"{what} could not be measured")
    if belief is None:
        return (), note
    # The policy is told tasks on the scale of the family, also where it was trained on a variant.
    distribution = find_family(policy.config.env_id).distribution
    found = tuple(
        Estimate(
            parameter=name,
            true=float(tasks[name][0]),
            value=value,
            low=math.nan,
            high=math.nan,
            is_trained=trained_on[name].trained_on(float(tasks[name][0])),
        )
        for name, value in believed(distribution, belief).items()
    )
    return found, note
