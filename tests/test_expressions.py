"""No regular expression takes the square of the length of what it reads."""

import ast
import re
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NUM_CHARACTERS = 60_000
PIECES = [*"1 a-_.,:;([{=/\\+'\"\n\t", "nan(", "[A", "1.", "e1", "line ", "a.", "\x1b[", "url("]
ENDS = ["", "x", "!", "]", ")"]
MOST_S = 0.5
OWN_TEXT = {"scripts/update_docs.py", "scripts/build_site.py"}
"""Scripts that read only pages of this repository."""


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


def expressions() -> dict[str, tuple[str, bytes | str]]:
    """Return the method and the expression of every call, by file and line."""
    found = {}
    for name, text in sources().items():
        tree = ast.parse(text)
        compiled = {
            node.targets[0].id: node.value.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("re.compile(")
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                pattern = compiled.get(owner)
                if owner == "re" and node.func.attr not in ("compile", "escape"):
                    pattern = node.args[0].value
                if pattern is not None and name not in OWN_TEXT:
                    found[f"{name}:{node.lineno}"] = node.func.attr, pattern
    return found


EXPRESSIONS = expressions()


def test_all_expressions_are_found():
    text = "".join(sources().values())
    assert len(EXPRESSIONS) >= text.count("re.compile(") > 5


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_an_expression_takes_as_long_as_its_text_and_not_the_square(place):
    method, pattern = EXPRESSIONS[place]
    for piece in PIECES:
        for end in ENDS:
            text = piece * (NUM_CHARACTERS // len(piece)) + end
            text = text.encode() if isinstance(pattern, bytes) else text
            read = getattr(re.compile(pattern), "sub" if method == "sub" else method)
            start = time.process_time()
            read(text[:0], text) if method == "sub" else read(text)
            assert time.process_time() - start < MOST_S, (pattern, piece, end)
