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
from typing import Annotated, Any, get_args, get_origin

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from metarobot.envs.checks import LONGEST_VALUE, after_number, show
from metarobot.envs.disturbances import Change, Disturbances, Push
from metarobot.envs.registration import FAMILIES, find_family, short_names
from metarobot.envs.tasks import TaskDistribution, TaskError, TaskParameter
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
        return find_family(self.env_id)

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
            source: What it is called in errors.
            name: Its name, unless the document gives one.

        Raises:
            VariantError: Something is wrong; the message is one line with the key and the value.
        """
        try:
            family = find_family(_read_family(values))
            given = _convert({"name": name, **values}, variant_format(family))
            distribution = TaskDistribution(
                tuple(_read_parameter(p, given) for p in family.distribution.parameters)
            )
            return cls(
                name=given["name"],
                env_id=next(env_id for env_id, known in FAMILIES.items() if known is family),
                distribution=distribution,
                disturbances=_read_disturbances(given, family),
                description=given.get("description", ""),
            )
        except TaskError as error:
            raise VariantError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the variant as values that JSON and TOML can hold, times in control steps."""
        family = self.vector_class.distribution
        changed = [p for p in self.distribution.parameters if p != family[p.name]]
        change = self.disturbances.change
        tables = {
            "fixed": {p.name: p.nominal for p in changed if not p.varies},
            "ranges": {p.name: _write_ranges(p) for p in changed if p.varies},
            "disturbances": _write_disturbances(self.disturbances),
            "change": {
                "at_step": change.at_step,
                "values": dict(change.values),
                "factors": dict(change.factors),
            }
            if change
            else {},
        }
        words = {"name": self.name, "description": self.description, "family": self.env_id}
        return {**words, **{name: table for name, table in tables.items() if table}}


# Files.


def load_variant(path: Path) -> Variant:
    """Read a variant from a TOML file.

    Raises:
        VariantError: The file cannot be read, is no TOML, or no variant.
    """
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
    """Read a variant from the bytes of a TOML file.

    Args:
        data: The file.
        source: What it is called in errors.
        name: The variant's name, unless the file gives one.

    Raises:
        VariantError: It is no TOML, or no variant.
    """
    try:
        values = tomllib.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise VariantError(f"{source}: is nested too deeply") from error
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise VariantError(f"{source}: line {line} is not UTF-8") from error
    except ValueError as error:  # of which TOML's own error is one
        raise VariantError(f"{source}: {str(error)[:300]}") from error
    if not values:
        raise VariantError(f"{source}: is empty: a variant needs at least family = ...")
    return Variant.from_dict(values, source, name)


def shipped_variants() -> dict[str, Path]:
    """Return the file of every variant that comes with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.toml"))}


def find_variant(name: str) -> Variant:
    """Return a shipped variant by its name, or read one from a file.

    Args:
        name: Name of a shipped variant, or the path of a .toml file.

    Raises:
        VariantError: There is none, or something is wrong with it.
    """
    shipped = shipped_variants()
    if name in shipped:
        return load_variant(shipped[name])
    path = Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1 or path.is_file():
        return load_variant(path)
    raise VariantError(
        f"no variant {name!r}{_nearest(name, shipped)}; shipped are {', '.join(shipped)}, "
        "or name a .toml file"
    )


# The format.


@cache
def variant_format(family: type[TaskVectorEnv]) -> type[msgspec.Struct]:
    """Return the format of a family's variants: all keys, and the bounds of their values."""
    dt_s, last = family.control_step_s(), family.default_horizon - 1
    values = {p.name: _number(*p.allowed, p.unit) for p in family.distribution.parameters}
    factors = dict.fromkeys(values, _number(-_GREATEST_FACTOR, _GREATEST_FACTOR))
    spans: dict[str, float] = {}  # widest element of each unit
    for element in family.observation_elements:
        spans[element.unit] = max(spans.get(element.unit, 0.0), element.high - element.low)
    disturbances = {
        "action_delay_steps": _integer(0, last),
        "observation_dropout": _number(0.0, 1.0),
        "sensor_noise": _table({unit: _number(0.0, span, unit) for unit, span in spans.items()}),
    }
    if family.push_body is not None:
        disturbances["push"] = _table(
            {
                "force_n": _number(0.0, MAX_FORCE_N, "N"),
                "duration_s": _number(1e-3, (last + 1) * dt_s, "s"),
                "probability": _number(0.0, 1.0),
                "at_s": list[_number(0.0, last * dt_s, "s")],
                "at_steps": list[_integer(0, last)],
            },
            required=("force_n", "duration_s"),
        )
    change = {
        "at_s": _number(dt_s, last * dt_s, "s"),
        "at_step": _integer(1, last),
        "values": _table(values),
        "factors": _table(factors),
    }
    keys = {
        "family": str,
        "description": _text(r"[^\x00-\x1f\x7f-\xa0\xad\u2028\u2029]*", "text of one line"),
        "name": _text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}", "up to 60 letters, digits, '-' and '_'"),
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


