"""Episodes of a robot, in memory and as logs of other tools; docs/logs.md describes the formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from metarobot.adaptation.lerobot import read_lerobot, write_lerobot
from metarobot.adaptation.logs import (
    Elements,
    MappingLike,
    read_csv,
    read_mapping,
    read_messages,
    write_csv,
)
from metarobot.console import printable
from metarobot.envs.checks import show
from metarobot.io import Folder, followed
from metarobot.rollout import episodes as rollout

Format = Literal["lerobot", "mcap", "rosbag", "csv"]
MOST_LOG_BYTES = 2**36
"""Longest log of messages, which may hold those of cameras, which are not read."""


class Episodes(rollout.Episodes):
    """E episodes of T control steps, from a robot, from arrays or from a log of another tool."""

    @classmethod
    def from_log(
        cls,
        observations: Sequence[ArrayLike],
        actions: Sequence[ArrayLike],
        rewards: Sequence[ArrayLike] | None,
        *,
        log_probs: Sequence[ArrayLike] | None = None,
        success: Sequence[bool] | None = None,
    ) -> Self:
        """Build the adaptation episodes of one task from a log: E episodes of any lengths T_e.

        Example::

            log = mr.Episodes.from_log(observations, actions, rewards)
            adapted = policy.adapt_from(log)

        Args:
            observations: Observations before each step, in the family's units; E arrays (T_e, O),
                or (T_e + 1, O) with the one after the last step.  Without it, the outcome of that
                step is unknown.
            actions: Actions of the policy in half action ranges, with noise and before clipping; E
                arrays (T_e, A).  ``session.act`` returns clipped actions, which are enough for
                ``latent`` and ``rl2``; others need ``session.recorded.actions``.
            rewards: Reward of each step; E arrays (T_e,), NaN or None where it was not measured.
                None if none was measured.  Where one is missing, only algorithms that can do
                without adapt to the log.
            log_probs: Log-probability of each action under the policy that took it; E arrays
                (T_e,).  Some algorithms cannot do without.
            success: Whether each episode ended in success, (E,); not read when adapting.

        Returns:
            Episodes (1, E, T), T being the length of the longest.

        Raises:
            ValueError: Lengths or shapes do not go together, or a number is not finite.
        """
        done = _logged("actions", actions, 2)
        E = len(done)
        lengths = [len(episode) for episode in done]
        T = max(lengths)
        seen, final = _split_final(
            _logged("observations", observations, 2, lengths, extra=1), lengths
        )
        unknown = [np.full(length, np.nan) for length in lengths]
        earned = (
            unknown if rewards is None else _logged("rewards", rewards, 1, lengths, may_be_nan=True)
        )
        known = unknown if log_probs is None else _logged("log_probs", log_probs, 1, lengths)
        flags = [False] * E if success is None else [bool(flag) for flag in success]
        if len(flags) != E:
            raise ValueError(
                f"success must hold {E} values, one for each episode, got {len(flags)}"
            )
        return cls(
            observations=_fill(seen, T),
            final_observations=torch.from_numpy(final[None]),
            actions=_fill(done, T),
            log_probs=_fill(known, T),
            rewards=_fill(earned, T),
            mask=_fill([np.ones(length) for length in lengths], T),
            success=torch.tensor([flags]),
            unstable=torch.zeros(1, E, dtype=torch.bool),
            start=torch.zeros(1, E, 0),
        )

    def to_log(self) -> dict[str, Any]:
        """Return the steps that count, as `from_log` takes them: ``Episodes.from_log(**log)``.

        Raises:
            ValueError: The episodes are of several tasks, or one has no step that counts.
        """
        if self.num_tasks != 1:
            raise ValueError(f"a log is of one task, got {self.num_tasks}: take rows of one")
        counts = (self.mask[0] > 0).sum(-1).tolist()
        if 0 in counts:
            raise ValueError(f"episode {counts.index(0)} has no step that counts")

        def cut(block: Tensor) -> list[np.ndarray]:
            return [row[:count].numpy() for row, count in zip(block[0], counts, strict=True)]

        seen = [
            np.concatenate([shown, final[None]]) if np.isfinite(final).all() else shown
            for shown, final in zip(
                cut(self.observations), self.final_observations[0].numpy(), strict=True
            )
        ]
        known = cut(self.log_probs)
        return {
            "observations": seen,
            "actions": cut(self.actions),
            "rewards": cut(self.rewards),
            "log_probs": None if any(np.isnan(each).any() for each in known) else known,
            "success": self.success[0].tolist(),
        }

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        mapping: MappingLike = None,
        *,
        elements: Elements | None = None,
        format: Format | None = None,
    ) -> Self:
        """Read the episodes of one task from a log; its content says which format it has.

        Example::

            log = mr.Episodes.from_file("log.mcap", "mapping.toml", elements=policy.elements)
            adapted = policy.adapt_from(log)

        Args:
            path: File, or folder of a dataset or a bag.
            mapping: Places of the elements: a dictionary, or a .toml or .json file; see
                ``metarobot.adaptation.logs.LogMapping``.  Messages need one; without it, columns
                are named as the elements.
            elements: Elements of the policy.  Their names and rate are compared with the log's, and
                their order counts; without them, the order of the mapping or of the log does.
            format: The format that it must have; any if None.

        Returns:
            Episodes (1, E, T).

        Raises:
            OSError: It is missing or cannot be read.
            ValueError: It is damaged, too large, or lacks something, or a library is missing.
        """
        place = followed(Path(path))
        with _naming(path):
            found, variant = _recognise(place)
            if format not in (None, found):
                raise ValueError(f"it is a {found} log, not {format}")
            places = read_mapping(mapping, elements)
            if found == "csv":
                log = read_csv(place, places, elements)
            elif found == "lerobot":
                log = read_lerobot(place, places, elements)
            else:
                log = read_messages(place, variant, places)
            return cls.from_log(**log)

    @classmethod
    def from_lerobot(
        cls, path: str | Path, mapping: MappingLike = None, *, elements: Elements | None = None
    ) -> Self:
        """Read the folder of a LeRobotDataset v3.0, as `from_file`."""
        return cls.from_file(path, mapping, elements=elements, format="lerobot")

    @classmethod
    def from_mcap(
        cls, path: str | Path, mapping: MappingLike, *, elements: Elements | None = None
    ) -> Self:
        """Read an MCAP file, as `from_file`; its messages are JSON, or of ROS 1 or 2."""
        return cls.from_file(path, mapping, elements=elements, format="mcap")

    @classmethod
    def from_rosbag(
        cls, path: str | Path, mapping: MappingLike, *, elements: Elements | None = None
    ) -> Self:
        """Read a bag of ROS 1 or 2, as `from_file`."""
        return cls.from_file(path, mapping, elements=elements, format="rosbag")

    @classmethod
    def from_csv(
        cls, path: str | Path, mapping: MappingLike = None, *, elements: Elements | None = None
    ) -> Self:
        """Read a table, as `from_file`.

        Without a mapping, its columns are ``episode``, the names of the elements, and ``reward``,
        ``log_prob`` and ``success`` where known.
        """
        return cls.from_file(path, mapping, elements=elements, format="csv")

    def write(self, path: str | Path, elements: Elements, *, task: str = "") -> None:
        """Write the episodes of one task: a new LeRobotDataset v3.0, or a table.

        Args:
            path: A folder that does not exist, or a file that ends in .csv.
            elements: Names of the elements, and the rate: ``policy.elements``.
            task: Description of the task in the dataset.

        Raises:
            ValueError: The episodes are of several tasks or of other elements, something is there
                already, or a library is missing.
            OSError: It cannot be written.
        """
        sizes = self.observations.shape[-1], self.actions.shape[-1]
        wanted = len(elements.observation), len(elements.action)
        if sizes != wanted:
            raise ValueError(f"episodes have {sizes} elements, their names are {wanted}")
        log = self.to_log()
        log["log_probs"] = log["log_probs"] or [np.full(len(a), np.nan) for a in log["actions"]]
        logs = [dict(zip(log, each, strict=True)) for each in zip(*log.values(), strict=True)]
        if Path(path).suffix == ".csv":
            write_csv(Path(path), logs, elements)
        else:
            write_lerobot(Path(path), logs, elements, task)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Name the log in errors."""
    try:
        yield
    except ValueError as error:
        text = printable(str(error))
        raise ValueError(text if str(path) in text else f"{path}: {text}") from None


