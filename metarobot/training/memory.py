"""Memory for training and evaluation, estimated before anything is allocated.

Each number of a configuration has its own bounds; here their products are bounded by the memory of
the machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from metarobot.algorithms import algorithm_class, make_policy
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.envs.checks import require_memory
from metarobot.learning.chunks import task_chunks
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.meta_update import STEPS_KEPT
from metarobot.machine import num_threads

_BYTES_PER_STEP = 16
"""Of a control step that is computed now, for every input and output of a layer: the graph for
derivatives. Measured: 4 to 20, by algorithm."""
_BYTES_PER_ELEMENT = 16
"""Of every element of the observation, the action and the outcome of a control step that is stored,
with copies."""
_BYTES_PER_KEPT_ELEMENT = 40
"""Of every element of a control step that `finish` learns from: all are in memory at once, as
collected and as the model's input."""
_BYTES_PER_PARAMETER = 32
"""Of every parameter of every task: adapted parameters, gradients, sums in double precision."""


def require_training_memory(configs: Iterable[TrainConfig], workers: Workers = ALONE) -> None:
    """Refuse configurations that do not fit in memory; each process checks its share.

    Raises:
        ValueError: One needs too much; the message names its sizes.
        WorkerError: The tasks cannot be shared equally.
    """
    for config in configs:
        num_tasks, num_episodes = config.block_shape
        held = len(workers.share(num_tasks))
        algorithm = algorithm_class(config.algorithm)
        _require(
            config,
            num_tasks=held,
            num_episodes=num_episodes,
            num_blocks=config.adaptation_steps + 1,
            num_sims=algorithm.num_training_simulations(held, num_episodes),
            num_kept_steps=algorithm.finish_steps(config.total_steps) // workers.count,
            way_out="lower num_tasks, episodes_per_task, num_adaptation_steps or hidden_sizes, or "
            "share the tasks out with torchrun",
        )


def require_evaluation_memory(
    config: TrainConfig, num_tasks: int, num_episodes: int, way_out: str
) -> None:
    """Refuse to run more episodes of an algorithm at once, N x E, than there is memory for.

    Raises:
        ValueError: It needs too much; the message names the sizes and the way out.
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
    num_kept_steps: int = 0,
    way_out: str,
) -> None:
    """Require memory for simulations, episodes, the tasks that are computed now, and parameters."""
    family = find_family(config.env_id)
    policy = make_policy(config)
    shapes = policy.shapes.values()
    num_parameters = sum(prod(shape) for shape in shapes)
    num_units = sum(sum(shape) for shape in shapes if len(shape) == 2)
    num_elements = len(policy.observation_centre) + policy.action_size + 4
    steps_per_task = num_blocks * num_episodes * family.default_horizon
    num_steps = num_tasks * steps_per_task
    # Graphs exist for one chunk of tasks on each thread at a time, and for the kept steps.
    largest = max(chunk.stop - chunk.start for chunk in task_chunks(num_tasks, steps_per_task))
    computed = num_threads() * largest * steps_per_task
    at_once = min(computed + STEPS_KEPT, num_steps)
    blocks = f"{num_blocks} x {num_tasks} x {num_episodes} x {family.default_horizon}"
    parts = {
        f"{num_sims} simulations": num_sims * family.simulation_bytes(),
        f"{blocks} control steps": num_steps * num_elements * _BYTES_PER_ELEMENT
        + at_once * num_units * _BYTES_PER_STEP,
        f"{num_tasks} x {num_parameters} parameters": num_tasks
        * num_parameters
        * _BYTES_PER_PARAMETER,
    }
    if num_kept_steps:
        kept = num_kept_steps * num_elements * _BYTES_PER_KEPT_ELEMENT
        parts[f"{num_kept_steps} control steps that are kept"] = kept
    require_memory(parts, way_out)
