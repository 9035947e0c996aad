"""Files and functions stay short: the bars of the whole source tree."""

import ast
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 300, 50


def sources() -> dict[str, str]:
    """Return every file of the packages and scripts by its name, each once."""
    paths = [
        path
        for folder in ("envs", "policies", "metarobot", "scripts")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.is_relative_to(ROOT / "metarobot" / "envs")
        and not path.is_relative_to(ROOT / "metarobot" / "policies")
    ]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def functions() -> dict[str, int]:
    """Return the length of every function with its docstring, by file, name and line."""
    return {
        f"{name}:{node.name}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1
        for name, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_files_are_short():
    lengths = {name: len(text.splitlines()) for name, text in sources().items()}
    assert len(lengths) > 150
    assert not {name for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE}
    assert np.median([*lengths.values()]) <= 120


def test_functions_are_short():
    lengths = functions()
    assert len(lengths) > 1000
    assert not {name for name, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION}
    assert np.median([*lengths.values()]) <= 8
    assert np.percentile([*lengths.values()], 90) <= 25
