"""Sealed files whose seal is right and whose content is not: a stranger can seal anything."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

NO_SEAL = "0" * 64
WILD = (
    *("1e400", "-1", "NaN", "1" * 60, "0.5", "true", "null", '"x"', json.dumps("x" * 200_000)),
    *("[]", "{}", "[[]]", '{"a": 1}', "[" * 500 + "]" * 500),
)
"""Values, as JSON that Python might not write."""
_MARK = "@here@"


def open_sealed(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return what a sealed file says of its tensors, its facts, and what follows the header."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    notes = json.loads(header.pop("__metadata__")["metarobot"])
    return header, notes["facts"], data[8 + length :]


def sealed(entries: str, facts: str, rest: bytes) -> bytes:
    """Return a file whose seal is right, whatever is in it: two JSON objects, and what follows."""
    notes = json.dumps({"metarobot": f'{{"sha256": "{NO_SEAL}", "facts": {facts}}}'})
    header = f'{{"__metadata__": {notes}, {entries[1:]}'.encode()
    header += b" " * (-len(header) % 8)
    blank = struct.pack("<Q", len(header)) + header + rest
    return blank.replace(NO_SEAL.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def places(values: Any) -> Iterator[Callable[[Any], None]]:
    """Yield setters of everything in nested JSON values, which change them in place."""
    entries = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(entries):
        yield lambda new, key=key: values.__setitem__(key, new)
        values[key] = value
        if isinstance(value, dict | list):
            yield from places(value)


def mutations(values: dict[str, Any]) -> Iterator[str]:
    """Yield the JSON of values with each part of them replaced by everything wild."""
    values = deepcopy(values)
    for put in places(values):
        put(_MARK)
        text = json.dumps(values)
        for wild in WILD:
            yield text.replace(json.dumps(_MARK), wild)
