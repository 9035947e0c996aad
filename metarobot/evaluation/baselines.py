"""References that are not trained for themselves: fine-tuning, and learning from scratch.

Both adapt by MAML's inner loop on the same trial episodes as the meta-learners do, from parameters
that nobody has prepared for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from metarobot.algorithms.maml import MamlOptions
from metarobot.training.load import TrainedPolicy
from metarobot.training.meta_trainer import initial_params

STEP_SIZE_FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Multiples of inner_lr among which a reference's step size is chosen."""


def fine_tuning(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy of domain randomisation as one that MAML's inner loop adapts."""
    config = replace(domain_randomisation.config, algorithm="maml", options=options)
    return replace(domain_randomisation, config=config)


def from_scratch(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the same with the parameters that training began with."""
    trained = fine_tuning(domain_randomisation, options)
    return replace(trained, params=initial_params(trained.config, trained.policy))


def with_best_step_size(
    trained: TrainedPolicy, return_after_one_step: Callable[[TrainedPolicy], float]
) -> TrainedPolicy:
    """Return the reference with the step size that suits it best.

    The presets' step size was chosen for MAML, and learned with; a reference gets its own.

    Args:
        trained: A reference that adapts.
        return_after_one_step: Measures a policy, on tasks that nothing is reported on.
    """
    inner_lr = cast(MamlOptions, trained.config.options).inner_lr
    candidates = [
        replace(trained, config=trained.config.with_options(inner_lr=factor * inner_lr))
        for factor in STEP_SIZE_FACTORS
    ]
    return max(candidates, key=return_after_one_step)
