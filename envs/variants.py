"""Variants: a task family under other conditions, from a TOML file.

A variant changes the distribution of tasks and the disturbances of an episode.  The policy's
interface stays the family's, so that a policy trained on the family can be measured on the variant.
docs/variants.md describes the format; its types and bounds are those of :func:`variant_format`.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from metarobot.envs.checks import LONGEST_VALUE, show
from metarobot.envs.disturbances import Change, Disturbances, Push
from metarobot.envs.registration import FAMILIES, find_native, short_names
from metarobot.envs.tasks import TaskDistribution, TaskError, Tasks
from metarobot.envs.vector_env import TaskVectorEnv
from metarobot.io import FolderError, read_file

SHIPPED_FOLDER = Path(__file__).parent / "shipped_variants"
MAX_FILE_BYTES = 16_384
MAX_FORCE_N = 1000.0
"""Strongest push allowed."""
_GREATEST_FACTOR = 1000.0

Given = Mapping[str, Any]
"""Values of a variant that were given, of the types of its format."""


class VariantError(TaskError):
    """A variant is not allowed by its family or by the format; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A task family under other conditions."""

    name: str
    """Its name in lists, titles and run folders."""
    env_id: str
    """Registered id of its task family."""
    distribution: TaskDistribution
    """The family's task parameters with the variant's ranges."""
    disturbances: Disturbances
    """Disturbances of an episode."""
    description: str = ""
    """Its difference from the family, in one line."""

    @property
    def vector_class(self) -> type[TaskVectorEnv]:
        """The native batch of its family."""
        return find_native(self.env_id, "a variant")

    @property
    def words(self) -> str:
        """Its name for people: "oily_table" -> "oily table"."""
        return self.name.replace("_", " ")

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], source: str = "variant", name: str | None = None
    ) -> Variant:
        """Build a variant from a document, as `to_dict` returns it or a file holds it.

        Args:
            values: The document.
            source: Its name in errors.
            name: The variant's name, unless the document gives one.

        Raises:
            VariantError: It is not valid; the message is one line with the key and the value.
        """
        try:
            env_id = _read_family(values)
            family = find_native(env_id, "a variant")
            given = _convert({"name": name, **values}, variant_format(family))
            distribution = _read_distribution(given, family.distribution)
            return cls(
                name=given["name"],
                env_id=env_id,
                distribution=distribution,
                disturbances=_read_disturbances(given, family, distribution),
                description=given.get("description", ""),
            )
        except TaskError as error:
            raise VariantError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the variant as values that JSON and TOML can hold, times in control steps."""
        family, settings = self.vector_class.distribution, self.disturbances
        changed = [p for p in self.distribution.parameters if p != family[p.name]]
        disturbances: dict[str, Any] = {
            "action_delay_steps": settings.action_delay_steps,
            "observation_dropout": settings.observation_dropout,
            "sensor_noise": dict(settings.sensor_noise),
        }
        if push := settings.push:
            when = {"at_steps": list(push.at_steps)} if push.at_steps else None
            disturbances["push"] = {
                "force_n": push.force_n,
                "duration_s": push.duration_s,
                **(when or {"probability": push.probability}),
            }
        tables: dict[str, dict[str, Any]] = {
            "fixed": {p.name: p.nominal for p in changed if not p.varies},
            "ranges": {
                p.name: {
                    "train": list(p.train),
                    "gaps": [list(pair) for pair in p.gaps],
                    "extrapolation": [list(pair) for pair in p.extrapolation],
                }
                for p in changed
                if p.varies
            },
            "disturbances": {name: value for name, value in disturbances.items() if value},
        }
        if change := settings.change:
            tables["change"] = {
                "at_step": change.at_step,
                "values": dict(change.values),
                "factors": dict(change.factors),
            }
        words = {"name": self.name, "description": self.description, "family": self.env_id}
        return {**words, **{name: table for name, table in tables.items() if table}}


