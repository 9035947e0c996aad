"""What users may write: variants, and scenes within limits."""

from __future__ import annotations

import ast
import inspect

from docs_tables.markdown import markdown_table
from metarobot.envs import SceneLimits, find_variant, shipped_variants


def scene_limits() -> str:
    """Return how large a user's scene may be: the fields of SceneLimits with their docstrings."""
    body = ast.parse(inspect.getsource(SceneLimits)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = [ast.literal_eval(n.value) for n in body.body[1:] if isinstance(n, ast.Expr)]
    values = vars(SceneLimits()).items()
    rows = [(f"`{n}`", f"{v:,}", t) for (n, v), t in zip(values, texts, strict=True)]
    return markdown_table(("limit", "value", "what it bounds"), rows)


def variants() -> str:
    """Return one line per variant that comes with the package."""
    found = {name: find_variant(name) for name in shipped_variants()}
    rows = [
        (f"[`{name}`](../envs/shipped_variants/{name}.toml)", v.vector_class.family, v.description)
        for name, v in found.items()
    ]
    return markdown_table(("variant", "of", "what is special about it"), rows)
