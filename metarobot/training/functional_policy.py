"""The policy that a configuration trains, laid out from its family's bounds: no scene compiles."""

from __future__ import annotations

from gymnasium.spaces import Box, Space

from metarobot.algorithms import algorithm_class
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.policies import GaussianPolicy, Params
from metarobot.rollout.seeding import Phase, torch_generator


def make_policy(config: TrainConfig) -> GaussianPolicy:
    """Lay out the policy's functional module that fits the family's observations and actions.

    Args:
        config: What is trained; the oracle also observes the task parameters.

    Raises:
        TaskError: No family has the configuration's id.
    """
    family = find_family(config.env_id)
    observe_task = algorithm_class(config.algorithm).observes_task
    return fit_policy(config, *family.spaces(observe_task=observe_task))


def fit_policy(config: TrainConfig, observations: Space, actions: Space) -> GaussianPolicy:
    """Lay out the policy's functional module that fits an environment's spaces, (O,) and (A,).

    Raises:
        ValueError: A space is no box.
    """
    if not isinstance(observations, Box) or not isinstance(actions, Box):
        raise ValueError(f"observations and actions must be boxes, got {observations}, {actions}")
    return algorithm_class(config.algorithm).make_policy(
        config, observations.low.tolist(), observations.high.tolist(), actions.shape[0]
    )


def initial_params(config: TrainConfig, policy: GaussianPolicy) -> Params:
    """Draw the parameters that training begins with."""
    return policy.initial_params(torch_generator(config.seed, 0, Phase.INITIALISATION))
