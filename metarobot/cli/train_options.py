"""The options of `metarobot train`: common fields, and what any of the algorithms reads, flat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro

from metarobot.algorithms import ALGORITHMS, algorithm_class, option_readers
from metarobot.config import COMMON_NAMES, CommonConfig, RunConfig
from metarobot.options import Value, docstrings
from metarobot.presets import PRESETS

_HIDDEN = ("env_id", "variant")
"""Common fields that are no options: the preset names the family, and --variant a file."""


def _options_class() -> type:
    """Build the dataclass of all options: each algorithm's own value unless one is given."""
    declared: list[tuple[str, Any, Any]] = []
    common, texts = get_type_hints(CommonConfig), docstrings(CommonConfig)
    for each in dataclasses.fields(CommonConfig):
        kind = Annotated[common[each.name], tyro.conf.arg(help=texts[each.name])]
        if each.name in _HIDDEN:
            kind = tyro.conf.Suppress[tyro.conf.Fixed[common[each.name]]]
        declared.append((each.name, kind, field(default=each.default)))
    declared.append(
        ("preset", tyro.conf.Suppress[tyro.conf.Fixed[str]], field(default=next(iter(PRESETS))))
    )
    for name, readers in option_readers().items():
        options = ALGORITHMS[readers[0]].options_class
        text = f"{docstrings(options).get(name, '')} Read by {', '.join(readers)}."
        kind = Annotated[
            get_type_hints(options)[name] | None,
            tyro.conf.arg(help=text.strip(), help_behavior_hint="(default: each algorithm's own)"),
        ]
        declared.append((name, kind, field(default=None)))
    return make_dataclass("TrainOptions", declared, frozen=True, kw_only=True)


def _presets() -> Any:
    """Build the choice among the presets, each with its own values of the common fields."""
    options = _options_class()
    return Annotated[
        tyro.extras.subcommand_type_from_defaults(
            {name: options(preset=name, **preset.common) for name, preset in PRESETS.items()}
        ),
        tyro.conf.arg(name=""),
    ]


if TYPE_CHECKING:
    Preset = Any
else:
    Preset = _presets()


def preset_config(given: Any) -> RunConfig:
    """Return the preset that was named, with the common fields that were given."""
    common = {name: getattr(given, name) for name in COMMON_NAMES}
    return dataclasses.replace(PRESETS[given.preset], **common)


def given_options(given: Any, algorithms: Iterable[str]) -> dict[str, Value]:
    """Return the options that were given by name.

    Raises:
        ValueError: None of the algorithms reads one of them; the message says who does.
    """
    chosen = [algorithm_class(name).options_class.names(free=True) for name in algorithms]
    options = {}
    for name, readers in option_readers().items():
        value = getattr(given, name)
        if value is None:
            continue
        if not any(name in names for names in chosen):
            raise ValueError(
                f"--{name.replace('_', '-')} is read by {', '.join(readers)}, none of which is "
                "trained: name one with --algorithms, or leave the option out"
            )
        options[name] = value
    return options
