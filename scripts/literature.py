"""The benchmark families of the literature, measured as the authors of MAML measured theirs.

By their published scripts, a return is that of the policy with its own action noise, each
adaptation step learns from 4,000 control steps, and the steps after the first are half as long.
(`metarobot evaluate` judges policies without action noise, shows what the noise of trials costs
beside it, and takes all steps alike.)  Only the episodes learned from differ here: they have the
noise of trials, as in training.

Writes ``literature.json``, from which `scripts/update_docs.py` makes the table in the
documentation, from runs that `scripts/headroom.py` has trained.  Source: `test_maml_cheetah.py`,
`test_maml_cheetah_direc.py` and `test_maml_point.py` in https://github.com/cbfinn/maml_rl.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarobot.cli.main import prepare
from metarobot.cli.parsing import parse
from metarobot.cli.progress import StageDisplay
from metarobot.envs import find_family
from metarobot.evaluation.evaluation import Progress, join_seeds, table_row
from metarobot.evaluation.protocol import EvaluationConfig, Trial
from metarobot.files import replace_rows
from metarobot.presets import PRESETS
from metarobot.training.load import TrainedRun, load_runs

LEARNED_FROM = 4000
"""Control steps that an adaptation step learns from."""


@dataclass(frozen=True, kw_only=True)
class LiteratureCommand:
    """Measure algorithms on the benchmark families as the authors of MAML did."""

    results: Path = Path("docs/results")
    """Folder that holds FAMILY/FAMILY-seedSEED, and longer/FAMILY/FAMILY-seedSEED for algorithms
    that were trained for longer than their preset says."""
    out: Path = Path("docs/results/literature.json")
    """File to write."""
    families: tuple[str, ...] = (
        *("half-cheetah-direction", "half-cheetah-velocity"),
        "point-navigation",
    )
    """Presets of the families; literature.json keeps its rows of the others."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    num_tasks: int = 40
    """Tasks of the training range, drawn anew."""
    num_adaptation_steps: int = 3
    """Adaptation steps taken, K."""


def load_groups(family: str, command: LiteratureCommand) -> list[list[TrainedRun]]:
    """Read the runs of a family, and those that were trained for longer where there are any.

    Raises:
        RunError: A run is missing, or cannot be read.
    """
    longer = command.results / "longer" / family
    folders = [command.results / family, *([longer] if longer.exists() else [])]
    return [load_runs([folder / f"{family}-seed{n}" for n in command.seeds]) for folder in folders]


def authors_protocol(env_id: str, command: LiteratureCommand) -> EvaluationConfig:
    """Return how the authors of MAML measured a family."""
    episodes = LEARNED_FROM // find_family(env_id).default_horizon
    return EvaluationConfig(
        num_tasks=command.num_tasks,
        episodes_per_step=episodes,
        num_adaptation_steps=command.num_adaptation_steps,
        later_step_length=0.5,
        test_episodes=episodes,
        action_noise="trained",
    )


def measure(
    preset: str, runs: Sequence[TrainedRun], command: LiteratureCommand, progress: Progress
) -> list[dict[str, Any]]:
    """Measure all algorithms of several seeds; return a row for each after each adaptation step."""
    env_id = runs[0].env_id
    config = authors_protocol(env_id, command)
    trial = Trial.of_split(env_id, "train", config)
    rows = []
    for done, name in enumerate(runs[0].policies):
        progress(f"{runs[0].path.parent}: {name}", done / len(runs[0].policies))
        algorithms = [run.policies[name] for run in runs]
        steps = config.num_adaptation_steps if algorithms[0].algorithm.adapts else 0
        after = join_seeds([trial.score(algorithm, steps) for algorithm in algorithms])
        for step, scores in enumerate(after):
            row = table_row("train", name, step, True, scores.judged, config)
            training_steps = algorithms[0].config.total_steps
            rows.append({"preset": preset, **row, "training_steps": training_steps})
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 2 on bad input."""
    try:
        command = parse(LiteratureCommand, sys.argv[1:] if argv is None else argv, "literature.py")
        runs_of = {family: load_groups(family, command) for family in command.families}
    except ValueError as error:
        print(f"literature.py: error: {error}", file=sys.stderr)
        return 2
    console = prepare()
    with StageDisplay(console) as stages:
        for family, groups in runs_of.items():
            rows = [row for runs in groups for row in measure(family, runs, command, stages)]
            replace_rows(command.out, family, rows, list(PRESETS))
    console.print(f"literature: {command.out}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