def _number(low: float, high: float, unit: str = "1") -> Any:
    allowed = f"a number in [{low:g}, {high:g}]{after_number(unit)}"
    return Annotated[float, Meta(ge=low, le=high, description=allowed)]


def _integer(low: int, high: int) -> Any:
    return Annotated[int, Meta(ge=low, le=high, description=f"an integer in [{low}, {high}]")]


def _text(pattern: str, allowed: str) -> Any:
    return Annotated[str, Meta(pattern=f"^{pattern}$", description=allowed)]


def _convert(values: Given, kind: type[msgspec.Struct]) -> Given:
    """Return the values that were given, as the types of a format.

    Raises:
        TaskError: One is of another type or beyond its bounds, or a key is unknown or missing.
    """
    try:
        return msgspec.to_builtins(msgspec.convert(values, kind))
    except msgspec.ValidationError as error:
        raise _explained(error, values, kind) from None


def _explained(error: msgspec.ValidationError, values: Any, kind: Any) -> TaskError:
    """Return an error that names the key, the value, and what is allowed."""
    complaint, _, place = str(error).partition(" - at `$")
    path: list[str] = []
    for key, index in re.findall(r"\.([^.\[`]+)|\[(\d+)\]", place):
        if key:
            path.append(key)
            kind, values = _fields(kind)[key], values[key]
        else:
            kind, values = get_args(kind)[0], values[int(index)]
    known = re.match(r"Object (contains unknown|missing required) field `(.*)`$", complaint, re.S)
    if known is None:
        return _refusal(path, f"must be {_allowed(kind)}", values)
    names, key = [*_fields(kind)], known[2]
    if known[1] == "missing required":
        return _refusal([*path, key], "is missing")
    why = f"unknown key{_nearest(key, names)}, allowed are {', '.join(names)}"
    return _refusal([*path, key], why, values.get(key))


