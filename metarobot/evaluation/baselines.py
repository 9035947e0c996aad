"""References that are not trained for themselves: fine-tuning, and learning from scratch.

Both adapt by MAML's inner loop on the same trial episodes as the meta-learners do, from parameters
that nobody has prepared for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metarobot.training.load import TrainedPolicy
from metarobot.training.policy_skeleton import initial_params

STEP_SIZE_FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Multiples of inner_lr among which a reference's step size is chosen."""


def fine_tuning(domain_randomisation: TrainedPolicy) -> TrainedPolicy:
    """Return the algorithm that starts from the policy of domain randomisation, and adapts it."""
    config = replace(domain_randomisation.config, algorithm="maml")
    return replace(domain_randomisation, config=config)


def from_scratch(domain_randomisation: TrainedPolicy) -> TrainedPolicy:
    """Return the algorithm that starts from the parameters that training began with."""
    trained = fine_tuning(domain_randomisation)
    return replace(trained, params=initial_params(trained.config, trained.policy))


def with_best_step_size(
    trained: TrainedPolicy, return_after_one_step: Callable[[TrainedPolicy], float]
) -> TrainedPolicy:
    """Return the algorithm with the step size that suits it best.

    The presets' step size was chosen for MAML, and learned with; a reference gets its own.

    Args:
        trained: A reference that adapts.
        return_after_one_step: Measures an algorithm, on tasks that nothing is reported on.
    """
    candidates = [
        replace(trained, config=replace(trained.config, inner_lr=factor * trained.config.inner_lr))
        for factor in STEP_SIZE_FACTORS
    ]
    return max(candidates, key=return_after_one_step)
