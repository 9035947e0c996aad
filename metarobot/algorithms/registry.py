"""Algorithms by name, those of others, and configurations; imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gymnasium.spaces import Box, Space

from metarobot.algorithms.options import ALGORITHMS, OPTIONS
from metarobot.config import (
    COMMON_NAMES,
    AlgorithmOptions,
    RunConfig,
    TrainConfig,
    Value,
    require_known,
)
from metarobot.envs import find_family
from metarobot.envs.checks import nearest_name, show

if TYPE_CHECKING:
    from metarobot.algorithms.base import Algorithm
    from metarobot.learning.distributed import Workers
    from metarobot.policies import GaussianPolicy

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)


def is_algorithm_name(name: object) -> bool:
    """Whether a name is valid for an algorithm: letters, digits and _, a letter first."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def register_algorithm(name: str, algorithm_class: type[Algorithm[Any]]) -> None:
    """Register an algorithm by a name, like those of the package.

    Example::

        metarobot.register_algorithm("my_maml", MyMaml)
        metarobot.train("grip", algorithms=["my_maml"])

    Args:
        name: Letters, digits and _; its name on the command line and in run folders.
        algorithm_class: A subclass of `Algorithm` with a title and an options_class.

    Raises:
        ValueError: The name is not allowed or taken, or the class is not complete.
    """
    if not is_algorithm_name(name):
        raise ValueError(
            f"the name of an algorithm must be up to 64 letters, digits and _, beginning with a "
            f"letter, got {show(name)}"
        )
    if ALGORITHMS.get(name, algorithm_class) is not algorithm_class:
        raise ValueError(f"there is an algorithm {name!r} already: choose another name")
    _require_complete(name, algorithm_class)
    ALGORITHMS[name] = algorithm_class


def _require_complete(name: str, algorithm_class: type[Algorithm[Any]]) -> None:
    """Refuse a class that lacks an attribute that the package reads."""
    from metarobot.algorithms.base import Algorithm  # and torch, which the class has imported

    if not (isinstance(algorithm_class, type) and issubclass(algorithm_class, Algorithm)):
        raise ValueError(f"{name} must be a subclass of metarobot.Algorithm")
    if missing := sorted(algorithm_class.__abstractmethods__):
        raise ValueError(f"the algorithm {name} lacks {', '.join(missing)}")
    if not isinstance(getattr(algorithm_class, "title", None), str):
        raise ValueError(f"the algorithm {name} lacks a title, its name in tables and figures")
    options = getattr(algorithm_class, "options_class", None)
    if not (isinstance(options, type) and issubclass(options, AlgorithmOptions)):
        raise ValueError(f"the algorithm {name} lacks an options_class, of AlgorithmOptions")
    if free := [field.name for field in fields(options) if "bounds" not in field.metadata]:
        raise ValueError(
            f"the option {free[0]} of {name} states no bounds: declare it by number, integer, "
            "switch, choice or fixed of metarobot.config"
        )
    if taken := {*options.names()} & {*COMMON_NAMES, "algorithm", "options"}:
        raise ValueError(f"{min(taken)} of {name} is a field that all algorithms have already")


def require_algorithm(name: Any) -> None:
    """Refuse an unknown algorithm; ValueError with all names."""
    if not isinstance(name, str) or name not in ALGORITHMS:
        hint = nearest_name(str(name)[:100], ALGORITHMS)
        raise ValueError(
            f"algorithm must be one of {', '.join(ALGORITHMS)}, or one of yours once --module "
            f"names its module (in Python: import it), got {show(name)}{hint}"
        )


def algorithm_class(name: Any) -> type[Algorithm[Any]]:
    """Return the class of an algorithm; ValueError with all names if the name is unknown."""
    require_algorithm(name)
    return ALGORITHMS[name]


def options_class(name: Any) -> type[AlgorithmOptions]:
    """Return the options of an algorithm; ValueError with all names if the name is unknown."""
    require_algorithm(name)
    return OPTIONS.get(name) or ALGORITHMS[name].options_class


def make_algorithm(
    config: TrainConfig, policy: GaussianPolicy, workers: Workers | None = None
) -> Algorithm[Any]:
    """Return the algorithm of a configuration, bound to the processes that share its training."""
    kind = algorithm_class(config.algorithm)
    return kind(config, policy) if workers is None else kind(config, policy, workers)


