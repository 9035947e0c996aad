"""What there is to tell of a policy at work: outcomes, changes of the action, estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.envs import find_family
from metarobot.evaluation.belief import believed
from metarobot.evaluation.explanation import ActionChange, Estimate
from metarobot.play.episode import Result
from metarobot.play.state import Outcomes
from metarobot.policies import repeat_params
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
    policy: AdaptablePolicy, adapted: AdaptablePolicy | None, task: Mapping[str, float]
) -> tuple[tuple[Estimate, ...], str]:
    """Return what the adapted policy takes the task for, and what is to be said of that.

    Args:
        policy: The policy before adapting.
        adapted: The policy after, None if it has not adapted.
        task: The true values by name.
    """
    algorithm, name = policy.algorithm, policy.config.algorithm
    belief = algorithm.belief(repeat_params((adapted or policy).params, 1))
    if belief is None:
        read = "; metarobot explain reads one from what adapting changes"
        return (), f"{name} states no estimate{read * algorithm.adapts}"
    if adapted is None:
        return (), "adapt first: nothing is known of the task yet"
    note = "" if bool(belief.is_used[0]) else "too unsure of it: it acts as before adapting"
    return believed(find_family(policy.config.env_id).distribution, belief, task), note
