"""Meta-RL algorithms and references, by name."""

from metarobot.algorithms.base import AdaptationStep, Algorithm, Collect, adapt_in_steps, adapt_once
from metarobot.algorithms.registry import (
    ALGORITHMS,
    STANDARD_ALGORITHMS,
    algorithm_class,
    config_from_dict,
    configure,
    fit_policy,
    initial_params,
    is_algorithm_name,
    make_algorithm,
    make_policy,
    option_readers,
    register_algorithm,
    require_readers,
    train_config,
)

__all__ = [
    "ALGORITHMS",
    "STANDARD_ALGORITHMS",
    "AdaptationStep",
    "Algorithm",
    "Collect",
    "adapt_in_steps",
    "adapt_once",
    "algorithm_class",
    "config_from_dict",
    "configure",
    "fit_policy",
    "initial_params",
    "is_algorithm_name",
    "make_algorithm",
    "make_policy",
    "option_readers",
    "register_algorithm",
    "require_readers",
    "train_config",
]
