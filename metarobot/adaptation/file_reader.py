"""Reads binary files of users in a process of its own, which runs this file as its script.

A damaged file may end the process that reads it, and a few kilobytes may unpack to gigabytes.  Here
neither harms the caller, and the system limits memory and files.  Definitions of messages are data:
messages are decoded by walking along them, and no code is made of them.

Each line of the input is a request, a text of JSON.  The result goes to the file that the request
names, and the answer to the output, a line of JSON: the error, if there is one.
"""

import json
import os
import re
import subprocess
import sys
from array import array
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

MOST_NUMBERS = 2**26
MOST_MEMORY_BYTES, MOST_WRITTEN_BYTES = 2**30, 2**31
"""Memory of the process beside that of Python, which is also the longest record that it unpacks;
and the longest file."""
MOST_VALUES = 10**6
"""Values of one message."""
MOST_ENTRIES = 10_000
CELLS_AT_ONCE, ROWS_AT_ONCE = 2**16, 2**14


class FileReader:
    """The process, for its parent; it starts with the first file."""

    def __init__(self) -> None:
        self._process: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._folder.cleanup()

    def read(self, job: str, *paths: Path, **request: Any) -> Path:
        """Return the file with the result, which stays until the next one.

        Args:
            job: Name of one of `JOBS`.
            paths: Files to read.
            request: What else the job reads.

        Raises:
            ImportError: A library is missing.
            ValueError: A file is damaged, too large or takes too much memory.
        """
        if self._process is None:
            self._folder = TemporaryDirectory()
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(MOST_MEMORY_BYTES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "TMPDIR": self._folder.name},
            )
        target = Path(self._folder.name, "result")
        request |= {"job": job, "paths": [str(path.absolute()) for path in paths]}
        request |= {"most_numbers": MOST_NUMBERS, "most_bytes": MOST_MEMORY_BYTES}
        request["target"] = str(target)
        with suppress(OSError):  # it has ended, and its output has, too
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"damaged": ""}')
        if "missing" in answer:
            raise ImportError(answer["missing"])
        for reason in answer.values():
            reason = reason or "it is damaged, or takes too much memory"
            raise ValueError(f"it cannot be read: {reason}")
        return target


def main() -> None:
    """Answer until there are no more requests."""
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve unused memory
    limit_memory(int(sys.argv[1]))
    for line in sys.stdin:
        answer = {}
        try:
            request = json.loads(line)
            JOBS[request["job"]](request)
        except ImportError as error:
            answer["missing"] = f"{error}"
        except MemoryError:
            answer["damaged"] = "it takes too much memory"
        except Exception as error:  # of the libraries; of any kind for a damaged file
            reason = f"{error}".partition("\n")[0][:200] or type(error).__name__
            if isinstance(error, OSError) and error.errno:  # it leads beyond its end
                reason = "it is damaged or cut off"
            answer["damaged"] = reason
        print(json.dumps(answer), flush=True)


def limit_memory(most_bytes: int) -> None:
    """Let the system refuse more memory from here on, and longer files."""
    if not (statm := Path("/proc/self/statm")).exists():
        return
    import resource

    most = int(statm.read_text().split()[0]) * resource.getpagesize() + most_bytes
    for limit, value in ((resource.RLIMIT_AS, most), (resource.RLIMIT_FSIZE, MOST_WRITTEN_BYTES)):
        _, hard = resource.getrlimit(limit)
        if hard == resource.RLIM_INFINITY or value < hard:
            resource.setrlimit(limit, (value, hard))


