"""The headroom table: what knowing the task is worth in every family, and how much is captured.

One command trains the algorithms that are missing, evaluates what is not evaluated yet, and writes
``headroom.json``, from which `scripts/update_docs.py` makes the table in the documentation.
Interrupted, it goes on where it was.  Few trained policies are
committed, so it trains for hours; git ignores the run folders that it makes in docs/results.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from metarobot.algorithms import STANDARD_ALGORITHMS
from metarobot.cli.listing import make_console
from metarobot.cli.parsing import parse
from metarobot.cli.progress import StageDisplay, TrainingDisplay
from metarobot.envs import nearest_name, silence_mujoco
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.statistics import captured_is_meaningful
from metarobot.files import read_json, replace_rows
from metarobot.presets import PRESETS
from metarobot.reporting.folder import evaluate_to_folder
from metarobot.training.load import load_runs
from metarobot.training.runs import complete_run

EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class HeadroomCommand:
    """Train, evaluate and tabulate every task family."""

    out: Path = Path("docs/results")
    """Folder that holds, or is to hold, FAMILY/FAMILY-seedSEED, FAMILY/evaluation.json and
    headroom.json."""
    families: tuple[str, ...] = tuple(PRESETS)
    """Presets of the families; headroom.json keeps its rows of the others."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    again: bool = False
    """Evaluate again what is evaluated already."""
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How much is measured."""

    def __post_init__(self) -> None:
        """Check the families."""
        for family in self.families:
            if family not in PRESETS:
                allowed = ", ".join(PRESETS)
                raise ValueError(
                    f"no family {family!r}, allowed: {allowed}{nearest_name(family, PRESETS)}"
                )


def train_missing(family: str, seed: int, out: Path, console: Console) -> Path:
    """Train what is missing of the algorithms of a family and seed; return their run folder."""
    config = replace(PRESETS[family], seed=seed)
    run = out / family / f"{family}-seed{seed}"
    with TrainingDisplay(STANDARD_ALGORITHMS, config.total_steps, console) as display:
        complete_run(config, STANDARD_ALGORITHMS, run, display)
    return run


def evaluate_missing(
    family: str, runs: Sequence[Path], command: HeadroomCommand, console: Console
) -> dict[str, Any]:
    """Evaluate a family unless that is done; return the evaluation."""
    folder = command.out / family
    if (folder / EVALUATION_FILE).exists() and not command.again:
        return read_json(folder / EVALUATION_FILE)
    line = shlex.join(["metarobot", "evaluate", *map(str, runs), "--out", str(folder)])
    with StageDisplay(console) as stages:
        loaded = load_runs(runs)
        return evaluate_to_folder(loaded, folder, command.config, commands=[line], progress=stages)


def headroom_rows(family: str, evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row a split: interquartile means with intervals, and what one step captures.

    ``headroom`` is (oracle - domain randomisation) / (oracle - random) and ``captured_1`` is
    (adapted_1 - domain randomisation) / (oracle - domain randomisation), both of the mean returns,
    which stand beside the interquartile means as ``*_mean``.  Where the oracle itself is lost, the
    fraction captured is not ``meaningful``.
    """
    stages = {
        "random": ("random", 0, True),
        "domain_randomisation": ("domain_randomisation", 0, False),
        "adapted_1": ("maml", 1, False),
        "adapted_3": ("maml", 3, False),
        "oracle": ("oracle", 0, False),
    }
    found = {
        (row["split"], row["algorithm"], row["adaptation_steps"], row["exploration"]): row
        for row in evaluation["rows"]
    }
    rows = []
    for entry in evaluation["headroom"]:
        if entry["algorithm"] != "maml":
            continue
        row: dict[str, Any] = {"family": evaluation["family"], "preset": family}
        row["split"] = entry["split"]
        for name, stage in stages.items():
            measured = found.get((entry["split"], *stage))
            row[name] = measured and measured["return_iqm"]
            row[f"{name}_ci"] = measured and measured["return_iqm_ci"]
            row[f"{name}_mean"] = measured and measured["return_mean"]
        row["headroom"] = entry["headroom_over_random"]
        row["captured_1"] = entry["captured"][1]
        row["captured_1_ci"] = entry["captured_ci"][1]
        row["captured_1_per_seed"] = entry["captured_per_seed"][1]
        row["meaningful"] = captured_is_meaningful(entry)
        row["seeds"] = evaluation["seeds"]
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Make the table; return 0, or 2 on bad input."""
    try:
        command = parse(HeadroomCommand, sys.argv[1:] if argv is None else argv, "headroom.py")
    except ValueError as error:
        print(f"headroom.py: error: {error}", file=sys.stderr)
        return 2
    silence_mujoco()
    console, table = make_console(), command.out / "headroom.json"
    for family in command.families:
        runs = [train_missing(family, seed, command.out, console) for seed in command.seeds]
        evaluation = evaluate_missing(family, runs, command, console)
        replace_rows(table, family, headroom_rows(family, evaluation), list(PRESETS))
    console.print(f"headroom: {table}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
