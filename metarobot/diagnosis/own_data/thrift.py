"""Reads structs in Thrift's compact protocol, which the headers of Parquet files are written in.

Source: the specification of the protocol, doc/specs/thrift-compact-protocol.md of Apache Thrift.
"""

from __future__ import annotations

from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""Types of fields; maps, which Parquet has none of, are not read."""
_DEEPEST = 8

Struct = dict[tuple[int, int], Any]
"""Fields by their numbers and types.  As in other readers, one of another type is another field."""


def read_struct(data: bytes, at: int, depth: int = 0) -> tuple[Struct, int]:
    """Return a struct, and where it ends; binary values are passed over, and become None.

    Raises:
        IndexError: It does not end within the data, or does not begin there.
        ValueError: It is none, is too deep, or its fields are out of order: of one that stands
            there twice, readers take either.
    """
    if at < 0:
        raise IndexError("before the data")
    fields: Struct = {}
    number = 0
    while head := data[at]:
        before = number
        number, at = (number + (head >> 4), at + 1) if head >> 4 else _read_integer(data, at + 1)
        if not before < number < 2**15:  # readers keep 16 bits
            raise ValueError(f"field {number}")
        kind = head & 15
        if kind in (TRUE, FALSE):  # the type is the value
            fields[number, kind] = None
        else:
            fields[number, kind], at = _read_value(data, at, kind, depth + 1)
    return fields, at + 1


def _read_value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        return _read_integer(data, at)
    if kind == STRUCT and depth <= _DEEPEST:
        return read_struct(data, at, depth)
    if kind in (LIST, SET) and depth <= _DEEPEST:
        return _read_list(data, at, depth + 1)
    if kind == BINARY:
        length, at = _read_varint(data, at)
        return None, at + length
    if kind in (TRUE, FALSE, BYTE, DOUBLE):
        return None, at + (8 if kind == DOUBLE else 1)
    raise ValueError(f"type {kind}, depth {depth}")


def _read_list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    length, kind = data[at] >> 4, data[at] & 15
    at += 1
    if length == 15:
        length, at = _read_varint(data, at)
    values = []
    for _ in range(length):
        value, at = _read_value(data, at, kind, depth)
        values.append(value)
        if at > len(data):
            raise IndexError("behind the data")
    return values, at


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer in zigzag coding: 0, -1, 1, -2 ... are 0, 1, 2, 3 ..."""
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer of seven bits a byte, the lowest first, of up to 63 bits."""
    value = 0
    for shift in range(0, 63, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("longer than 63 bits")
