"""What is opened where a ``with`` block begins, and closed where it ends."""

from types import TracebackType
from typing import Self


class Closable:
    """A context manager that opens and closes itself."""

    def open(self) -> None:
        """Begin; called on the way into the block."""

    def close(self) -> None:
        """End; called on the way out of the block."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; what goes wrong then hides no error of the block."""
        try:
            self.close()
        except OSError:
            if error is None:
                raise
