"""Train and evaluate several task families, one after the other: `metarobot compare` on each.

The tables in the documentation are made from the evaluations by `scripts/update_docs.py`. All
options but these few are those of `metarobot compare`.

Each family trains what is missing and measures what is not measured yet. Interrupted, the same
command goes on where it was. Few trained policies are committed, so it trains for hours; git
ignores the run folders that it makes in docs/results.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import check_names

from metarobot.cli.compare_options import parse_compare, split_words
from metarobot.cli.main import main as metarobot
from metarobot.cli.parsing import parse
from metarobot.config import PRESETS


@dataclass(frozen=True, kw_only=True)
class ComparisonCommand:
    """Compare algorithms on several task families; other options: `metarobot compare`."""

    results: Path = Path("docs/results")
    """Folder that holds, or is to hold, FAMILY/FAMILY-seedSEED."""
    folder: str = ""
    """Where in FAMILY the evaluation goes; beside the run folders if not given."""
    families: tuple[str, ...] = tuple(PRESETS)
    """Presets of the families."""

    def __post_init__(self) -> None:
        """Check the families."""
        check_names("family", self.families, PRESETS)


def compare_lines(argv: Sequence[str]) -> list[list[str]]:
    """Return the words of `metarobot compare` for each family, all of them checked.

    Raises:
        ValueError: An option is wrong.
    """
    own, options = split_words(argv, ["--results", "--folder", "--families"])
    command, lines = parse(ComparisonCommand, own, "comparison.py"), []
    for family in command.families:
        runs = command.results / family
        folders = ["--runs", str(runs), "--out", str(runs / command.folder)]
        lines.append([family, *options, *folders])
        parse_compare(lines[-1], "comparison.py")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Compare family by family; return 0, or the exit code of what went wrong."""
    try:
        lines = compare_lines(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        print(f"comparison.py: error: {error}", file=sys.stderr)
        return 2
    for words in lines:
        if code := metarobot(["compare", *words]):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
