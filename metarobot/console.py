"""Printing: text from outside made harmless, and streams that never end a command.

A terminal obeys some characters instead of showing them: escape sequences recolour it, a newline
makes one message look like two, bidirectional marks let a name read backwards.  Whatever is printed
goes through `printable`, which spells such characters out.

A command is for its files and its exit code.  So while it runs, a character that the encoding
lacks is spelled out, a reader that has gone away is not waited for, and a full disk is reported at
the end.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from metarobot.machine import is_first_process

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST_LINE = 1400
"""Characters of what is said on stderr: some of it is from files."""
_PIPE_WIDTH = 1000  # characters; so wide that no cell is ever cut or wrapped
_SHORT_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_UNDECODED = range(0xDC80, 0xDD00)
"""How Python holds the bytes 0x80 to 0xff of a file's name that are no UTF-8."""


def printable(text: str) -> str:
    r"""Return text in one line that shows every character, "a\x1b[2Jb" with its backslash."""
    if text.isprintable():  # much faster, and the usual case
        return text
    return "".join(c if _is_harmless(c) else escaped(c) for c in text)


def escaped(character: str) -> str:
    r"""Write one character in ASCII as Python does: \x1b, \u202e; \xff for a byte not decoded."""
    if ord(character) in _UNDECODED:
        return f"\\x{ord(character) - 0xDC00:02x}"
    ascii_only = character.encode("ascii", "backslashreplace").decode("ascii")
    if ascii_only != character:
        return ascii_only
    return _SHORT_ESCAPES.get(character, f"\\x{ord(character):02x}")


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print one line as it is: without markup, emoji codes, highlights or line breaks."""
    from rich.text import Text

    console.print(Text(printable(text), style), soft_wrap=True)


def make_console() -> Console:
    """Return a console that never wraps in a pipe, and says nothing in the others of torchrun."""
    from rich.console import Console

    quiet = not is_first_process()
    console = Console(highlight=False, quiet=quiet)
    if console.is_terminal:
        return console
    return Console(highlight=False, width=_PIPE_WIDTH, quiet=quiet)


def make_table(headings: Iterable[str], rows: Iterable[Sequence[str]], console: Console) -> Table:
    """Return a table; outside a terminal without rules, padding or line breaks."""
    from rich.table import Table
    from rich.text import Text

    if console.is_terminal:
        table = Table(header_style="bold", title_justify="left")
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def say(message: str) -> None:
    """Print one line on stderr, of a length that a terminal takes."""
    line = printable(message)
    shown = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."
    print(f"metarobot: {shown}", file=sys.stderr)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Name the first of many, and say how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character == "\N{NO-BREAK SPACE}"


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