def shipped_variants() -> dict[str, Path]:
    """Return the file of every variant that comes with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.toml"))}


def find_variant(name: Variant | str | Path) -> Variant:
    """Return the variant that a name or a path stands for; a `Variant` as it is.

    Args:
        name: Name of a shipped variant, or the path of a .toml file.

    Raises:
        VariantError: No such variant exists, or it is not valid.
    """
    if isinstance(name, Variant):
        return name
    if not isinstance(name, str | Path):
        raise VariantError(
            "variant must be a Variant, the name of a shipped one or the path of a .toml file, "
            f"got a {type(name).__name__}"
        )
    path, name, shipped = Path(name), str(name), shipped_variants()
    if name in shipped:
        return load_variant(shipped[name])
    if path.suffix == ".toml" or len(path.parts) > 1 or path.is_file():
        return load_variant(path)
    raise VariantError(
        f"no variant {name!r}{_nearest(name, shipped)}; shipped are {', '.join(shipped)}, "
        "or name a .toml file"
    )


def load_variant(path: Path) -> Variant:
    """Read a variant from a TOML file; VariantError if it cannot be read or is not valid."""
    try:
        data = read_file(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        raise VariantError(f"{path}: there is no such file") from None
    except OSError as error:
        raise VariantError(f"{path}: {error.strerror}") from error
    except FolderError as error:
        raise VariantError(str(error)) from None
    return parse_variant(data, str(path), re.sub(r"[^\w-]+", "_", path.stem, flags=re.ASCII))


def parse_variant(data: bytes, source: str, name: str) -> Variant:
    """Read a variant from the bytes of a TOML file; source and name as of `Variant.from_dict`."""
    try:
        values = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOML's own error is a ValueError
        raise VariantError(f"{source}: {str(error)[:300]}") from error
    return Variant.from_dict(values, source, name)


@cache
def variant_format(family: type[TaskVectorEnv]) -> type[msgspec.Struct]:
    """Return the format of a family's variants: all keys, and the bounds of their values."""
    dt_s, last = family.control_step_s(), family.default_horizon - 1
    values = {p.name: _number(*p.allowed) for p in family.distribution.parameters}
    spans: dict[str, float] = {}  # widest element of each unit
    for element in family.observation_elements:
        spans[element.unit] = max(spans.get(element.unit, 0.0), element.high - element.low)
    disturbances = {
        "action_delay_steps": _integer(0, last),
        "observation_dropout": _number(0.0, 1.0),
        "sensor_noise": _table({unit: _number(0.0, span) for unit, span in spans.items()}),
    }
    if family.push_body is not None:
        disturbances["push"] = _table(
            {
                "force_n": _number(0.0, MAX_FORCE_N),
                "duration_s": _number(1e-3, round((last + 1) * dt_s, 9)),
                "probability": _number(0.0, 1.0),
                "at_s": list[_number(0.0, round(last * dt_s, 9))],
                "at_steps": list[_integer(0, last)],
            },
            required=("force_n", "duration_s"),
        )
    change = {
        "at_s": _number(dt_s, round(last * dt_s, 9)),
        "at_step": _integer(1, last),
        "values": _table(values),
        "factors": _table(dict.fromkeys(values, _number(-_GREATEST_FACTOR, _GREATEST_FACTOR))),
    }
    keys = {
        "family": str,
        "description": _text(r"[^\x00-\x1f\x7f-\xa0\xad\u2028\u2029]*"),
        "name": _text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}"),
        "fixed": _table(values),
        "ranges": _table({name: _ranges(value) for name, value in values.items()}),
        "disturbances": _table(disturbances),
        "change": _table(change),
    }
    return _table(keys, required=("family", "name"))


def _table(fields: Mapping[str, Any], required: Sequence[str] = ()) -> type[msgspec.Struct]:
    """Return a table with these keys; its fields are numbered, since a key may be a unit."""
    ordered = sorted(fields, key=lambda key: key not in required)
    names = {f"field{i}": key for i, key in enumerate(ordered)}
    return msgspec.defstruct(
        "table",
        [
            (name, fields[key]) if key in required else (name, fields[key] | UnsetType, UNSET)
            for name, key in names.items()
        ],
        rename=names,
        forbid_unknown_fields=True,
    )


def _ranges(value: Any) -> type[msgspec.Struct]:
    interval = tuple[value, value]
    keys = {"train": interval, "gaps": list[interval], "extrapolation": list[interval]}
    return _table(keys, required=("train",))


def _number(low: float, high: float) -> Any:
    return Annotated[float, Meta(ge=low, le=high)]


def _integer(low: int, high: int) -> Any:
    return Annotated[int, Meta(ge=low, le=high)]


def _text(pattern: str) -> Any:
    return Annotated[str, Meta(pattern=f"^{pattern}$")]


def _convert(values: Given, kind: type[msgspec.Struct]) -> Given:
    """Return the values as the types of a format, or raise a TaskError with key and value."""
    try:
        return msgspec.to_builtins(msgspec.convert(values, kind))
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `$")
        path: list[str] = re.findall(r"[^.\[\]`]+", place)
        value: Any = values
        table: Any = kind
        for part in path:
            value = value[int(part) if isinstance(value, list) else part]
            table = _tables(table).get(part)
        if match := re.match(r"Object contains unknown field `(.*)`$", why, re.DOTALL):
            path, value, names = [*path, match[1]], value.get(match[1]), _tables(table)
            why = f"unknown key{_nearest(match[1], names)}, allowed are {', '.join(names)}"
        raise _refusal(path, why, value) from None


def _tables(kind: Any) -> dict[str, Any]:
    """Return the inner table of each key of a table, None for those of a value."""
    return {
        field.encode_name: next(
            (k for k in get_args(field.type) if isinstance(k, msgspec.StructMeta)), None
        )
        for field in (msgspec.structs.fields(kind) if kind else ())
    }


