"""Write the tables of the documentation, from the code and the committed results.

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else is left
alone.  The tests fail when a table is not what this script would write.
"""

from __future__ import annotations

import re
import sys

from docs_tables import BLOCKS
from shared import ROOT

from metarobot.envs import FAMILIES, file_name

PAGES = (
    "docs/environments.md",
    "docs/choosing.md",
    "docs/diagnosis.md",
    "docs/explain.md",
    "docs/remaining-life.md",
    "docs/results.md",
    "docs/training.md",
    "docs/variants.md",
    "docs/scenes.md",
    *(f"docs/families/{file_name(env_id)}.md" for env_id in FAMILIES),
)
_BLOCK = re.compile(r"(<!-- generated: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(text: str) -> str:
    """Return a page with every generated block written anew.

    Raises:
        KeyError: A block's name is unknown.
    """
    return _BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}", text)


def main() -> int:
    """Update every page."""
    for name in PAGES:
        page = ROOT / name
        old = page.read_text(encoding="utf-8")
        new = update(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"updated {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
