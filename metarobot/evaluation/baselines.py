"""References that are not trained for themselves: fine-tuning, and learning from scratch.

Both adapt by MAML's inner loop on the same trial episodes as the meta-learners do, from parameters
that nobody has prepared for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metarobot.training.load import TrainedAgent
from metarobot.training.policy_skeleton import initial_params

STEP_SIZE_FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Multiples of inner_lr among which a reference's step size is chosen."""


def fine_tuning(domain_randomisation: TrainedAgent) -> TrainedAgent:
    """Return the agent that starts from the policy of domain randomisation, and adapts it."""
    config = replace(domain_randomisation.config, agent="maml")
    return replace(domain_randomisation, config=config)


def from_scratch(domain_randomisation: TrainedAgent) -> TrainedAgent:
    """Return the agent that starts from the parameters that training began with."""
    agent = fine_tuning(domain_randomisation)
    return replace(agent, params=initial_params(agent.config, agent.policy))


def with_best_step_size(
    agent: TrainedAgent, return_after_one_step: Callable[[TrainedAgent], float]
) -> TrainedAgent:
    """Return the agent with the step size that suits it best.

    The presets' step size was chosen for MAML, and learned with; a reference gets its own.

    Args:
        agent: A reference that adapts.
        return_after_one_step: Measures an agent, on tasks that nothing is reported on.
    """
    candidates = [
        replace(agent, config=replace(agent.config, inner_lr=factor * agent.config.inner_lr))
        for factor in STEP_SIZE_FACTORS
    ]
    return max(candidates, key=return_after_one_step)
