"""`metarobot evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from metarobot.cli.console import print_evaluation, shell_line
from metarobot.cli.parsing import Argument, OutsideOptions, arguments_of, parse
from metarobot.config import MOST_FILMS
from metarobot.envs.checks import require_integers
from metarobot.evaluation.protocol import EvaluationConfig


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """Measure adaptation on tasks never trained on, and write the report."""

    runs: Annotated[tuple[Path, ...], Argument("RUN", positional=True)]
    """Run folders: several seeds of one task family."""
    out: Path
    """Folder for evaluation.json, evaluation.csv, the pictures and report.html."""
    video: Path | None = None
    """MP4 from `metarobot render` to show in the report, up to 64 MiB."""
    films: int = 4
    """Films of the worst tasks in the report; needs OpenGL."""
    best: bool = False
    """Measure the policies with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Measure on a variant of the family: a .toml file, or the name of one that `metarobot list
    FAMILY` names. Runs trained on a variant are measured on it if not given; none is the family
    itself."""
    scene: Path | None = None
    """New place of the scene, if the runs were trained in one of yours that has moved."""
    config: EvaluationConfig = field(default_factory=lambda: EvaluationConfig(robustness=True))
    """Sizes of the measurement."""

    def __post_init__(self) -> None:
        """Refuse more films than a report holds."""
        require_integers(self, {"films": (0, MOST_FILMS)})


def run(arguments: list[str], prog: str) -> int:
    """Evaluate runs."""
    options = parse(Options, arguments, prog)
    from metarobot.api import evaluate  # after help, which does not wait for torch

    evaluation = evaluate(**arguments_of(options), command=shell_line(prog, arguments))
    return print_evaluation(evaluation, options.out)
