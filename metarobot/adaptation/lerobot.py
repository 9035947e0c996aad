"""LeRobotDataset v3.0: episodes to a folder of Parquet and JSON files, and back.

Source: https://huggingface.co/docs/lerobot/lerobot-dataset-v3.  Beside its features, a dataset of
this package has ``next.observation.state``, whose last row of an episode is the outcome of the last
step, and ``log_prob``.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from metarobot.adaptation.logs import (
    Elements,
    Log,
    LogMapping,
    from_table,
    in_order,
    read_arrays,
    require_rate,
)
from metarobot.io import MAX_JSON_BYTES, Folder, json_bytes, parse_json, typed
from metarobot.machine import extra

MOST_PARQUET_BYTES = 2**28
VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
STATE, NEXT_STATE, ACTION = "observation.state", "next.observation.state", "action"
_OPTIONAL = {"reward": "next.reward", "success": "next.success", "log_prob": "log_prob"}
_COUNTERS = ("frame_index", "episode_index", "task_index")
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_FILE_NAME, _CHUNK_NAME = re.compile(r"file-\d{3,9}\.parquet"), re.compile(r"chunk-\d{3,9}")


class _Feature(msgspec.Struct):
    dtype: Annotated[str, msgspec.Meta(max_length=40)]
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=10**6)], ...], msgspec.Meta()]
    names: Any = None


class _Info(msgspec.Struct):
    codebase_version: Annotated[str, msgspec.Meta(max_length=40)]
    fps: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    data_path: Annotated[str, msgspec.Meta(max_length=200)]
    features: Annotated[dict[str, _Feature], msgspec.Meta(max_length=1000)]


def read_lerobot(path: Path, mapping: LogMapping | None, elements: Elements | None) -> Log:
    """Read the folder of a dataset.

    A place of a mapping is a feature, or an element of one: ``observation.state[2]``.

    Raises:
        ValueError: It has another version or rate, is damaged, holds several tasks, or lacks
            something.
    """
    folder = Folder(path)
    name = path / "meta" / "info.json"
    info = typed(parse_json((folder / "meta").read("info.json", MAX_JSON_BYTES), name), _Info, name)
    if info.codebase_version != VERSION:
        raise ValueError(
            f"it is a LeRobotDataset {info.codebase_version}, only {VERSION} is read: lerobot's "
            "convert_dataset_v21_to_v30.py makes one of v2.1"
        )
    if info.data_path != DATA_PATH:
        raise ValueError(f"{name} has data_path {info.data_path!r}, must be {DATA_PATH!r}")
    if elements is not None:
        require_rate(1.0 / info.fps, elements, f"it has {info.fps:g} frames a second")
    fields = mapping or _own_mapping(info.features, elements)
    names = [place.partition("[")[0] for place in fields.places()] + [*_COUNTERS]
    names += [NEXT_STATE] if mapping is None and NEXT_STATE in info.features else []
    names = [*dict.fromkeys(names)]
    for name in names:
        if name not in info.features:
            raise ValueError(f"it has no feature {name!r}, only {', '.join(info.features)}")
    table = dict(
        zip(names, read_arrays("columns", *_data_files(folder), columns=names), strict=True)
    )
    number, frame = table["episode_index"], table["frame_index"]
    begins = np.flatnonzero(np.diff(number, prepend=np.nan))
    expected = np.arange(len(number)) - np.repeat(begins, np.diff(begins, append=len(number)))
    if len(np.unique(number)) != len(begins) or not np.array_equal(frame, expected):
        raise ValueError("frames are missing, or not in order: frame_index must count from 0")
    if len(tasks := np.unique(table["task_index"])) > 1:
        raise ValueError(
            f"it holds {len(tasks)} tasks, but a policy adapts to one: keep the episodes of one"
        )
    log = from_table({place: _column(table, place) for place in fields.places()}, fields)
    if NEXT_STATE in table:  # its last row of an episode is the outcome of the last step
        places = [f"next.{place}" for place in fields.observation.values()]
        after = np.stack([_column(table, place) for place in places], axis=1)
        ends = after[[*(begins[1:] - 1), -1]]
        log["observations"] = [
            seen if np.isnan(end).all() else np.append(seen, [end], axis=0)
            for seen, end in zip(log["observations"], ends, strict=True)
        ]
    return log


def _own_mapping(features: Mapping[str, _Feature], elements: Elements | None) -> LogMapping:
    """Return the mapping of a dataset by its names, or in its own order if it has no names."""
    groups: list[Any] = []
    for k, feature in enumerate((STATE, ACTION)):
        wanted: Any = None if elements is None else elements[k]
        if feature not in features:
            raise ValueError(f"it has no feature {feature!r}: pass a mapping")
        size = int(np.prod(features[feature].shape))
        names = features[feature].names
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            names = [*(wanted or map(str, range(size)))]
        if len(names) != size or len({*names}) != size:
            raise ValueError(f"{feature} has {size} elements, must have {len(names)} named ones")
        places = {name: f"{feature}[{k}]" for k, name in enumerate(names)}
        groups.append(in_order(places, wanted, feature) if wanted is not None else places)
    optional: Any = {name: feature for name, feature in _OPTIONAL.items() if feature in features}
    return LogMapping(observation=groups[0], action=groups[1], episode="episode_index", **optional)


def _column(table: Mapping[str, np.ndarray], place: str) -> np.ndarray:
    """Return a feature of one element, or an element of a feature."""
    name, _, index = place.partition("[")
    values = table[name].reshape(len(table[name]), -1)
    if not index and values.shape[1] != 1:
        raise ValueError(f"{place!r} has {values.shape[1]} elements: name one, as {place}[0]")
    if index and not (re.fullmatch(r"\d{1,6}\]", index) and int(index[:-1]) < values.shape[1]):
        raise ValueError(f"{place!r} is no element of a feature of {values.shape[1]} elements")
    return values[:, int(index[:-1]) if index else 0]


def _data_files(folder: Folder) -> list[Path]:
    """Return the Parquet files in the order of their frames, none of them a link."""
    data, files = folder / "data", []
    for chunk in filter(_CHUNK_NAME.fullmatch, data.names()):
        names = [*filter(_FILE_NAME.fullmatch, (data / chunk).names())]
        for name in sorted(names, key=lambda each: (len(each), each)):
            (data / chunk).open(name, MOST_PARQUET_BYTES).close()
            files.append((data / chunk).path / name)
    if not files:
        raise ValueError(f"it holds no files {DATA_PATH}")
    return files


def write_lerobot(path: Path, episodes: Sequence[Log], elements: Elements, task: str) -> None:
    """Write episodes as a new folder; ``meta/info.json`` appears last.

    Raises:
        ValueError: The folder is there, or pyarrow is missing.
        OSError: It cannot be written.
    """
    with extra("logs", "writing a LeRobot dataset"):
        import pandas as pd
        import pyarrow  # noqa: F401
    folder = Folder(path)
    if folder.exists():
        raise ValueError(f"{path} is there already: name another folder")
    fps = 1.0 / elements.control_step_s
    fps = round(fps) if abs(fps - round(fps)) < 1e-9 else fps
    each = [_frames(log, k, fps) for k, log in enumerate(episodes)]
    rows = {name: np.concatenate([frames[name] for frames in each]) for name in each[0]}
    rows["index"] = np.arange(len(rows["index"]))
    # A feature that is known in no step is left out, and so are log-probabilities with gaps.
    unknown = [name for name, values in rows.items() if np.isnan(values).all()]
    unknown += ["log_prob"] if np.isnan(rows["log_prob"]).any() else []
    rows = {name: values for name, values in rows.items() if name not in unknown}
    names = {STATE: elements.observation, NEXT_STATE: elements.observation, ACTION: elements.action}
    info = {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": len(each),
        "total_frames": len(rows["index"]),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(each)}"},
        "data_path": DATA_PATH,
        "video_path": None,
        "features": {
            name: {
                "dtype": str(values.dtype),
                "shape": [values.shape[1] if values.ndim > 1 else 1],
                "names": [*names[name]] if name in names else None,
            }
            for name, values in rows.items()
        },
    }
    about = _about([{name: frames[name] for name in rows} for frames in each], task)
    tasks = io.BytesIO()
    pd.DataFrame({"task_index": [0]}, index=[task]).to_parquet(tasks)
    meta = folder / "meta"
    try:
        for place, name, content in (
            (folder / "data" / "chunk-000", "file-000.parquet", _parquet_bytes(rows)),
            (meta / "episodes" / "chunk-000", "file-000.parquet", _parquet_bytes(about)),
            (meta, "tasks.parquet", tasks.getvalue()),
            (meta, "stats.json", json_bytes({n: _statistics(v) for n, v in rows.items()})),
            (meta, "info.json", json_bytes(info)),
        ):
            place.make()
            place.write(name, content)
    except BaseException:
        folder.remove_tree()
        raise


def _frames(log: Mapping[str, Any], number: int, fps: float) -> dict[str, np.ndarray]:
    """Return the rows of one episode, in the order of the features."""
    count = len(log["actions"])
    seen, frame = log["observations"], np.arange(count)
    after = np.full((count, seen.shape[1]), np.nan, np.float32)
    after[: len(seen) - 1] = seen[1:]
    is_last = frame == count - 1
    rows = {
        STATE: seen[:count],
        NEXT_STATE: after,
        ACTION: log["actions"],
        "next.reward": log["rewards"],
        "next.done": is_last,
        "next.success": is_last & log["success"],
        "log_prob": log["log_probs"],
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(count, number),
        "index": frame,
        "task_index": np.zeros(count, int),
    }
    # A feature of one element is a column of numbers.
    return {name: row[:, 0] if row.shape[1:] == (1,) else row for name, row in rows.items()}


def _about(episodes: list[dict[str, np.ndarray]], task: str) -> dict[str, Any]:
    """Return the table of episodes."""
    counts = np.array([len(frames["index"]) for frames in episodes])
    ends, zeros = np.cumsum(counts), np.zeros(len(counts), int)
    stats = [{name: _statistics(values) for name, values in frames.items()} for frames in episodes]
    return {
        "episode_index": np.arange(len(counts)),
        "tasks": [[task]] * len(counts),
        "length": counts,
        "data/chunk_index": zeros,
        "data/file_index": zeros,
        "dataset_from_index": ends - counts,
        "dataset_to_index": ends,
        **{
            f"stats/{name}/{key}": [each[name][key] for each in stats]
            for name in stats[0]
            for key in stats[0][name]
        },
        "meta/episodes/chunk_index": zeros,
        "meta/episodes/file_index": zeros,
    }


def _statistics(values: np.ndarray) -> dict[str, list[float]]:
    """Return the statistics of a feature, element by element, without what is unknown."""
    rows = values.reshape(len(values), -1).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an element that is never known
        quantiles = np.nanquantile(rows, [*_QUANTILES.values()], axis=0)
        parts = {
            "min": np.nanmin(rows, axis=0),
            "max": np.nanmax(rows, axis=0),
            "mean": np.nanmean(rows, axis=0),
            "std": np.nanstd(rows, axis=0),
            **dict(zip(_QUANTILES, quantiles, strict=True)),
        }
    return {**{name: part.tolist() for name, part in parts.items()}, "count": [len(values)]}


def _parquet_bytes(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    def arrow(values: Any) -> Any:
        if isinstance(values, np.ndarray) and values.ndim > 1:
            return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return pa.array(values)

    file = io.BytesIO()
    parquet.write_table(pa.table({name: arrow(each) for name, each in columns.items()}), file)
    return file.getvalue()