def _refusal(path: Sequence[str], why: str, value: Any) -> TaskError:
    """Return an error with a key as TOML writes it: a part with odd characters is in quotes."""
    parts = (part[:LONGEST_VALUE] for part in path)
    key = ".".join(p if re.fullmatch(r"[\w-]+", p, re.ASCII) else json.dumps(p) for p in parts)
    return TaskError(f"{key} = {show(value)}: {why}" if path else why)


def _nearest(name: Any, names: Any) -> str:
    near = difflib.get_close_matches(str(name)[:100], [*names], n=1, cutoff=0.0)
    return f", nearest is {near[0]!r}" if near else ""


def _read_family(values: Any) -> str:
    """Return the id of the family that a document names."""
    if not isinstance(values, Mapping):
        raise TaskError(f"must be a table, got {show(values)}")
    ids, name = short_names(), values.get("family")
    if not isinstance(name, str) or name not in {*ids, *FAMILIES}:
        why = f"must be one of {', '.join(ids)}{_nearest(name, ids)}, or one of yours once --module"
        raise _refusal(["family"], f"{why} names its module (in Python: import it)", name)
    return ids.get(name, name)


def _read_distribution(given: Given, family: TaskDistribution) -> TaskDistribution:
    """Return the family's task parameters, each with its fixed value or its ranges."""
    fixed, ranges = given.get("fixed", {}), given.get("ranges", {})
    family.with_values(fixed)  # refuses values that are not among a parameter's choices
    parameters = []
    for parameter in family.parameters:
        name, changes = parameter.name, {}
        if name in fixed:
            if name in ranges:
                raise _refusal(["fixed", name], f"is given by ranges.{name} too", fixed[name])
            point = {"nominal": fixed[name], "train": (fixed[name], fixed[name])}
            changes = {**point, "gaps": (), "extrapolation": (), "choices": ()}
        elif name in ranges:
            held_out = {
                k: tuple(sorted(ranges[name].get(k, ()))) for k in ("gaps", "extrapolation")
            }
            train = tuple(ranges[name]["train"])
            changes = {"train": train, "nominal": float(np.clip(parameter.nominal, *train))}
            changes |= held_out
        try:
            parameters.append(replace(parameter, **changes))
        except TaskError as error:
            raise TaskError(f"ranges.{name}: {error}") from None
    return TaskDistribution(tuple(parameters))


def _read_disturbances(
    given: Given, family: type[TaskVectorEnv], distribution: TaskDistribution
) -> Disturbances:
    """Return the disturbances, with times in control steps."""
    table, dt_s = given.get("disturbances", {}), family.control_step_s()
    return Disturbances(
        action_delay_steps=table.get("action_delay_steps", 0),
        observation_dropout=table.get("observation_dropout", 0.0),
        sensor_noise=tuple(table.get("sensor_noise", {}).items()),
        push=_read_push(table["push"], dt_s) if "push" in table else None,
        change=_read_change(given["change"], dt_s, distribution) if "change" in given else None,
    )


def _read_push(table: Given, dt_s: float) -> Push:
    times = [key for key in ("probability", "at_s", "at_steps") if key in table]
    if len(times) != 1:
        raise _refusal(["disturbances", "push"], "give one of probability, at_s, at_steps", table)
    steps = sorted(table.get("at_steps", [round(time / dt_s) for time in table.get("at_s", ())]))
    if any((b - a) * dt_s < table["duration_s"] for a, b in pairwise(steps)):
        why = f"pushes of {table['duration_s']:g} s must not overlap"
        raise _refusal(["disturbances", "push", times[0]], why, table[times[0]])
    return Push(
        force_n=table["force_n"],
        duration_s=table["duration_s"],
        probability=table.get("probability", 0.0),
        at_steps=tuple(steps),
    )


def _read_change(table: Given, dt_s: float, distribution: TaskDistribution) -> Change:
    values, factors = table.get("values", {}), table.get("factors", {})
    if ("at_s" in table) == ("at_step" in table):
        raise _refusal(["change"], "give one of at_s and at_step", table)
    if not values and not factors:
        raise _refusal(["change"], "name a task parameter in values or factors", table)
    if both := {*values} & {*factors}:
        raise _refusal(["change"], f"{both.pop()} is in values and in factors", table)
    distribution.with_values(values)  # refuses values that are not among a parameter's choices
    for name, factor in factors.items():
        ends = np.array([*distribution[name].train, *np.ravel(distribution[name].extrapolation)])
        try:
            TaskDistribution((distribution[name],)).validate(Tasks({name: factor * ends}))
        except TaskError as error:
            raise _refusal(["change", "factors", name], str(error), factor) from None
    at_step = table.get("at_step", round(table.get("at_s", 0.0) / dt_s))
    return Change(at_step=at_step, values=tuple(values.items()), factors=tuple(factors.items()))
