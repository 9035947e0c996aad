"""The options of `metarobot train`: common fields, and what any of the algorithms reads, flat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, make_dataclass
from typing import Annotated, Any, get_type_hints

import tyro

from metarobot.algorithms import ALGORITHMS, option_readers, require_readers
from metarobot.config import COMMON_NAMES, CommonConfig, RunConfig, Value, docstrings, find_preset

_HIDDEN = ("env_id", "variant", "scene")
"""Common fields that are no options: the preset names the family; --variant and --scene a file."""


def preset_choice(presets: Mapping[str, RunConfig]) -> Any:
    """Build the choice among presets, each with its own values of all options.

    Args:
        presets: By the name that is typed.

    Returns:
        A type for tyro, as it is needed once the algorithms from outside are registered.
    """
    options = _options_class()
    defaults = {
        name: options(preset=name, **preset.common, **_preset_options(preset))
        for name, preset in presets.items()
    }
    return Annotated[tyro.extras.subcommand_type_from_defaults(defaults), tyro.conf.arg(name="")]


def _options_class() -> type:
    """Build the dataclass of all options."""
    hidden = tyro.conf.Suppress[tyro.conf.Fixed[str]]
    declared: list[tuple[str, Any, Any]] = [("preset", hidden, field(default=""))]
    kinds, texts = get_type_hints(CommonConfig), docstrings(CommonConfig)
    for each in dataclasses.fields(CommonConfig):
        kind = Annotated[kinds[each.name], tyro.conf.arg(help=texts[each.name])]
        if each.name in _HIDDEN:
            kind = tyro.conf.Suppress[tyro.conf.Fixed[kinds[each.name]]]
        declared.append((each.name, kind, field(default=each.default)))
    for name, readers in option_readers().items():
        options = ALGORITHMS[readers[0]].options_class
        text = f"{docstrings(options).get(name, '')} Read by {', '.join(readers)}."
        kind = Annotated[get_type_hints(options)[name], tyro.conf.arg(help=text.strip())]
        declared.append((name, kind, field(default=_own_values()[name])))
    return make_dataclass("TrainOptions", declared, frozen=True, kw_only=True)


def _preset_options(preset: RunConfig) -> dict[str, Value]:
    """Return the value of every option for a preset: its own, or else the algorithms'."""
    return {**_own_values(), **preset.options}


def _own_values() -> dict[str, Value]:
    """Return the value of every option where no preset says another: its first reader's."""
    defaults = {name: algorithm.options_class() for name, algorithm in ALGORITHMS.items()}
    return {name: getattr(defaults[readers[0]], name) for name, readers in option_readers().items()}


def named_options(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the options that stand among arguments, such as ``inner_lr``."""
    words = {word.partition("=")[0].replace("_", "-") for word in arguments}
    spelled = {name: name.replace("_", "-") for name in option_readers()}
    return tuple(name for name, word in spelled.items() if {f"--{word}", f"--no-{word}"} & words)


def preset_config(given: Any) -> RunConfig:
    """Return the preset that was named, with the common fields that were given."""
    common = {name: getattr(given, name) for name in COMMON_NAMES}
    return dataclasses.replace(find_preset(given.preset), **common)


def given_options(values: Any, names: Iterable[str], algorithms: Sequence[str]) -> dict[str, Value]:
    """Return the options that were given.

    Args:
        values: All options, with the values that were parsed.
        names: Those that were given.
        algorithms: Who is trained.

    Raises:
        ValueError: None of the algorithms reads one of them; the message says who does.
    """
    options = {name: getattr(values, name) for name in names}
    require_readers(options, algorithms)
    return options
