"""Reads Parquet files in a process of its own, which `ParquetProcess` starts as a script.

A damaged file may end the process that reads it, and a few kilobytes may unpack to gigabytes.  Here
neither harms the caller, and the system limits the memory.

The script reads the length of a file (8 bytes, little-endian) and the file from its input, again
and again.  It answers with a line of JSON: {"names", "num_rows"}, and after it all rows as float64,
NaN where they are empty; or {"error"}.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve what they do not use
try:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet
except ImportError:
    sys.exit(3)

MOST_BYTES = 200 * 2**20
"""Memory beside that of the libraries and the file."""
MOST_ENTRIES = 10_000
NUMBERS_AT_ONCE = 2**18


def limit_memory(num_pages: int, num_bytes: int) -> None:
    """Let the system refuse more memory than some pages and so many bytes."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = num_pages * resource.getpagesize() + num_bytes
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def open_checked(data: bytes) -> parquet.ParquetFile:
    """Open a file, and refuse what is known before its rows are read.

    Raises:
        ValueError: It is not what it must be.
    """
    source: Any = pa.BufferReader(data)
    file = parquet.ParquetFile(source, thrift_container_size_limit=MOST_ENTRIES)
    about, schema = file.metadata, file.schema_arrow
    rows = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    if sum(rows) != about.num_rows or min(rows, default=0) < 0:
        raise ValueError(
            f"its footer says {about.num_rows:,} rows, its row groups {sum(rows):,}: write it again"
        )
    for field in schema:
        kind = field.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or is_date(kind)):
            raise ValueError(
                f"column {field.name[:60]!r} holds {str(kind)[:60]}, must hold integers, floating "
                "point numbers or dates with times: convert or drop it"
            )
    return file


def is_date(kind: pa.DataType) -> bool:
    """Whether a column holds dates with times."""
    return pa.types.is_timestamp(kind)


def numbers(column: Any, start: Any) -> np.ndarray:
    """Return a column as float64; dates in seconds from the one that is the start."""
    if is_date(column.type):
        since = column.to_numpy(zero_copy_only=False) - start.to_numpy(zero_copy_only=False)
        return since / np.timedelta64(1, "s")
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def answer(data: bytes) -> None:
    """Write what a file holds to the output."""
    out = sys.stdout.buffer
    try:
        file = open_checked(data)
        names, num_rows = file.schema_arrow.names, file.metadata.num_rows
    except Exception as error:
        reason = str(error)
        if type(error) is not ValueError:  # but one of pyarrow's
            reason = f"{reason.partition(chr(10))[0][:200]}: write it again"
        out.write(json.dumps({"error": reason}).encode() + b"\n")
        return
    out.write(json.dumps({"names": names, "num_rows": num_rows}).encode() + b"\n")
    starts, sent = None, 0
    for batch in file.iter_batches(max(1, NUMBERS_AT_ONCE // len(names)), use_threads=False):
        starts = starts or [column.slice(0, 1) for column in batch.columns]
        pairs = zip(batch.columns, starts, strict=True)
        out.write(np.stack([numbers(*pair) for pair in pairs], axis=1).tobytes())
        sent += batch.num_rows
    if sent != num_rows:
        sys.exit("the footer lies")  # the caller waits for the rest, or has read too little


def main() -> None:
    """Answer until there are no more files."""
    statm = Path("/proc/self/statm")
    num_pages = int(statm.read_text().split()[0]) if statm.exists() else 0
    while head := sys.stdin.buffer.read(8):
        length = int.from_bytes(head, "little")
        if num_pages:
            limit_memory(num_pages, 2 * length + MOST_BYTES)
        answer(sys.stdin.buffer.read(length))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
