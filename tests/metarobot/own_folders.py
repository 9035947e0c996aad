"""A small folder of recordings, which tests change."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

HEADER = "time_s,current [A],vibration"
FILES = {"a.csv": "healthy", "b.csv": "healthy", "c.csv": "worn", "d.csv": "worn"}
NUM_ROWS = 20


def rows(seed: int, count: int = NUM_ROWS, rate: float = 100.0) -> list[str]:
    """Return the lines of a recording below its header."""
    values = np.random.default_rng(seed).normal(size=(count, 2))
    return [f"{k / rate:g},{a:.6g},{b:.6g}" for k, (a, b) in enumerate(values)]


def make_folder(folder: Path, count: int = NUM_ROWS) -> Path:
    """Write four recordings with two labels, of two machines."""
    folder.mkdir()
    for seed, name in enumerate(FILES):
        write(folder / name, [HEADER, *rows(seed, count)])
    machines = ("press 1", "press 2") * 2
    table = [f"{f},{label},{m}" for (f, label), m in zip(FILES.items(), machines, strict=True)]
    write(folder / "labels.csv", ["file,label,machine", *table])
    return folder


def write(path: Path, lines: list[str]) -> None:
    path.write_bytes(("\n".join(lines) + "\n").encode())


def lines_of(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1]


def change(path: Path, edit: Callable[[list[str]], list[str] | None]) -> None:
    """Change the lines of a file, in place or by returning others."""
    lines = lines_of(path)
    write(path, edit(lines) or lines)


def replace_cell(path: Path, line: int, column: int, cell: str) -> None:
    """Put another text into a cell; lines count from 1, as in messages."""

    def edit(lines: list[str]) -> None:
        cells = lines[line - 1].split(",")
        cells[column] = cell
        lines[line - 1] = ",".join(cells)

    change(path, edit)
