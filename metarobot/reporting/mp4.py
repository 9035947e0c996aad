"""Whether a file is an MP4 that browsers show: its boxes, and how its pictures are encoded.

Source: ISO/IEC 14496-12, the ISO base media file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PLAYED = {b"avc1": "H.264", b"avc3": "H.264", b"vp09": "VP9", b"av01": "AV1"}
"""Encodings that all browsers in use can show, by the name of their sample entry."""
_HEADER_BYTES = 8
_SAMPLE_ENTRY = re.compile(rb"stsd.{12}(.{4})", re.DOTALL)


def playing_problem(data: bytes) -> str | None:
    """Return why a browser would not show a file's content as an MP4, None if it would."""
    try:
        boxes = dict(_boxes(data))
    except ValueError as error:
        return str(error)
    if not boxes:
        return "it is empty"
    if missing := [name for name in ("moov", "mdat") if name.encode() not in boxes]:
        return f"it has no {missing[0]} box: was it cut off?"
    if not {*_SAMPLE_ENTRY.findall(boxes[b"moov"])} & {*_PLAYED}:
        return f"its pictures are none of {', '.join(dict.fromkeys(_PLAYED.values()))}"
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of every box on the top level.

    Raises:
        ValueError: A box does not end within the file.
    """
    start = 0
    while start < len(data):
        header, name = _HEADER_BYTES, data[start + 4 : start + 8]
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:  # the size follows, in 64 bits
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:  # the last box
            size = len(data) - start
        if start == 0 and name != b"ftyp":
            raise ValueError("it does not begin as an MP4 does")
        if size < header or start + size > len(data):
            raise ValueError("its boxes do not end where it ends: was it cut off?")
        yield name, data[start + header : start + size]
        start += size
