"""Logs as tables and as messages: CSV, MCAP and ROS bags, and where a log holds what.

A log is read to a dictionary, the arguments of `Episodes.from_log`.  A file may come from a
stranger: its size is checked first, and binary files are read by `file_reader.py`.
"""

from __future__ import annotations

import csv
import io
import math
import tomllib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from metarobot.adaptation.file_reader import FileReader
from metarobot.console import printable
from metarobot.envs.checks import MOST_HORIZON, nearest_name, show
from metarobot.io import Folder, parse_json, read_file, typed, write_file
from metarobot.machine import extra

MOST_EPISODES = 10_000
MOST_CSV_BYTES = 2**28
_MOST_MAPPING_BYTES = 2**20
_LONGEST_LINE = 2**16
_SAME_RATE = 0.02
"""Fraction by which control steps may differ; clocks and rounded rates differ by less."""
_SAME_CLOCK = 0.1
_AFTER_LAST = 1.25
"""Control steps after the last command in which its outcome must be seen, with a `step` topic."""

_OPTIONAL = ("reward", "log_prob", "success")
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Finite = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]


class Elements(NamedTuple):
    """Elements that a policy observes and commands, in their order, and its control step."""

    observation: tuple[str, ...]
    action: tuple[str, ...]
    control_step_s: float


