"""The benchmark families of the literature, measured as the authors of MAML measured theirs.

By their published scripts, a return is that of the policy with its own action noise, each block of
adaptation episodes holds 4,000 control steps, and the adaptation steps after the first are half as
long.  (`metarobot evaluate` judges policies without action noise, shows what the noise of exploring
costs beside it, and takes all steps alike.)  Only the episodes learned from differ here: they have
the noise of exploring, as in training.

Writes an evaluation of each family, ``literature.json``, from runs that `scripts/comparison.py` has
trained; `scripts/update_docs.py` makes the table in the documentation from them.

Source: `test_maml_cheetah.py`, `test_maml_cheetah_direc.py` and `test_maml_point.py` in https://github.com/cbfinn/maml_rl.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from commands import takes_options

from metarobot.cli.console import prepare
from metarobot.envs import find_family
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.io import write_file
from metarobot.progress import StageDisplay
from metarobot.training.load import TrainedRun, load_runs

LEARNED_FROM = 4000
"""Control steps of a block of adaptation episodes."""


@dataclass(frozen=True, kw_only=True)
class LiteratureCommand:
    """Measure algorithms on the benchmark families as the authors of MAML did."""

    results: Path = Path("docs/results")
    """Folder that holds FAMILY/FAMILY-seedSEED, and longer/FAMILY/FAMILY-seedSEED for algorithms
    that were trained for longer than their preset says."""
    out: Path | None = None
    """Folder for FAMILY/literature.json; that of the results if not given."""
    families: tuple[str, ...] = (
        *("half-cheetah-direction", "half-cheetah-velocity"),
        "point-navigation",
    )
    """Presets of the families."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    num_tasks: int = 40
    """Tasks of the training range, drawn anew."""
    num_blocks: int = 3
    """Blocks of adaptation episodes, one after the other."""


def load_groups(family: str, command: LiteratureCommand) -> list[tuple[Path, list[TrainedRun]]]:
    """Read the runs of a family, and those that were trained for longer where there are any.

    Returns:
        Each group of runs with its folder, relative to the results.

    Raises:
        RunError: A run is missing, or cannot be read.
    """
    longer = Path("longer") / family
    folders = [Path(family), *([longer] if (command.results / longer).exists() else [])]
    names = [f"{family}-seed{seed}" for seed in command.seeds]
    return [
        (folder, load_runs([command.results / folder / name for name in names]))
        for folder in folders
    ]


def authors_protocol(env_id: str, command: LiteratureCommand) -> EvaluationConfig:
    """Return how the authors of MAML measured a family."""
    episodes = LEARNED_FROM // find_family(env_id).default_horizon
    return EvaluationConfig(
        num_tasks=command.num_tasks,
        adaptation_episodes=(),
        num_blocks=command.num_blocks,
        episodes_per_block=episodes,
        later_step_length=0.5,
        test_episodes=episodes,
        action_noise="trained",
        splits=("train",),
        untrained=(),
        heat_map=False,
    )


@takes_options(LiteratureCommand, "literature.py")
def main(command: LiteratureCommand) -> None:
    """Read all runs, then measure."""
    groups = [group for f in command.families for group in load_groups(f, command)]
    console = prepare()
    with StageDisplay(console) as stages:
        for folder, runs in groups:
            protocol = authors_protocol(runs[0].env_id, command)
            path = (command.out or command.results) / folder / "literature.json"
            evaluation = evaluate_runs(runs, protocol, stages)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, evaluation.to_json())
            console.print(f"literature: {path}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
