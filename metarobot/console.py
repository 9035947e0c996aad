"""The terminal and notebooks: escaped text, streams that never raise, signals, progress.

A terminal obeys some characters instead of showing them: escape sequences recolour it, a newline
makes one message look like two, bidirectional marks let a name read backwards.  All printed text
goes through `printable`, which escapes such characters.

Printing must not stop a command from writing its files.  So a character that the encoding lacks is
escaped, a closed pipe is ignored, and a full disk is reported at the end.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST_LINE = 1400
"""Most characters of a line on stderr, which may quote a file."""
_PIPE_WIDTH = 1000  # characters; so wide that no cell is ever cut or wrapped
_SHORT_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_UNDECODED = range(0xDC80, 0xDD00)
"""Python's code points for bytes 0x80 to 0xff of a file name that is not UTF-8."""


def printable(text: str) -> str:
    r"""Return text in one line that shows every character, "a\x1b[2Jb" with its backslash."""
    if text.isprintable():  # much faster, and the usual case
        return text
    return "".join(c if c.isprintable() or c == "\N{NO-BREAK SPACE}" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
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
    """Return a console that never wraps in a pipe, and is silent in all but the first process."""
    from rich.console import Console

    quiet = not is_first_process()
    console = Console(highlight=False, quiet=quiet)
    if console.is_terminal:
        return console
    # In a notebook lines are text too; its streams say that they are terminals.
    plain: dict[str, Any] = {"force_jupyter": False, "force_terminal": False}
    return Console(highlight=False, width=_PIPE_WIDTH, quiet=quiet, **plain)


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
    """Print one line on stderr, cut to LONGEST_LINE characters."""
    line = printable(message)
    shown = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."
    print(f"metarobot: {shown}", file=sys.stderr)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first names, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


class StageDisplay:
    """Shows the progress of work in named stages; called with (stage, share done, 0 to 1)."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console()
        self._stage = ""
        self._progress: Any = None
        self._view: NotebookView | None = None

    def __enter__(self) -> Self:
        """Show a bar, if there is a terminal or a notebook."""
        in_terminal = self._console.is_terminal
        if not in_terminal and (self._console.quiet or not in_notebook()):
            return self
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._bar = self._progress.add_task("", total=1.0)
        if in_terminal:
            self._progress.start()
        else:
            self._view = NotebookView(lambda: self._progress)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar; in a notebook it stays as it is."""
        if self._view is not None:
            if error[:1] in ((), (None,)):
                self._progress.update(self._bar, completed=1.0)
            self._view.stop()
        elif self._progress is not None:
            self._progress.stop()

    def __call__(self, stage: str, share: float) -> None:
        """Show the stage and the share of all the work that is done, 0 to 1."""
        if self._progress is not None:
            self._progress.update(self._bar, description=printable(stage), completed=share)
            if self._view is not None:
                self._view.refresh()
        elif stage != self._stage:
            print_line(self._console, f"{share:4.0%}  {stage}")
        self._stage = stage


class _EnduringFile(io.FileIO):
    """A descriptor to write to: data that it does not take is lost, and the error is kept."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or lose, all of data; after a first failure nothing more is written."""
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


@contextmanager
def unfailing_streams() -> Iterator[Callable[[], OSError | None]]:
    """Let nothing that is printed raise, until the end of the block.

    A stream that was closed before the process began discards its text; a stream that was replaced,
    as tests do, stays.

    Returns:
        A function that returns the error by which standard output lost text: None if it lost none,
        or if its reader has closed the pipe.
    """
    old: dict[str, Any] = {"stdout": sys.stdout, "stderr": sys.stderr}
    for descriptor in range(3):  # else the next file to be opened gets the number
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number
    enduring: dict[str, _EnduringFile] = {}
    for descriptor, (name, stream) in enumerate(old.items(), 1):
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  logs keep it
        elif stream is getattr(sys, f"__{name}__") and _is_plain(stream):
            enduring[name] = file = _EnduringFile(descriptor, "w", closefd=False)
            new = io.TextIOWrapper(
                io.BufferedWriter(file),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering or stream.write_through,
            )
            setattr(sys, name, new)

    def problem() -> OSError | None:
        sys.stdout.flush()
        failure = enduring["stdout"].failure if "stdout" in enduring else None
        return None if isinstance(failure, BrokenPipeError) else failure

    try:
        yield problem
    finally:
        for name, stream in old.items():
            with suppress(OSError, ValueError):
                getattr(sys, name).flush()
            setattr(sys, name, stream)


def _is_plain(stream: Any) -> bool:
    """Whether a stream writes to a descriptor, and not to a console of Windows."""
    buffer = getattr(stream, "buffer", None)
    return type(getattr(buffer, "raw", buffer)) is io.FileIO


class InterruptedCommandError(KeyboardInterrupt):
    """A signal ends the work; partial files are removed on the way out.

    Args:
        signal_number: The signal.
        way_on: Advice how to continue the work, if it can be.
    """

    def __init__(self, signal_number: int, way_on: str = "") -> None:
        self.signal_number = signal_number
        name = signal.Signals(signal_number).name
        super().__init__(f"interrupted by {name}: {way_on}" if way_on else f"interrupted by {name}")


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into an exception; a second signal ends the process.

    Signals that are ignored stay so (nohup).  torchrun ends its processes itself.

    Raises:
        InterruptedCommandError: A signal has come.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        for each in heard:
            signal.signal(each, signal.SIG_DFL)
        raise InterruptedCommandError(number)

    with _handling([] if _is_under_torchrun() else heard, interrupt):
        yield


@dataclass
class StopRequest:
    """A request to stop."""

    signal_number: int = 0
    """The signal that requested it; 0 for none."""


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second Ctrl-C interrupts at once."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        del frame  # torchrun repeats the signals that it gets
        if request.signal_number and number == signal.SIGINT and not _is_under_torchrun():
            raise InterruptedCommandError(number)
        request.signal_number = request.signal_number or number

    with _handling([signal.SIGINT, signal.SIGTERM], ask):
        yield request


@contextmanager
def _handling(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals within the block; outside the main thread do nothing."""
    heard = numbers if threading.current_thread() is threading.main_thread() else []
    previous = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def is_first_process() -> bool:
    """Whether this process prints: of those that torchrun starts, only the first does."""
    return not _is_under_torchrun() or os.environ.get("RANK", "0") == "0"


def _is_under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


# Notebooks: tables as HTML, and a view that is drawn again while work goes on.

_INTERVAL_S = 0.25
"""Least time between two drawings, in seconds."""


def in_notebook() -> bool:
    """Whether output goes to a notebook, which shows HTML."""
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter


def html_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, side: str = "right"
) -> str:
    """Return a table as HTML, its text escaped; colours are those of the notebook, light or dark.

    Args:
        title: A line above it.
        headings: The first is that of the labels; empty for a table without.
        rows: Cells, the label first.
        side: Side on which cells after the label are aligned: left for text.
    """

    def cells(row: Sequence[str], tag: str) -> str:
        sides = ("left", *(side for _ in row[1:]))
        found = (
            f'<{tag} style="text-align: {at}">{escape(cell)}</{tag}>'
            for at, cell in zip(sides, row, strict=True)
        )
        return f"<tr>{''.join(found)}</tr>"

    head = f"<thead>{cells(headings, 'th')}</thead>" if headings else ""
    body = "".join(cells(row, "td") for row in rows)
    caption = f"<p>{escape(title)}</p>"
    return f'{caption}<table class="dataframe">{head}<tbody>{body}</tbody></table>'


class NotebookView:
    """One output of a cell, drawn again while work goes on.

    Args:
        draw: Function that returns what is shown: a table or bar of rich, which has HTML.
    """

    def __init__(self, draw: Callable[[], Any]) -> None:
        from IPython.display import display

        self._draw, self._drawn_s = draw, time.monotonic()
        self._handle: Any = display(draw(), display_id=True)

    def refresh(self) -> None:
        """Draw it again, if it was not drawn a moment ago."""
        if time.monotonic() - self._drawn_s >= _INTERVAL_S:
            self.stop()

    def stop(self) -> None:
        """Draw it as it is now."""
        self._drawn_s = time.monotonic()
        self._handle.update(self._draw())
