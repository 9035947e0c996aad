"""Standard output and standard error that do not end a command, whatever they are connected to.

What a command is for are its files and its exit code.  So a character that the encoding lacks is
spelled out, a reader that has gone away is not waited for, and a disk that is full is reported
when the work is done.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metarobot.printable import escaped

_SPELL_OUT = "metarobot.spell_out"
_SPELLINGS = {
    **dict.fromkeys("−–—‐‑⁻─━╌╴╶╸╺", "-"),
    **dict.fromkeys("│┃╎", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┡┩┢┪╇╈", "+"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("\N{NO-BREAK SPACE}", " "),
    **dict(
        zip("→←↓…·•×±≤≥", ["->", "<-", "v", "...", "*", "*", "x", "+/-", "<=", ">="], strict=True)
    ),
    **dict(zip("²³½°µμ", ["2", "3", "1/2", "deg", "u", "u"], strict=True)),
    **dict(zip("αβγδε", ["alpha", "beta", "gamma", "delta", "epsilon"], strict=True)),
    **dict(zip("θλπστφΣ", ["theta", "lambda", "pi", "sigma", "tau", "phi", "sum"], strict=True)),
}
"""ASCII for the characters that the commands print; others are written by their number."""


class _EnduringFile(io.FileIO):
    """A descriptor to write to: what it does not take is lost, and the reason is kept."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or lose, all of data; after a first failure nothing is tried any more."""
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


class Output:
    """Standard output while a command runs.

    Args:
        file: The descriptor below it, or None where it is not the process's own.
    """

    def __init__(self, file: _EnduringFile | None) -> None:
        self._file = file

    def problem(self) -> OSError | None:
        """Return why some of the output is lost, None if nothing is, or nobody wanted it."""
        sys.stdout.flush()
        failure = self._file.failure if self._file else None
        return None if isinstance(failure, BrokenPipeError) else failure


def occupy_closed_descriptors() -> None:
    """Open what is closed of 0, 1 and 2: whatever is opened next would get that number.

    A file of ours would be printed to, and processes that we start would mix up their pipes.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(opened, True)


@contextmanager
def unfailing_streams() -> Iterator[Output]:
    """Let nothing that is printed raise, until the end of the block.

    A stream that was closed before the process began leads nowhere.
    """
    codecs.register_error(_SPELL_OUT, _spell_out)
    with _unfailing("stdout", 1) as file, _unfailing("stderr", 2):
        yield Output(file)


@contextmanager
def _unfailing(name: str, descriptor: int) -> Iterator[_EnduringFile | None]:
    """Put another stream in the place of one of sys, or change how it encodes where it is not ours.

    Streams that someone else has put there, as tests do, keep their way of writing.
    """
    old: Any = getattr(sys, name)
    file, new = None, old
    if old is None:
        new = open(os.devnull, "w", encoding="utf-8", errors=_SPELL_OUT)  # noqa: SIM115  logs keep it
    elif old is getattr(sys, f"__{name}__") and _is_plain(old):
        file = _EnduringFile(descriptor, "w", closefd=False)
        new = io.TextIOWrapper(
            io.BufferedWriter(file),
            encoding=old.encoding,
            errors=_SPELL_OUT,
            line_buffering=old.line_buffering or old.write_through,
        )
    with _spelling(old):
        setattr(sys, name, new)
        try:
            yield file
        finally:
            with contextlib.suppress(OSError, ValueError):
                getattr(sys, name).flush()
            setattr(sys, name, old)


def _is_plain(stream: Any) -> bool:
    """Whether a stream writes to a descriptor, and not to a console of Windows."""
    buffer = getattr(stream, "buffer", None)
    return type(getattr(buffer, "raw", buffer)) is io.FileIO


@contextmanager
def _spelling(stream: Any) -> Iterator[None]:
    """Let a stream spell out what it cannot encode, for a while."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=_SPELL_OUT)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    """Write in ASCII what an encoding lacks: a handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(c) or escaped(c) for c in missing), error.end
