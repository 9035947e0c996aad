"""Files and functions stay short: the bars of the whole source tree."""

import ast
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 300, 50

LONGER_FILES = {
    "metarobot/cli/main.py",
    "metarobot/cli/options.py",
    "metarobot/config.py",
    "metarobot/reporting/adaptation_video.py",
    "metarobot/reporting/html.py",
    "metarobot/training/runs.py",
}
"""Files that are still to be split; no other may join them."""
LONGER_FUNCTIONS = {
    "metarobot/evaluation/evaluation.py:evaluate_runs",
    "metarobot/reporting/adaptation_video.py:render_adaptation",
    "metarobot/reporting/heat_map.py:heat_map",
    "metarobot/reporting/html.py:render_report",
    "metarobot/training/meta_trainer.py:step",
}
"""Functions that are still to be split, likewise."""


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


def test_no_file_is_long_but_those_that_are_listed():
    lengths = {name: len(text.splitlines()) for name, text in sources().items()}
    assert len(lengths) > 150
    longer = {name for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE}
    assert longer <= LONGER_FILES
    assert np.median([*lengths.values()]) <= 120


def test_functions_are_short():
    lengths = functions()
    assert len(lengths) > 1000
    longer = {
        name.rpartition(":")[0]
        for name, length in lengths.items()
        if length > MOST_LINES_OF_A_FUNCTION
    }
    assert longer <= LONGER_FUNCTIONS
    assert np.median([*lengths.values()]) <= 8
    assert np.percentile([*lengths.values()], 90) <= 25