class Field(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A number of a log in another unit: scale * number + offset."""

    field: _Name
    scale: _Finite = 1.0
    offset: _Finite = 0.0


_Source = _Name | Field


class LogMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Places in a log of what episodes hold.

    A place is a column, or a topic with the path to a number: ``/joint_states.position[0]``.
    """

    observation: Mapping[_Name, _Source]
    """Place of each element."""
    action: Mapping[_Name, _Source]
    reward: _Source | None = None
    log_prob: _Source | None = None
    success: _Source | None = None
    episode: _Name | None = None
    """Number that changes where an episode begins, and is negative or false between episodes; or a
    topic, each of whose messages begins one."""
    gap_s: _Positive | None = None
    """Time without a message that separates two episodes."""
    step: _Name | None = None
    """Topic, each of whose messages begins a control step; without it, they begin regularly."""
    control_step_s: _Positive | None = None
    """Duration of a control step; that of the policy if not given."""

    def places(self) -> list[str]:
        """Return the places of numbers, each once."""
        sources = [*self.observation.values(), *self.action.values(), self.reward, self.log_prob]
        sources += [self.success, self.episode]
        found = (s.field if isinstance(s, Field) else s for s in sources if s is not None)
        return [*dict.fromkeys(found)]


MappingLike = Mapping[str, Any] | str | Path | None
Log = dict[str, Any]


def read_mapping(mapping: MappingLike, elements: Elements | None) -> LogMapping | None:
    """Return a mapping that is checked, with its elements in their order."""
    if mapping is None:
        return None
    path = Path("mapping") if isinstance(mapping, Mapping) else Path(mapping)
    values: Any = mapping
    if not isinstance(mapping, Mapping):
        data = read_file(path, _MOST_MAPPING_BYTES)
        try:
            is_toml = path.suffix == ".toml"
            values = tomllib.loads(data.decode()) if is_toml else parse_json(data, path)
        except ValueError as error:
            reason = printable(str(error))
            raise ValueError(reason if str(path) in reason else f"{path}: {reason}") from None
    fields = typed(values, LogMapping, path)
    if fields.episode is not None and fields.gap_s is not None:
        raise ValueError(f"{path} has episode and gap_s: one of them separates episodes")
    if elements is None:
        return fields
    step_s = fields.control_step_s or elements.control_step_s
    require_rate(step_s, elements, f"{path} says control_step_s = {step_s:g}")
    return msgspec.structs.replace(
        fields,
        observation=in_order(fields.observation, elements.observation, f"observation of {path}"),
        action=in_order(fields.action, elements.action, f"action of {path}"),
        control_step_s=step_s,
    )


def in_order(found: Mapping[str, Any], wanted: Sequence[str], where: str) -> dict[str, Any]:
    """Return what was found by name, in the order that is wanted; a missing name is an error."""
    for name in wanted:
        if name not in found:
            raise ValueError(f"{where} lacks {name!r}{nearest_name(name, found)}")
    if extra := [name for name in found if name not in wanted]:
        raise ValueError(f"{where} has {extra[0]!r}, which is no element of the policy")
    return {name: found[name] for name in wanted}


def require_rate(step_s: float, elements: Elements, what: str) -> None:
    """Refuse a log of another rate than the policy's, whose steps would mean something else."""
    if abs(step_s / elements.control_step_s - 1.0) > _SAME_RATE:
        raise ValueError(f"{what}, but a control step of the policy is {elements.control_step_s} s")


def read_arrays(job: str, *paths: Path, **request: Any) -> list[np.ndarray]:
    """Return arrays that `FileReader` reads from files; its errors name the extra."""
    with (
        FileReader() as reader,
        extra("logs", "reading it"),
        np.load(reader.read(job, *paths, **request), allow_pickle=False) as arrays,
    ):
        return [arrays[name] for name in arrays.files]


# Tables: a row for each control step.


def from_table(columns: Mapping[str, np.ndarray], mapping: LogMapping) -> Log:
    """Return the log of a table.

    The last row of an episode may lack its actions: it shows the outcome of the last step.

    Args:
        columns: Columns by their names, (R,), NaN where a cell is empty.
        mapping: Names of the columns.
    """
    if mapping.gap_s is not None or mapping.step is not None:
        raise ValueError("gap_s and step are for messages: a table has a row for each step")

    def column(source: _Source) -> np.ndarray:
        if isinstance(source, Field):
            return source.scale * columns[source.field] + source.offset
        return columns[source]

    seen, done = (
        np.stack([column(each) for each in group.values()], axis=1)
        for group in (mapping.observation, mapping.action)
    )
    if not len(seen):
        raise ValueError("it has no rows")
    number = np.zeros(len(seen)) if mapping.episode is None else columns[mapping.episode]
    if not np.isfinite(number).all():
        raise ValueError(f"column {mapping.episode!r} must hold the number of each episode")
    extra = {
        name: column(source) for name in _OPTIONAL if (source := getattr(mapping, name)) is not None
    }
    order = np.argsort(number, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    rows = sorted(rows, key=lambda each: each[0])
    steps = [each[:-1] if np.isnan(done[each[-1]]).all() else each for each in rows]
    return _as_log(
        [seen[each] for each in rows],
        [done[each] for each in steps],
        {name: [values[each] for each in steps] for name, values in extra.items()},
    )


def _as_log(
    seen: Sequence[np.ndarray], done: Sequence[np.ndarray], extra: Mapping[str, list[np.ndarray]]
) -> Log:
    known, success = extra.get("log_prob"), extra.get("success")
    return {
        "observations": seen,
        "actions": done,
        "rewards": extra.get("reward"),
        "log_probs": None if known is None or any(np.isnan(k).any() for k in known) else known,
        "success": success and [bool((each[-1:] > 0.5).all()) for each in success],
    }


def read_csv(path: Path, mapping: LogMapping | None, elements: Elements | None) -> Log:
    """Read a table."""
    with (
        Folder(path.parent).open(path.name, MOST_CSV_BYTES) as file,
        io.TextIOWrapper(file, "utf-8-sig", newline="") as text,
    ):
        rows = csv.reader(iter(lambda: text.readline(_LONGEST_LINE), ""), strict=True)
        try:
            names = next(rows)
            if mapping is None:
                mapping = _own_mapping(names, elements)
            for name in mapping.places():
                if names.count(name) != 1:
                    has = "the column {!r} twice" if name in names else "no column {!r}"
                    raise ValueError(f"it has {has.format(name)}{nearest_name(name, names)}")
            columns = [(names.index(name), name, array("d")) for name in mapping.places()]
            for cells in filter(None, rows):
                line = rows.line_num
                if len(cells) != len(names):
                    raise ValueError(f"line {line} has {len(cells)} cells, the first {len(names)}")
                for index, name, column in columns:
                    column.append(_number(cells[index], line, name))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"it is no CSV in UTF-8: {error}") from None
    return from_table({name: np.array(column) for _, name, column in columns}, mapping)


def _own_mapping(names: Sequence[str], elements: Elements | None) -> LogMapping:
    if elements is None:
        raise ValueError("pass elements=policy.elements, or a mapping of columns")
    observation, action = ({name: name for name in group} for group in elements[:2])
    optional: Any = {name: name for name in _OPTIONAL if name in names}
    return LogMapping(observation=observation, action=action, episode="episode", **optional)


def _number(cell: str, line: int, name: str) -> float:
    """Return a cell as a number; NaN if it is empty."""
    cell = cell.strip()
    known = {"": math.nan, "true": 1.0, "false": 0.0}.get(cell.lower())
    try:
        return float(cell) if known is None else known
    except ValueError:
        raise ValueError(f"line {line}, column {name!r}: {show(cell)} is no number") from None


def write_csv(path: Path, episodes: Sequence[Log], elements: Elements) -> None:
    """Write episodes as a table, which `read_csv` reads bit for bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["episode", *elements.observation, *elements.action, *_OPTIONAL])
    for number, log in enumerate(episodes):
        last, unknown = len(log["actions"]), [""] * (len(elements.action) + len(_OPTIONAL))
        for step, seen in enumerate(log["observations"].tolist()):
            rest = unknown  # after the last step
            if step < last:
                earned = [log[name][step].item() for name in ("rewards", "log_probs")]
                known = ["" if math.isnan(number) else number for number in earned]
                success = int(log["success"] and step == last - 1)
                rest = [*log["actions"][step].tolist(), *known, success]
            writer.writerow([number, *seen, *rest])
    write_file(path, text.getvalue().encode())


# Messages: signals, each with a time of its own, held until the next one.


class _Signal(NamedTuple):
    times: np.ndarray
    """Times of the messages in ns, ascending, (R,)."""
    values: np.ndarray
    """(R,)."""

    def before(self, times: np.ndarray, *, inclusive: bool = True) -> np.ndarray:
        """Return the numbers of the last messages before some times; -1 for none."""
        return np.searchsorted(self.times, times, side="right" if inclusive else "left") - 1

    def held(self, times: np.ndarray, *, inclusive: bool = True) -> np.ndarray:
        """Return the values at some times; NaN before the first message."""
        index = self.before(times, inclusive=inclusive)
        return np.where(index < 0, np.nan, self.values[index])


def read_messages(path: Path, variant: str, mapping: LogMapping | None) -> Log:
    """Read an MCAP file ("mcap"), or a bag ("rosbag1", "rosbag2")."""
    if mapping is None:
        raise ValueError("it holds messages: pass a mapping of topics to elements")
    if mapping.control_step_s is None:
        raise ValueError("pass elements=policy.elements, or control_step_s in the mapping")
    groups = {
        "observation": mapping.observation.values(),
        "action": mapping.action.values(),
        **{name: [getattr(mapping, name)] for name in _OPTIONAL},
    }
    sources = {
        name: [s if isinstance(s, Field) else Field(s) for s in group if s is not None]
        for name, group in groups.items()
    }
    fields = [*dict.fromkeys(place.field for group in sources.values() for place in group)]
    marks = [*dict.fromkeys(each for each in (mapping.episode, mapping.step) if each is not None)]
    fields = [each for each in fields if each not in marks]
    arrays = iter(read_arrays("messages", path, variant=variant, fields=fields, marks=marks))
    signals: dict[str, _Signal] = {}
    for name in [*fields, *marks]:
        times, values = next(arrays), next(arrays)
        order = np.argsort(times, kind="stable")
        signals[name] = _Signal(times[order], values[order])
    scaled = {
        name: [
            _Signal(signals[p.field].times, p.scale * signals[p.field].values + p.offset)
            for p in group
        ]
        for name, group in sources.items()
    }
    spans = _spans(signals, mapping, [signals[name] for name in fields])
    if len(spans) > MOST_EPISODES:
        raise ValueError(f"it holds {len(spans):,} episodes, at most {MOST_EPISODES:,} are allowed")
    episodes = [_sample(scaled, signals, mapping, span) for span in spans]
    if not episodes:
        raise ValueError(f"no episode begins: {mapping.episode!r} is never 0 or more")
    seen, done, extra = zip(*episodes, strict=True)
    return _as_log(seen, done, {name: [each[name] for each in extra] for name in extra[0]})


def _spans(
    signals: Mapping[str, _Signal], mapping: LogMapping, own: Sequence[_Signal]
) -> list[tuple[int, int]]:
    """Return where episodes begin and end, in ns; the end is not of the episode."""
    moments = np.unique(np.concatenate([signal.times for signal in own]))
    begins, ends = int(moments[0]), int(moments[-1]) + 1
    if mapping.episode is not None:
        times, values = signals[mapping.episode]
        changes = np.flatnonzero(np.diff(values, prepend=np.nan))
        limits = [*times[changes].tolist(), max(ends, int(times[-1]) + 1)]
        pairs = zip(values[changes], limits[:-1], limits[1:], strict=True)
        return [(begin, end) for value, begin, end in pairs if value >= 0]
    if mapping.gap_s is None:
        return [(begins, ends)]
    cuts = np.flatnonzero(np.diff(moments) > mapping.gap_s * 1e9) + 1
    parts = np.split(moments, cuts)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def _sample(
    scaled: Mapping[str, list[_Signal]],
    signals: Mapping[str, _Signal],
    mapping: LogMapping,
    span: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the observations, the actions and the rest of one episode, step by step.

    A step observes what is known when it begins, and commands what was commanded last before it
    ends; its reward is the last one that came after it began, up to the moment in which it ends.
    """
    where = f"the episode at {span[0] / 1e9:.3f} s"
    observed, commanded = scaled["observation"], scaled["action"]
    try:
        starts, stops = _steps(observed, commanded, signals, mapping, span)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None
    stops = np.minimum(stops, span[1])  # commands before it, and the rest up to the moment before
    until = np.minimum(stops, span[1] - 1)
    moments = starts
    if max(int(s.times[s.before(until[-1:])[0]]) for s in observed) > starts[-1]:
        moments = np.append(starts, until[-1])  # the outcome of the last step was seen
    seen = np.stack([signal.held(moments) for signal in observed], axis=1)
    done = np.stack([signal.held(stops, inclusive=False) for signal in commanded], axis=1)
    if np.isnan(seen[0]).any() or np.isnan(done[0]).any():
        raise ValueError(f"{where} begins before every element is known, or with NaN")
    extra: dict[str, np.ndarray] = {}
    for signal in scaled["reward"]:
        index = signal.before(until)
        came = (index >= 0) & (signal.times[index] > starts)
        extra["reward"] = np.where(came, signal.values[index], np.nan)
    for signal in scaled["log_prob"]:
        extra["log_prob"] = signal.held(stops, inclusive=False)
    for signal in scaled["success"]:
        extra["success"] = signal.held(until)
    return seen, done, extra


def _steps(
    observed: Sequence[_Signal],
    commanded: Sequence[_Signal],
    signals: Mapping[str, _Signal],
    mapping: LogMapping,
    span: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the control steps of an episode begin and end, (T,) in ns.

    Regular steps begin with the newest observation at or before the first command, and go on until
    the last one.
    """
    begin, end = span
    assert mapping.control_step_s is not None
    step_ns = round(mapping.control_step_s * 1e9)
    if mapping.step is not None:
        times = signals[mapping.step].times
        starts = times[(times >= begin) & (times < end)]
        if not len(starts):
            raise ValueError(f"holds no message of {mapping.step}")
        found_ns = float(np.median(np.diff(starts))) if len(starts) > 1 else step_ns
        if abs(found_ns / step_ns - 1.0) > _SAME_CLOCK:
            raise ValueError(
                f"has a message of {mapping.step} every {found_ns / 1e9:.4g} s, but a control step "
                f"lasts {step_ns / 1e9:g} s: leave step out, and the log is resampled"
            )
        stops = np.append(starts[1:], int(starts[-1] + _AFTER_LAST * step_ns))
    else:
        ranges = [np.searchsorted(signal.times, span) for signal in commanded]
        if any(low == high for low, high in ranges):
            raise ValueError("holds no command")
        pairs = [*zip(commanded, ranges, strict=True)]
        first = max(int(signal.times[low]) for signal, (low, _) in pairs)
        last = max(int(signal.times[high - 1]) for signal, (_, high) in pairs)
        shown = [int(signal.before(np.array([first]))[0]) for signal in observed]
        if min(shown) < 0:
            raise ValueError("begins before every element is known")
        start = max(int(s.times[k]) for s, k in zip(observed, shown, strict=True))
        if (num_steps := (last - start) // step_ns + 1) > MOST_HORIZON:
            raise ValueError(
                f"lasts {num_steps:,} control steps, at most {MOST_HORIZON:,} are allowed: "
                "separate episodes by episode or gap_s"
            )
        starts = start + step_ns * np.arange(num_steps)
        stops = starts + step_ns
    return starts, stops