def _recognise(path: Path) -> tuple[Format, str]:
    """Return the format of a file or a folder, and which kind of it."""
    if path.is_dir():
        folder = Folder(path)
        kinds = folder.kinds()
        if "metadata.yaml" in kinds:
            for name in kinds:
                folder.open(name, MOST_LOG_BYTES).close()  # no links, and not too long
            return "rosbag", "rosbag2"
        if kinds.get("meta") == "folder":
            return "lerobot", ""
        raise ValueError("the folder holds neither meta/info.json nor metadata.yaml")
    with Folder(path.parent).open(path.name, MOST_LOG_BYTES) as file:
        start = file.read(4096)
    known: list[tuple[bytes, Format, str]] = [
        (b"\x89MCAP0\r\n", "mcap", "mcap"),
        (b"#ROSBAG V2.0\n", "rosbag", "rosbag1"),
        (b"SQLite format 3\0", "rosbag", "rosbag2"),
    ]
    for magic, name, variant in known:
        if start.startswith(magic):
            return name, variant
    if start.startswith(b"PAR1"):
        raise ValueError("it is one file of a dataset: name the folder that holds meta/info.json")
    if b"\0" in start or not start:
        raise ValueError("it is empty, or no MCAP, ROS bag, LeRobot dataset or CSV")
    return "csv", ""


