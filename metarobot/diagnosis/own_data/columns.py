"""The columns of a recording: its time and its channels, with units in brackets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from metarobot.diagnosis.channels import Channel
from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.envs import nearest_name
from metarobot.envs.checked_numbers import show

TIME = "time_s"
LONGEST_NAME = 100
"""Characters of a name: of a channel, a label, a machine."""
_NUMBER = re.compile(r"[+-]?[\d.,]+([eE][+-]?\d+)?", re.ASCII)


def column_name(channel: Channel) -> str:
    """Return a channel as the header of a recording names it: "current [A]"."""
    return f"{channel.name} [{channel.unit}]" if channel.unit else channel.name


def read_channels(names: Sequence[str], path: Path) -> tuple[Channel, ...]:
    """Return the channel of every column but the time.

    Args:
        names: The header, `TIME` among them.
        path: Where it stands, for messages.

    Raises:
        OwnDataError: There is no time, no channel, a name twice, or a name is no name.
    """
    if all(_NUMBER.fullmatch(name) for name in names):
        raise OwnDataError(
            f"{path}: the first line must name the columns, such as {TIME},current [A]; it holds "
            f"numbers, {show(names[0])} first"
        )
    if TIME not in names:
        raise OwnDataError(
            f"{path} has no column {TIME}, the time of each sample in seconds; its columns are "
            f"{_listed(names)}{nearest_name(TIME, names)}"
        )
    channels = tuple(_channel(name, path) for name in names if name != TIME)
    if not channels:
        raise OwnDataError(f"{path} has no channel beside {TIME}: add what the sensors read")
    of_all = [TIME] * names.count(TIME) + [channel.name for channel in channels]
    for name in of_all:
        if of_all.count(name) > 1:
            raise OwnDataError(f"{path} has the column {name!r} twice: rename or drop one")
    return channels


def _channel(name: str, path: Path) -> Channel:
    """Read one name of a header, its unit in brackets where it has one."""
    if len(name) <= LONGEST_NAME and name.isprintable():
        name = unicodedata.normalize("NFC", name)
        before, bracket, unit = name.removesuffix("]").rpartition("[")
        has_unit = bracket and name.endswith("]") and "]" not in unit
        channel = Channel(before.rstrip(), unit) if has_unit else Channel(name, "")
        if channel.name:
            return channel
    raise OwnDataError(
        f"{path}: {show(name)} is no name of a channel: give every column a name of 1 to "
        f"{LONGEST_NAME} printable characters, such as current [A]"
    )


def order_like(
    first: Sequence[Channel], channels: Sequence[Channel], path: Path, first_path: Path
) -> list[int]:
    """Return where the channels of the first recording stand in another.

    Raises:
        OwnDataError: One is missing, too many, or has another unit.
    """
    places = {channel.name: place for place, channel in enumerate(channels)}
    units = {channel.name: channel.unit for channel in first}
    for channel in first:
        if channel.name not in places:
            extra = [name for name in places if name not in units]
            raise OwnDataError(
                f"{path} lacks the channel {channel.name!r}, which {first_path.name} has: all "
                f"recordings need the same channels{nearest_name(channel.name, extra)}"
            )
    for channel in channels:
        if channel.name not in units:
            raise OwnDataError(
                f"{path} has a channel {channel.name!r}, which {first_path.name} has not: drop "
                "it, or add it to all recordings"
            )
        if channel.unit != units[channel.name]:
            raise OwnDataError(
                f"{path} has {channel.name!r} in {channel.unit or 'no unit'!r}, {first_path.name} "
                f"in {units[channel.name] or 'no unit'!r}: convert one of them"
            )
    return [places[channel.name] for channel in first]


def _listed(names: Sequence[str]) -> str:
    """Return the first names of many."""
    shown = ", ".join(map(show, names[:5]))
    return f"{shown}, ..." if len(names) > 5 else shown