def write_csv(request: dict) -> None:
    """Write a Parquet file as CSV."""
    from pyarrow import csv

    file = open_parquet(request["paths"][0])
    schema, count = file.schema_arrow, file.metadata.num_rows
    groups = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
    if sum(groups) != count or min(groups, default=0) < 0:
        raise ValueError(f"its footer says {count:,} rows, its row groups {sum(groups):,}")
    most_rows, most_numbers = request["most_rows"], request["most_numbers"]
    if count > most_rows or count * len(schema) > most_numbers:
        raise ValueError(
            f"it holds {count:,} rows x {len(schema)} columns, at most {most_rows:,} rows and "
            f"{most_numbers:,} numbers are allowed: cut it"
        )
    with csv.CSVWriter(request["target"], schema) as writer:
        for rows in file.iter_batches(max(1, CELLS_AT_ONCE // len(schema)), use_threads=False):
            writer.write(rows)
            count -= len(rows)
    if count:
        raise ValueError(f"its footer says {count:,} rows more than it holds")


def write_arrays(request: dict, arrays: list) -> None:
    """Write arrays in numpy's format."""
    with open(request["target"], "wb") as file:
        np.savez(file, *arrays)


def open_parquet(path: str) -> Any:
    """Open a Parquet file, with no more entries in its footer than any needs."""
    from pyarrow import parquet

    return parquet.ParquetFile(path, thrift_container_size_limit=MOST_ENTRIES)


class Budget:
    """Counts the numbers that are kept."""

    def __init__(self, most: int) -> None:
        self.most = self.left = most

    def take(self, count: int) -> None:
        """Count some more."""
        self.left -= count
        if self.left < 0:
            raise ValueError(f"it holds more than {self.most:,} numbers: cut it")


def read_columns(request: dict) -> None:
    """Write columns of Parquet files, joined, as arrays: (R,), or (R, width) of lists."""
    budget, names = Budget(request["most_numbers"]), request["columns"]
    parts: dict = {name: [] for name in names}
    for path in request["paths"]:
        file = open_parquet(path)
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise ValueError(f"it has no column {missing[0]!r}")
        for rows in file.iter_batches(ROWS_AT_ONCE, columns=names, use_threads=False):
            for name in names:
                values = to_numbers(rows.column(name), name)
                budget.take(values.size)
                parts[name].append(values)
    if not all(len({part.shape[1:] for part in each}) == 1 for each in parts.values()):
        raise ValueError("it has no rows, or lists of several lengths")
    write_arrays(request, [np.concatenate(part) for part in parts.values()])


def to_numbers(column, name: str) -> np.ndarray:
    """Return a column of numbers, or of lists of one length, as doubles; NaN for null."""
    import pyarrow as pa
    import pyarrow.compute

    compute: Any = pyarrow.compute
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = compute.unique(compute.list_value_length(column)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise ValueError(f"column {name!r} must hold lists of one length")
        return to_numbers(column.flatten(), name).reshape(len(column), lengths[0])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"column {name!r} must hold numbers, got {kind}")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def read_messages(request: dict) -> None:
    """Write the times, (R,) in ns, and the values, (R,), of each field in turn, as arrays.

    A mark that is false has the value -1; one that names a topic alone counts its messages.
    """
    budget = Budget(request["most_numbers"])
    wanted = {**dict.fromkeys(request["fields"], False), **dict.fromkeys(request["marks"], True)}
    places: dict = {}  # fields by topic
    found = {field: (array("q"), array("d")) for field in wanted}
    topics, messages = open_log(request)
    for field, is_mark in wanted.items():
        topic = max((t for t in topics if is_of(field, t)), key=len, default=None)
        if topic is None:
            raise ValueError(f"it has no topic of {field!r}, only {', '.join(sorted(topics))}")
        steps = re.fullmatch(r"((\.\w+)|(\[\d+\]))*", field[len(topic) :])
        if steps is None or not (steps[0] or is_mark):
            raise ValueError(f"{field!r} names no field of {topic}, as {topic}.data[0] does")
        places.setdefault(topic, []).append((field, re.findall(r"\w+", steps[0])))
    for topic, time_ns, kind, data in messages([*places]):
        message = kind.decode(data)
        for field, steps in places[topic]:
            budget.take(2)
            times, values = found[field]
            times.append(time_ns)
            value = find(message, steps, field) if steps else len(values)
            is_off = wanted[field] and isinstance(value, bool | np.bool_) and not value
            values.append(-1.0 if is_off else float(value))
    if empty := [field for field, (times, _) in found.items() if not times]:
        raise ValueError(f"it has no message of {empty[0]!r}")
    write_arrays(request, [np.array(column) for pair in found.values() for column in pair])


def is_of(field: str, topic: str) -> bool:
    """Whether a field is one of a topic."""
    return field.startswith(topic) and field[len(topic) : len(topic) + 1] in ("", ".", "[")


def find(message, steps: list, field: str):
    """Return the number at the end of a path into a message."""
    for step in steps:
        try:
            message = message[step] if isinstance(message, dict) else message[int(step)]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"a message has no {field!r}: {step!r} is not there") from None
    if not isinstance(message, int | float | np.number | np.bool_):
        raise ValueError(f"{field!r} must be a number, got a {type(message).__name__}")
    return message


def open_log(request: dict) -> tuple:
    """Return the topics of a log, and a function that yields the messages of some of them."""
    kind, path = request["variant"], request["paths"][0]
    if kind == "mcap":
        from mcap.reader import SeekingReader

        file = open(path, "rb")  # noqa: SIM115  (until the process ends)
        reader = SeekingReader(file, validate_crcs=True, record_size_limit=request["most_bytes"])
        summary = reader.get_summary()
        if summary is None:
            raise ValueError("it has no summary, as after a crash: `mcap recover` writes one")
        of_schema = {
            each.id: (each.encoding, each.data, each.name) for each in summary.schemas.values()
        }

        def of_mcap(topics: list):
            kinds = {
                each.id: Kind(each.message_encoding, *of_schema.get(each.schema_id, ("", b"", "")))
                for each in summary.channels.values()
                if each.topic in topics
            }
            for _, channel, message in reader.iter_messages(topics=topics):
                yield channel.topic, message.log_time, kinds[channel.id], message.data

        return {each.topic for each in summary.channels.values()}, of_mcap
    if kind == "rosbag1":
        from rosbags.rosbag1 import Reader
    else:
        from rosbags.rosbag2 import Reader
    bag = Reader(Path(path))
    bag.open()
    encoding = "ros1" if kind == "rosbag1" else "cdr"

    def of_bag(topics: list):
        chosen = [each for each in bag.connections if each.topic in topics]
        kinds = {
            each.id: Kind(encoding, each.msgdef.format.name, each.msgdef.data, each.msgtype)
            for each in chosen
        }
        for each, time_ns, data in bag.messages(chosen):
            yield each.topic, time_ns, kinds[each.id], data

    return {each.topic for each in bag.connections}, of_bag


class Kind:
    """A type of messages."""

    def __init__(self, encoding: str, language: str, definition: Any, name: str) -> None:
        self.encoding, self.types = encoding, {}
        if encoding == "json":
            return
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        from rosbags.typesys.msg import normalize_msgtype

        self.name = normalize_msgtype(name)
        self.types = dict(get_typestore(Stores.LATEST).fielddefs)
        if encoding in ("cdr", "ros1") and language in ("MSG", "ros2msg", "ros1msg"):
            text = definition if isinstance(definition, str) else definition.decode()
            self.types |= get_types_from_msg(text, self.name)
        elif language != "NONE":  # before ROS 2 Iron, bags hold no definitions
            self.encoding = f"{encoding} and {language}"

    def decode(self, data: Any) -> Any:
        """Return a message as dictionaries, lists and arrays."""
        if self.encoding == "json":
            return json.loads(data)
        if self.encoding == "ros1":
            return Walk(data, "<", aligned=False, types=self.types).message(self.name)
        if self.encoding != "cdr" or bytes(data[:2]) not in (b"\0\0", b"\0\1"):
            raise ValueError(
                f"messages in {self.encoding} are not read, only in json, ros1 and plain cdr"
            )
        order = "<" if data[1] else ">"
        return Walk(data[4:], order, aligned=True, types=self.types).message(self.name)


CODES = {"bool": "?", "byte": "u1", "char": "u1", "octet": "u1"}
"""Types of numbers whose names are not numpy's."""


class Walk:
    """A walk through the bytes of one ROS message, along the fields of its type."""

    def __init__(self, data: bytes, order: Any, *, aligned: bool, types: dict) -> None:
        self.data, self.order, self.aligned, self.types = data, order, aligned, types
        self.at, self.left = 0, MOST_VALUES

    def message(self, name: str) -> dict:
        """Return a message of a type."""
        if name in ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"):
            whole, parts = self.numbers("u4", 2).tolist()
            return {"sec": whole, "nanosec": parts}
        if name not in self.types:
            raise ValueError(f"it does not define {name!r}")
        return {field: self.value(*kind) for field, kind in self.types[name][1]}

    def value(self, node: int, of):
        """Return a value: a number, a text, a message, a list or an array."""
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"a message holds more than {MOST_VALUES:,} values")
        if node == 1:
            return self.text(of[0]) if "string" in of[0] else self.numbers(of[0], 1)[0]
        if node == 2:
            return self.message(of)
        (inner, kind), length = of
        count = length if node == 3 else int(self.numbers("u4", 1)[0])
        if inner == 1 and "string" not in kind[0]:
            return self.numbers(kind[0], count)
        return [self.value(inner, kind) for _ in range(count)]

    def numbers(self, name: str, count: int) -> np.ndarray:
        """Return an array of numbers."""
        kind = np.dtype(CODES.get(name, name)).newbyteorder(self.order)
        if count:
            self.align(kind.itemsize)
        return np.frombuffer(self.take(count * kind.itemsize), kind)

    def text(self, kind: str) -> str:
        """Return a text."""
        if kind == "wstring":
            raise ValueError("messages with texts of type wstring are not read")
        return self.take(int(self.numbers("u4", 1)[0])).decode(errors="replace")

    def align(self, size: int) -> None:
        """Go on to where a number may begin."""
        if self.aligned:
            self.at += -self.at % size

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > len(self.data) - self.at:
            raise ValueError("a message is shorter than its type")
        self.at += size
        return bytes(self.data[self.at - size : self.at])


JOBS = {"csv": write_csv, "columns": read_columns, "messages": read_messages}

if __name__ == "__main__":
    main()
