"""Every way to learn, by name."""

from metarobot.algorithms.algorithm import Algorithm
from metarobot.algorithms.registry import (
    ALGORITHMS,
    STANDARD_ALGORITHMS,
    algorithm_class,
    config_from_dict,
    configure,
    make_algorithm,
    option_readers,
    register_algorithm,
    train_config,
)

__all__ = [
    "ALGORITHMS",
    "STANDARD_ALGORITHMS",
    "Algorithm",
    "algorithm_class",
    "config_from_dict",
    "configure",
    "make_algorithm",
    "option_readers",
    "register_algorithm",
    "train_config",
]
