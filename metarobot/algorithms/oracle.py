"""The oracle: what is possible for one policy that is told the task."""

from dataclasses import dataclass
from typing import Any, cast

from metarobot.algorithms.domain_randomisation import DomainRandomisation, ReferenceOptions
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.options import switch
from metarobot.policies import TaskMLP


@dataclass(frozen=True, kw_only=True)
class OracleOptions(ReferenceOptions):
    """What the oracle reads."""

    task_products: bool = switch(True)
    """Whether its first layer also sees the products of observation and task."""


class Oracle(DomainRandomisation):
    """Domain randomisation that observes the task parameters."""

    title = "oracle"
    observes_task = True
    options_class = OracleOptions
    policy_class = TaskMLP

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return how many elements the task has, and what the first layer sees of them."""
        task_size = find_family(config.env_id).distribution.encoded_bounds.shape[1]
        task_products = cast(OracleOptions, config.options).task_products
        return {"task_size": task_size, "task_products": task_products}