def _fields(kind: Any) -> dict[str, Any]:
    """Return the type of each key of a table."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        optional = UnsetType in get_args(field.type)
        fields[field.encode_name] = get_args(field.type)[0] if optional else field.type
    return fields


def _allowed(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return str(get_args(kind)[1].description)
    if get_origin(kind) is tuple:
        return "a range [low, high]"
    if get_origin(kind) is list:
        return "a list in square brackets"
    return f"a table with some of {', '.join(_fields(kind))}"


def _refusal(path: Sequence[str], why: str, value: Any = UNSET) -> TaskError:
    """Return an error with a key as TOML writes it: a part with odd characters is in quotes."""
    parts = (part[:LONGEST_VALUE] for part in path)
    key = ".".join(p if re.fullmatch(r"[\w-]+", p, re.ASCII) else json.dumps(p) for p in parts)
    return TaskError(f"{key}{'' if value is UNSET else f' = {show(value)}'}: {why}")


def _nearest(name: Any, names: Any) -> str:
    near = difflib.get_close_matches(str(name)[:100], [*names], n=1, cutoff=0.0)
    return f", nearest is {near[0]!r}" if near else ""


# From the document to a variant.


def _read_family(values: Any) -> str:
    """Return the id of the family that a document names."""
    if not isinstance(values, Mapping):
        raise TaskError(f"must be a table, got {show(values)}")
    ids = short_names()
    if "family" not in values:
        raise _refusal(["family"], f"is missing, must be one of {', '.join(ids)}")
    name = values["family"]
    if not isinstance(name, str) or name not in {*ids, *FAMILIES}:
        raise _refusal(
            ["family"],
            f"must be one of {', '.join(ids)}{_nearest(name, ids)}, or one of yours once --module "
            "names its module (in Python: import it)",
            name,
        )
    return ids.get(name, name)


def _read_parameter(parameter: TaskParameter, given: Given) -> TaskParameter:
    """Return a task parameter with its fixed value or its ranges."""
    name = parameter.name
    fixed, ranges = given.get("fixed", {}), given.get("ranges", {})
    if name in fixed and name in ranges:
        raise _refusal(["fixed", name], f"is given by ranges.{name} too", fixed[name])
    if name in fixed:
        value = _one_of(parameter, ["fixed", name], fixed[name])
        point = {"nominal": value, "train": (value, value)}
        return replace(parameter, **point, gaps=(), extrapolation=(), choices=())
    if name not in ranges:
        return parameter
    if parameter.choices:
        choices = ", ".join(f"{value:g}" for value in parameter.choices)
        raise _refusal(["ranges", name], f"has only the values {choices}: fix one", ranges[name])
    low, high = ranges[name]["train"]
    if not low < high:
        raise _refusal(
            ["ranges", name, "train"], "must be [low, high] with low < high", [low, high]
        )
    others = {key: tuple(sorted(ranges[name].get(key, ()))) for key in ("gaps", "extrapolation")}
    nominal = float(np.clip(parameter.nominal, low, high))
    try:
        return replace(parameter, nominal=nominal, train=(low, high), **others)
    except TaskError as error:
        raise _refusal(["ranges", name], str(error)) from None


def _one_of(parameter: TaskParameter, path: Sequence[str], value: float) -> float:
    """Return a value, which must be one of the choices of a parameter that has some."""
    if parameter.choices and value not in parameter.choices:
        choices = ", ".join(f"{value:g}" for value in parameter.choices)
        raise _refusal(path, f"must be one of {choices}", value)
    return value


def _read_disturbances(given: Given, family: type[TaskVectorEnv]) -> Disturbances:
    """Return the disturbances, with times in control steps."""
    table = given.get("disturbances", {})
    return Disturbances(
        action_delay_steps=table.get("action_delay_steps", 0),
        observation_dropout=table.get("observation_dropout", 0.0),
        sensor_noise=tuple(table.get("sensor_noise", {}).items()),
        push=_read_push(table["push"], family.control_step_s()) if "push" in table else None,
        change=_read_change(given, family) if "change" in given else None,
    )


def _read_push(table: Given, dt_s: float) -> Push:
    times = [key for key in ("probability", "at_s", "at_steps") if key in table]
    path = ["disturbances", "push", (times or ["probability"])[-1]]
    if len(times) != 1:
        raise _refusal(path, "give one of probability, at_s, at_steps")
    steps = table.get("at_steps", [round(time / dt_s) for time in table.get("at_s", ())])
    if any((b - a) * dt_s < table["duration_s"] for a, b in pairwise(sorted(steps))):
        why = f"pushes of {table['duration_s']:g} s must not overlap"
        raise _refusal(path, why, table[times[0]])
    return Push(
        force_n=table["force_n"],
        duration_s=table["duration_s"],
        probability=table.get("probability", 0.0),
        at_steps=tuple(sorted(steps)),
    )


def _read_change(given: Given, family: type[TaskVectorEnv]) -> Change:
    table = given["change"]
    if ("at_s" in table) == ("at_step" in table):
        raise _refusal(["change", "at_s"], "give one of at_s and at_step")
    at_step = table.get("at_step", round(table.get("at_s", 0.0) / family.control_step_s()))
    values, factors = table.get("values", {}), table.get("factors", {})
    if not {*values, *factors}:
        raise _refusal(["change", "values"], "name a task parameter here, or in change.factors")
    for name in {*values} & {*factors}:
        why = f"is given by change.values.{name} too"
        raise _refusal(["change", "factors", name], why, factors[name])
    parameters = {p.name: _read_parameter(p, given) for p in family.distribution.parameters}
    for name, value in values.items():
        _one_of(parameters[name], ["change", "values", name], value)
    for name, factor in factors.items():
        _check_factor(parameters[name], factor)
    return Change(at_step=at_step, values=tuple(values.items()), factors=tuple(factors.items()))


def _check_factor(parameter: TaskParameter, factor: float) -> None:
    """Refuse a factor that takes a value of the parameter out of what is allowed."""
    path, (low, high) = ["change", "factors", parameter.name], parameter.allowed
    for value in (end for pair in (parameter.train, *parameter.extrapolation) for end in pair):
        if not low <= factor * value <= high:
            allowed = f"allowed is [{low:g}, {high:g}]{after_number(parameter.unit)}"
            raise _refusal(path, f"takes {value:g} to {factor * value:g}, {allowed}", factor)
    if not {factor * choice for choice in parameter.choices} <= {*parameter.choices}:
        choices = ", ".join(f"{value:g}" for value in parameter.choices)
        raise _refusal(path, f"leads out of {choices}", factor)


def _write_ranges(parameter: TaskParameter) -> dict[str, Any]:
    return {
        "train": list(parameter.train),
        "gaps": [list(pair) for pair in parameter.gaps],
        "extrapolation": [list(pair) for pair in parameter.extrapolation],
    }


def _write_disturbances(disturbances: Disturbances) -> dict[str, Any]:
    values = {
        "action_delay_steps": disturbances.action_delay_steps,
        "observation_dropout": disturbances.observation_dropout,
        "sensor_noise": dict(disturbances.sensor_noise),
    }
    if push := disturbances.push:
        when = {"at_steps": list(push.at_steps)} if push.at_steps else None
        values["push"] = {
            "force_n": push.force_n,
            "duration_s": push.duration_s,
            **(when or {"probability": push.probability}),
        }
    return {name: value for name, value in values.items() if value}