def make_policy(config: TrainConfig) -> GaussianPolicy:
    """Lay out the policy's functional module that fits the family's observations and actions."""
    family = find_family(config.env_id)
    observe_task = algorithm_class(config.algorithm).observes_task
    return fit_policy(config, *family.spaces(observe_task=observe_task))


def fit_policy(config: TrainConfig, observations: Space, actions: Space) -> GaussianPolicy:
    """Lay out the policy's functional module that fits boxes of shape (O,) and (A,)."""
    if not isinstance(observations, Box) or not isinstance(actions, Box):
        raise ValueError(f"observations and actions must be boxes, got {observations}, {actions}")
    return algorithm_class(config.algorithm).make_policy(
        config, observations.low.tolist(), observations.high.tolist(), actions.shape[0]
    )


def option_readers() -> dict[str, tuple[str, ...]]:
    """Return the algorithms with each option that can be set, by the option's name."""
    readers: dict[str, tuple[str, ...]] = {}
    for name in ALGORITHMS:
        for option in options_class(name).names(free=True):
            readers[option] = (*readers.get(option, ()), name)
    return readers


def require_readers(options: Iterable[str], algorithms: Sequence[str]) -> None:
    """Refuse an option that is unknown, or that none of the algorithms that are trained reads."""
    readers = option_readers()
    require_known(options, readers, "option")
    for name in options:
        if not {*readers[name]} & {*algorithms}:
            raise ValueError(
                f"{name} is read by {', '.join(readers[name])}, none of which is trained: name one "
                "with algorithms, or leave the option out"
            )


def configure(run: RunConfig, algorithm: str) -> TrainConfig:
    """Return the configuration of one algorithm of a run; options of others are left out.

    Raises:
        ValueError: The algorithm or an option is unknown, or a value is not allowed.
    """
    of_algorithm = options_class(algorithm)
    require_known(run.options, option_readers(), "option")
    options = of_algorithm.chosen_from(run.options)
    return TrainConfig(**run.common, algorithm=algorithm, options=options)


def train_config(algorithm: str = "maml", **fields: Any) -> TrainConfig:
    """Return the configuration of one algorithm from common fields and its options by name.

    Example: ``train_config("promp", seed=3, inner_lr=0.2)``.

    Raises:
        ValueError: The algorithm does not read one of the fields, or a value is not allowed.
    """
    of_algorithm = options_class(algorithm)
    require_known(fields, (*COMMON_NAMES, *of_algorithm.names()), "configuration field")
    common = {name: value for name, value in fields.items() if name in COMMON_NAMES}
    options = {name: value for name, value in fields.items() if name not in COMMON_NAMES}
    return TrainConfig(**common, algorithm=algorithm, options=of_algorithm(**options))


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a configuration from `TrainConfig.to_dict`; every field must be there.

    Raises:
        ValueError: A key is missing or unknown, or a value is not allowed.
    """
    _require_names(values, (*COMMON_NAMES, "algorithm", "options"), "configuration field")
    of_algorithm = options_class(values["algorithm"])
    options = values["options"]
    if not isinstance(options, Mapping):
        raise ValueError(f"options must be a table, got {show(options)}")
    _require_names(options, of_algorithm.names(), "option")
    from metarobot.envs.scene import SceneRecord  # and MuJoCo
    from metarobot.envs.variants import Variant

    common = {name: values[name] for name in COMMON_NAMES}
    if isinstance(common["hidden_sizes"], list):
        common["hidden_sizes"] = tuple(common["hidden_sizes"])
    if isinstance(common["variant"], Mapping):
        common["variant"] = Variant.from_dict(common["variant"])
    if isinstance(common["scene"], Mapping):
        common["scene"] = SceneRecord.from_dict(common["scene"])
    return TrainConfig(
        **common, algorithm=values["algorithm"], options=of_algorithm(**dict(options))
    )


def _require_names(values: Mapping[str, Value], names: tuple[str, ...], kind: str) -> None:
    require_known(values, names, kind)
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"the configuration lacks {missing[0]}")
