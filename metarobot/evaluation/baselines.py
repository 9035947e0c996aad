"""References that are not trained for themselves: fine-tuning, and learning from scratch.

Both adapt by MAML's inner loop on the same trial episodes as the meta-learners do, from parameters
that nobody has prepared for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from metarobot.algorithms import configure
from metarobot.algorithms.maml import MamlOptions
from metarobot.evaluation.protocol import EvaluationConfig, Trial
from metarobot.presets import find_preset
from metarobot.training.functional_policy import initial_params
from metarobot.training.load import TrainedPolicy, TrainedRun

_TUNING_SEED_SHIFT = 1
"""Tasks on which step sizes are chosen are drawn with another seed than those reported on."""
_TUNING_TASKS = 20

STEP_SIZE_FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Multiples of inner_lr among which a reference's step size is chosen."""


def baselines(run: TrainedRun, config: EvaluationConfig) -> dict[str, TrainedPolicy]:
    """Return the references asked for that start from what domain randomisation learned, by name.

    Args:
        run: A run; without domain randomisation there is none.
        config: Which of them are measured, and how.
    """
    starts = {"from_scratch": from_scratch, "fine_tuning": fine_tuning}
    if "domain_randomisation" not in run.policies:
        return {}
    tuning = replace(config, seed=config.seed + _TUNING_SEED_SHIFT, num_tasks=_TUNING_TASKS)
    trial = Trial.of_split(run.env_id, "train", tuning, scene=run.scene)

    options = _maml_options(run)

    def return_after_one_step(trained: TrainedPolicy) -> float:
        return float(trial.score(trained, 1)[1].judged.returns.mean())

    return {
        name: with_best_step_size(
            start(run.policies["domain_randomisation"], options), return_after_one_step
        )
        for name, start in starts.items()
        if name in config.untrained
    }


def _maml_options(run: TrainedRun) -> MamlOptions:
    """Return how MAML adapts in a run; as the family's preset says where it was not trained."""
    if "maml" in run.policies:
        return cast(MamlOptions, run.policies["maml"].config.options)
    return cast(MamlOptions, configure(find_preset(run.env_id), "maml").options)


def fine_tuning(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy that starts from the policy of domain randomisation, and adapts it."""
    config = replace(domain_randomisation.config, algorithm="maml", options=options)
    return replace(domain_randomisation, config=config)


def from_scratch(domain_randomisation: TrainedPolicy, options: MamlOptions) -> TrainedPolicy:
    """Return the policy that starts from the parameters that training began with."""
    trained = fine_tuning(domain_randomisation, options)
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
    inner_lr = cast(MamlOptions, trained.config.options).inner_lr
    candidates = [
        replace(trained, config=trained.config.with_options(inner_lr=factor * inner_lr))
        for factor in STEP_SIZE_FACTORS
    ]
    return max(candidates, key=return_after_one_step)
