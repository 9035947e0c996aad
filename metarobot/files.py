"""JSON and CSV that every reader accepts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from unicodedata import normalize

import msgspec

from metarobot.named_files import read_file, write_file
from metarobot.printable import printable

_FORMULA_STARTS = tuple("=+-@\t\r\n")
"""A spreadsheet computes a cell that begins so, in wide letters too."""
MAX_JSON_BYTES = 16 * 2**20
"""The longest JSON file that is read."""
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
"""An integer in a file that counts something: more than a budget allows."""
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Word = Annotated[str, msgspec.Meta(max_length=200)]
_LONGEST_REASON = 200
"""Characters that an error shows of what msgspec says."""
T = TypeVar("T")


def json_bytes(values: Mapping[str, Any] | Sequence[Any]) -> bytes:
    r"""Return values as the content of a JSON file; a number that is not finite becomes null.

    Rows of a table stand on one line each: lists, and objects in lists, that hold no other object.
    What a path holds that is no UTF-8 is written as Python holds it, by JSON's escape ``\udcff``.
    """
    text = _laid_out(_finite_or_none(values), "\n", in_list=False)
    return text.encode(errors="backslashreplace") + b"\n"


def _laid_out(value: Any, line: str, *, in_list: bool) -> str:
    """Return a value as JSON; ``line`` begins a line at its depth."""
    if not isinstance(value, dict | list) or not value or _is_row(value, in_list):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    below = f"{line}  "
    if isinstance(value, list):
        parts = [_laid_out(item, below, in_list=True) for item in value]
        return f"[{below}{f',{below}'.join(parts)}{line}]"
    parts = [
        f"{json.dumps(key, ensure_ascii=False)}: {_laid_out(item, below, in_list=False)}"
        for key, item in value.items()
    ]
    return f"{{{below}{f',{below}'.join(parts)}{line}}}"


def _is_row(value: dict[str, Any] | list[Any], in_list: bool) -> bool:
    if isinstance(value, dict):
        return in_list and not any(map(_holds_object, value.values()))
    return not any(map(_holds_object, value))


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_object, value)))


def rounded(value: Any) -> Any:
    """Return values for JSON with every fraction to 6 significant digits, 3 more than are read."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file in one piece, see `json_bytes`; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json_bytes(values))


def strict_json(text: bytes | str) -> Any:
    """Parse JSON that all readers agree on: no key twice, no NaN, no number beyond a float.

    Raises:
        ValueError: It is none, or not so strict.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds; see `strict_json`.

    Args:
        data: Its content.
        path: Where it is, for messages.

    Raises:
        ValueError: It holds something else.
    """
    try:
        values = strict_json(data)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, not a {type(values).__name__}")
    return values


def typed(values: Any, kind: type[T], path: Path) -> T:
    """Return what a file holds as a type with its bounds, which is all that is relied on.

    Args:
        values: JSON values.
        kind: A type that msgspec knows.
        path: Where they are from, for messages.

    Raises:
        ValueError: They are of another type, or beyond its bounds.
    """
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except (msgspec.ValidationError, RecursionError) as error:
        reason = printable(str(error))[:_LONGEST_REASON]
        raise ValueError(f"{path} does not fit: {reason}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that the user has named.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no regular file, is too long, or holds something else.
    """
    return parse_json(read_file(path, MAX_JSON_BYTES), path)


def csv_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV; an interval becomes two columns, ``_low`` and ``_high``.

    Text that a spreadsheet would read as a formula gets a single quote before it, and characters
    that are not printable, a line break among them, are written out.

    Source: OWASP, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    flat = []
    for row in rows:
        cells: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, list | tuple):
                cells[f"{name}_low"], cells[f"{name}_high"] = value
            else:
                cells[name] = value
        flat.append({_plain_text(name): _plain_text(cell) for name, cell in cells.items()})
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _plain_text(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    return ("'" if is_formula(cell) else "") + printable(cell)


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet would compute a cell, unless an apostrophe stands before."""
    return normalize("NFKC", cell[:1]).startswith(_FORMULA_STARTS)


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
