"""Variants: a task family under other conditions, from a file that people write.

A variant changes what tasks are drawn, and what disturbs an episode.  The policy's interface stays
the family's, so that a policy trained on the family can be measured on the variant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarobot.envs.checked_table import CheckedTable, VariantError
from metarobot.envs.disturbances import Disturbances
from metarobot.envs.registration import find_family
from metarobot.envs.tasks import TaskDistribution
from metarobot.envs.variant_format import (
    names_in,
    read_distribution,
    read_disturbances,
    read_family,
    write_document,
)
from metarobot.envs.vector_env import TaskVectorEnv

SHIPPED_FOLDER = Path(__file__).parent / "shipped_variants"
MAX_FILE_BYTES = 16_384
_LONGEST_LINE = 60
_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,59}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A task family under other conditions."""

    name: str
    """What it is called in lists, titles and run folders."""
    env_id: str
    """Registered id of its task family."""
    distribution: TaskDistribution
    """The family's task parameters with the variant's ranges."""
    disturbances: Disturbances
    """What disturbs an episode."""
    description: str = ""
    """What is special about it, in one line."""

    @property
    def vector_class(self) -> type[TaskVectorEnv]:
        """The native batch of its family."""
        return find_family(self.env_id)

    @property
    def words(self) -> str:
        """Its name for people: "oily_table" -> "oily table"."""
        return self.name.replace("_", " ")

    def to_dict(self) -> dict[str, Any]:
        """Return the variant as values that JSON and TOML can hold, times in control steps."""
        words = {"name": self.name, "description": self.description}
        return {**words, **write_document(self.env_id, self.distribution, self.disturbances)}

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
        document = CheckedTable(values, names_in(), source)
        env_id = read_family(document)
        distribution = read_distribution(document, env_id)
        name = document.text("name", name)
        if not _NAME.fullmatch(name):
            document.refuse("name", "must be up to 60 letters, digits, '-' and '_'")
        return cls(
            name=name,
            env_id=env_id,
            distribution=distribution,
            disturbances=read_disturbances(document, env_id, distribution),
            description=document.text("description", ""),
        )


def load_variant(path: Path) -> Variant:
    """Read a variant from a TOML file.

    Raises:
        VariantError: The file cannot be read, is no TOML, or no variant.
    """
    try:
        if not path.is_file():
            raise VariantError(f"{path}: there is no such file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise VariantError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    name = re.sub(r"[^\w-]+", "_", path.stem, flags=re.ASCII)
    return parse_variant(data, str(path), name)


def parse_variant(data: bytes, source: str, name: str) -> Variant:
    """Read a variant from the bytes of a TOML file.

    Args:
        data: The file.
        source: What it is called in errors.
        name: The variant's name, unless the file gives one.

    Raises:
        VariantError: It is no TOML, or no variant.
    """
    if len(data) > MAX_FILE_BYTES:
        raise VariantError(f"{source}: is larger than {MAX_FILE_BYTES} bytes, which no variant is")
    text = _decode(data, source)
    try:
        values = tomllib.loads(text)
    except RecursionError as error:
        raise VariantError(f"{source}: is nested too deeply") from error
    except ValueError as error:  # of which TOML's own error is one
        raise VariantError(f"{source}: {error}{_quote_line(text, str(error))}") from error
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
    near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.0)
    raise VariantError(
        f"no variant {name!r}, nearest is {near[0]!r}; shipped are {', '.join(shipped)}, "
        "or name a .toml file"
    )


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n")
        line = data.split(b"\n")[number][:_LONGEST_LINE]
        raise VariantError(f"{source}: line {number + 1} is not UTF-8: {line!r}") from error


def _quote_line(text: str, complaint: str) -> str:
    """Return the line that TOML complains of, since it names no key."""
    found = re.search(r"at line (\d{1,9}), column \d+\)$", complaint)
    lines = text.split("\n")
    number = int(found[1]) if found else len(lines)
    line = lines[min(number, len(lines)) - 1].strip()
    return f": {line[:_LONGEST_LINE]!r}" if line else ""
