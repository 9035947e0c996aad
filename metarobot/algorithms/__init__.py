"""Meta-RL algorithms and references, by name; imports no torch."""

from metarobot.algorithms.options import ALGORITHMS, STANDARD_ALGORITHMS
from metarobot.algorithms.registry import (
    algorithm_class,
    config_from_dict,
    configure,
    fit_policy,
    is_algorithm_name,
    make_algorithm,
    make_policy,
    option_readers,
    options_class,
    register_algorithm,
    require_algorithm,
    require_readers,
    train_config,
)

__all__ = [
    "ALGORITHMS",
    "STANDARD_ALGORITHMS",
    "algorithm_class",
    "config_from_dict",
    "configure",
    "fit_policy",
    "is_algorithm_name",
    "make_algorithm",
    "make_policy",
    "option_readers",
    "options_class",
    "register_algorithm",
    "require_algorithm",
    "require_readers",
    "train_config",
]
