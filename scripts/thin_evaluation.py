"""Thin an evaluation to what the tables of the documentation read, small enough to commit.

What goes are the curves of exploring episodes, where others judge the policy, and the worst tasks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from commands import takes_options

from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json, write_file


@dataclass(frozen=True, kw_only=True)
class ThinEvaluationCommand:
    """Thin an evaluation."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EVALUATION.json")]
    """File that `metarobot evaluate` or `metarobot compare` has written."""
    out: Path
    """File to write."""


def thin_evaluation(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation with the curves by which policies are judged, and little else."""
    pairs = [(p.algorithm, split) for p in evaluation.policies for split in evaluation.splits]
    curves = [curve for pair in pairs if (curve := evaluation.judged(*pair))]
    return replace(evaluation, curves=tuple(curves), worst_tasks=())


@takes_options(ThinEvaluationCommand, "thin_evaluation.py")
def main(command: ThinEvaluationCommand) -> None:
    """Thin."""
    thin = thin_evaluation(Evaluation.from_dict(read_json(command.source)))
    command.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(command.out, thin.to_json())


if __name__ == "__main__":
    sys.exit(main())
