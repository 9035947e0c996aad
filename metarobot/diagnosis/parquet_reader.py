"""Turns Parquet files into CSV in a process of its own, which `ParquetProcess` starts as a script.

A damaged file may end the process that reads it, and a few kilobytes may unpack to gigabytes.  Here
neither harms the caller, and the system limits the memory.

Input and output are messages: a length (8 bytes, little-endian), and so many bytes.  Each message
of the input is a file.  It is answered by CSV, the names of the columns and then some rows at a
time; by an empty message; and by what is wrong with the file, which is empty if nothing is.
"""

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve what they do not use
try:
    import pyarrow as pa
    from pyarrow import csv, parquet
except ImportError:
    sys.exit(3)

MOST_BYTES = 128 * 2**20
"""Memory beside that of the libraries and the file."""
MOST_ENTRIES = 10_000
CELLS_AT_ONCE = 2**16


def csv_parts(data: bytes, most_rows: int, most_numbers: int) -> Iterator[bytes]:
    """Yield what a file holds as CSV: the names of the columns, then some rows at a time.

    Raises:
        ValueError: It is not what it must be; pyarrow's errors are others as well.
    """
    source = pa.BufferReader(data)
    file = parquet.ParquetFile(source, thrift_container_size_limit=MOST_ENTRIES)
    about, schema = file.metadata, file.schema_arrow
    groups = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    if sum(groups) != about.num_rows or min(groups, default=0) < 0:
        raise ValueError(f"its footer says {about.num_rows:,} rows, its row groups {sum(groups):,}")
    if about.num_rows > most_rows or about.num_rows * len(schema) > most_numbers:
        raise ValueError(
            f"it holds {about.num_rows:,} rows x {len(schema)} columns, at most {most_rows:,} rows "
            f"and {most_numbers:,} numbers are allowed: cut it"
        )
    sent, names = 0, schema.empty_table()
    batches = file.iter_batches(max(1, CELLS_AT_ONCE // len(schema)), use_threads=False)
    for rows in itertools.chain([names], batches):
        text = pa.BufferOutputStream()
        csv.write_csv(rows, text, csv.WriteOptions(include_header=rows is names))
        yield text.getvalue().to_pybytes()
        sent += len(rows)
    if sent != about.num_rows:
        raise ValueError(f"its footer says {about.num_rows:,} rows, it holds {sent:,}")


def send(data: bytes) -> None:
    """Write a message."""
    sys.stdout.buffer.write(len(data).to_bytes(8, "little") + data)


def main() -> None:
    """Answer until there are no more files."""
    most_rows, most_numbers = map(int, sys.argv[1:])
    statm = Path("/proc/self/statm")
    num_pages = int(statm.read_text().split()[0]) if statm.exists() else 0
    while head := sys.stdin.buffer.read(8):
        length, reason = int.from_bytes(head, "little"), ""
        if num_pages:  # the system refuses more memory from here on
            import resource

            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            most = num_pages * resource.getpagesize() + 2 * length + MOST_BYTES
            if hard == resource.RLIM_INFINITY or most < hard:
                resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        try:
            for part in csv_parts(sys.stdin.buffer.read(length), most_rows, most_numbers):
                send(part)
        except Exception as error:
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
        send(b"")
        send(reason.encode(errors="replace"))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
