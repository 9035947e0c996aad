"""Turns Parquet files into CSV in a process of its own, which `TableReader` starts as a script.

A damaged file may end the process that reads it, and a few kilobytes may unpack to gigabytes.  Here
neither harms the caller, and the system limits the memory.

Each line of the input is a file, a text of JSON.  It is turned into the file that the command line
names, and answered by a line: the error of the file, or an empty text.
"""

import json
import os
import sys
from pathlib import Path

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve unused memory
try:
    from pyarrow import csv, parquet
except ImportError:
    sys.exit(3)

MOST_BYTES = 2**29
"""Memory beside that of the libraries."""
MOST_ENTRIES = 10_000
CELLS_AT_ONCE = 2**16


def convert(source: str, target: str, most_rows: int, most_numbers: int) -> None:
    """Write a file as CSV.

    Raises:
        ValueError: It is not valid; pyarrow also raises errors of other types.
    """
    file = parquet.ParquetFile(source, thrift_container_size_limit=MOST_ENTRIES)
    schema, count = file.schema_arrow, file.metadata.num_rows
    groups = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
    if sum(groups) != count or min(groups, default=0) < 0:
        raise ValueError(f"its footer says {count:,} rows, its row groups {sum(groups):,}")
    if count > most_rows or count * len(schema) > most_numbers:
        raise ValueError(
            f"it holds {count:,} rows x {len(schema)} columns, at most {most_rows:,} rows and "
            f"{most_numbers:,} numbers are allowed: cut it"
        )
    with csv.CSVWriter(target, schema) as writer:
        for rows in file.iter_batches(max(1, CELLS_AT_ONCE // len(schema)), use_threads=False):
            writer.write(rows)
            count -= len(rows)
    if count:
        raise ValueError(f"its footer says {count:,} rows more than it holds")


def main() -> None:
    """Answer until there are no more files."""
    target, *limits = sys.argv[1:]
    if (statm := Path("/proc/self/statm")).exists():  # the system refuses more memory from here on
        import resource

        most = int(statm.read_text().split()[0]) * resource.getpagesize() + MOST_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    for line in sys.stdin:
        reason = ""
        try:
            convert(json.loads(line), target, *map(int, limits))
        except Exception as error:
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
        print(json.dumps(reason), flush=True)


if __name__ == "__main__":
    main()
