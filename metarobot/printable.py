"""Text from outside, made fit to print: names of files, values from files, messages of libraries.

A terminal obeys some characters instead of showing them: escape sequences recolour it or rename
its window, a newline makes one message look like two, and bidirectional marks let a name read
backwards.  Whatever is printed goes through `printable`, which writes such characters out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

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


def listed(names: Sequence[str], most: int = 8) -> str:
    """Name the first of many, and say how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character == "\N{NO-BREAK SPACE}"