def _split_final(
    episodes: Sequence[np.ndarray], lengths: Sequence[int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the observations before each step, and those after the last, (E, O), or NaN."""
    pairs = list(zip(episodes, lengths, strict=True))
    unseen = np.full_like(episodes[0][0], np.nan)
    final = [seen[length] if len(seen) > length else unseen for seen, length in pairs]
    return [seen[:length] for seen, length in pairs], np.stack(final)


def _logged(
    name: str,
    episodes: Iterable[ArrayLike],
    ndim: int,
    lengths: Sequence[int] | None = None,
    extra: int = 0,
    may_be_nan: bool = False,
) -> list[np.ndarray]:
    """Return logged arrays, checked; they have the lengths of the actions, or `extra` more."""
    if not isinstance(episodes, Iterable):
        raise ValueError(f"{name} must hold an array for each episode, got {show(episodes)}")
    arrays = [_numbers(f"{name} of episode {i}", episode) for i, episode in enumerate(episodes)]
    if not arrays:
        raise ValueError("a log must hold at least one episode")
    if lengths is not None and len(arrays) != len(lengths):
        raise ValueError(f"{name} must hold {len(lengths)} episodes as actions, got {len(arrays)}")
    need = "(T,) with" if ndim == 1 else "(T, elements) with one width and"
    for index, array in enumerate(arrays):
        if array.ndim != ndim or len(array) == 0 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{name} of each episode must have shape {need} at least one step, got "
                f"{array.shape} in episode {index}"
            )
        if lengths is not None and len(array) - lengths[index] not in (0, extra):
            or_more = ", or one more at the end" if extra else ""
            raise ValueError(
                f"{name} of episode {index} must have {lengths[index]} steps as its actions"
                f"{or_more}, got {len(array)}"
            )
        if not (np.isfinite(array) | (may_be_nan & np.isnan(array))).all():
            raise ValueError(f"{name} must be finite numbers, but are not in episode {index}")
    return arrays


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    """Return values in single precision; larger ones become infinite."""
    try:
        if np.iscomplexobj(values):
            raise ValueError("got complex ones")
        with np.errstate(over="ignore"):
            return np.asarray(values, np.float32)
    except Exception as error:  # the conversion of an unknown type may raise any
        why = " ".join(str(error).split())
        raise ValueError(f"{name} must be an array of numbers: {why}") from None


def _fill(episodes: Sequence[np.ndarray], horizon: int) -> Tensor:
    """Join ragged arrays (T_e, ...) to a block (1, E, T, ...), padded by 0."""
    block = np.zeros((1, len(episodes), horizon, *episodes[0].shape[1:]), np.float32)
    for row, episode in zip(block[0], episodes, strict=True):
        row[: len(episode)] = episode
    return torch.from_numpy(block)
