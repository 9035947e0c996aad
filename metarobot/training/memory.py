"""How much memory training and measuring take, estimated before anything is allocated.

The numbers of a configuration are bounded one by one where they stand; what they multiply to is
bounded here, by the memory that there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from metarobot.algorithms import algorithm_class
from metarobot.config import TrainConfig
from metarobot.envs import FAMILIES
from metarobot.envs.memory import own_simulation_bytes, require_memory
from metarobot.learning.distributed import ALONE, Workers
from metarobot.policies import GaussianPolicy
from metarobot.training.meta_trainer import num_simulations

_BYTES_PER_STEP = 12
"""Of a control step, for every input and output of a layer: what is stored and what derivatives
are taken from. Measured: 4 to 20, by algorithm."""
_BYTES_PER_PARAMETER = 32
"""Of every parameter of every task: adapted parameters, gradients, sums in double precision."""


def require_training_memory(configs: Iterable[TrainConfig], workers: Workers = ALONE) -> None:
    """Refuse configurations that this machine has no memory for.

    Args:
        configs: What is to be trained, one after the other.
        workers: The processes that share each; the check is of what this one holds.

    Raises:
        ValueError: One takes too much; the message names its sizes.
        WorkerError: The tasks cannot be shared equally.
    """
    for config in configs:
        if config.env_id in FAMILIES:  # else `make_env` says what there is
            num_tasks, num_episodes = config.block_shape
            _require(
                config,
                num_tasks=len(workers.share(num_tasks)),
                num_episodes=num_episodes,
                num_blocks=config.adaptation_steps + 1,
                num_sims=num_simulations(config, workers),
                way_out="lower num_tasks, episodes_per_task, num_adaptation_steps or hidden_sizes, "
                "or share the tasks out with torchrun",
            )


def require_trial_memory(
    config: TrainConfig, num_tasks: int, num_episodes: int, way_out: str
) -> None:
    """Refuse to put an algorithm through more episodes at once than this machine has memory for.

    Args:
        config: What it was trained with.
        num_tasks: N.
        num_episodes: E, on each task at once.
        way_out: What to make smaller.

    Raises:
        ValueError: It takes too much; the message names the sizes.
    """
    _require(
        config,
        num_tasks=num_tasks,
        num_episodes=num_episodes,
        num_blocks=1,
        num_sims=num_tasks * num_episodes,
        way_out=way_out,
    )


def _require(
    config: TrainConfig,
    *,
    num_tasks: int,
    num_episodes: int,
    num_blocks: int,
    num_sims: int,
    way_out: str,
) -> None:
    """Require memory for simulations, for what is stored of episodes, and for parameters."""
    family = FAMILIES[config.env_id].vector_class
    shapes = _policy_of(config).shapes.values()
    num_parameters = sum(prod(shape) for shape in shapes)
    num_units = sum(sum(shape) for shape in shapes if len(shape) == 2)
    num_steps = num_blocks * num_tasks * num_episodes * family.default_horizon
    blocks = f"{num_blocks} x {num_tasks} x {num_episodes} x {family.default_horizon}"
    parts = {
        f"{num_sims} simulations": num_sims * own_simulation_bytes(family),
        f"{blocks} control steps": num_steps * num_units * _BYTES_PER_STEP,
        f"{num_tasks} x {num_parameters} parameters": num_tasks
        * num_parameters
        * _BYTES_PER_PARAMETER,
    }
    require_memory(parts, way_out)


def _policy_of(config: TrainConfig) -> GaussianPolicy:
    """Lay out the policy that a configuration trains; that takes no memory."""
    family = FAMILIES[config.env_id].vector_class
    observes = algorithm_class(config.algorithm).observes_task
    told = family.distribution.encoded_bounds.shape[1] if observes else 0
    size = len(family.observation_elements) + told
    low, high, num_actions = [-1.0] * size, [1.0] * size, len(family.action_elements)
    return algorithm_class(config.algorithm).make_policy(config, low, high, num_actions)
