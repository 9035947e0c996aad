"""The benchmark families of the literature, measured as the authors of MAML measured theirs.

By their published scripts, a return is that of the policy with its own action noise, each
adaptation step learns from 4,000 control steps, and the steps after the first are half as long.
(`metarobot evaluate` judges policies without action noise, shows what the noise of trials costs
beside it, and takes all steps alike.)  Only the episodes learned from differ here: they have the
noise of trials, as in training.

Writes ``literature.json``, from which `scripts/update_docs.py` makes the table in the
documentation, from the committed algorithms.  Source: `test_maml_cheetah.py`,
`test_maml_cheetah_direc.py` and `test_maml_point.py` in https://github.com/cbfinn/maml_rl.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metarobot.cli.main import prepare
from metarobot.cli.options import parse
from metarobot.cli.progress import StageDisplay
from metarobot.envs import FAMILIES
from metarobot.evaluation.evaluation import Progress, join_seeds, table_row
from metarobot.evaluation.protocol import EvaluationConfig, Scores, Trial
from metarobot.files import replace_rows
from metarobot.policies import GaussianPolicy, Params, repeat_params
from metarobot.presets import PRESETS
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import TrainedPolicy, TrainedRun, load_runs

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


def score(trial: Trial, trained: TrainedPolicy, num_adaptation_steps: int) -> list[Scores]:
    """Score an algorithm with its own action noise after 0..K adaptation steps."""
    params, scores = repeat_params(trained.params, len(trial.tasks)), []
    for step in range(num_adaptation_steps + 1):
        scores.append(Scores.of(_explore(trial, trained, trained.policy, params, step)))
        if step < num_adaptation_steps:
            episodes = _explore(trial, trained, trained.algorithm.trial_policy, params, step)
            params = take_step(trained, params, episodes, 1.0 if step == 0 else 0.5)
    return scores


def take_step(trained: TrainedPolicy, params: Params, episodes: Episodes, length: float) -> Params:
    """Take an adaptation step (of gradient ascent, and so linear in its size) of some length."""
    adapted = trained.algorithm.adapt(
        params, episodes, trained.algorithm.trial_advantages(episodes)
    )
    return {name: torch.lerp(leaf, adapted[name], length) for name, leaf in params.items()}


def _explore(
    trial: Trial, trained: TrainedPolicy, policy: GaussianPolicy, params: Params, step: int
) -> Episodes:
    return trial.collect(
        policy,
        params,
        num_episodes=trial.config.episodes_per_step,
        exploring=True,
        step=step,
        observe_task=trained.algorithm.observes_task,
    )


def measure(
    preset: str, runs: Sequence[TrainedRun], command: LiteratureCommand, progress: Progress
) -> list[dict[str, Any]]:
    """Measure all algorithms of several seeds; return a row for each after each adaptation step."""
    env_id = runs[0].env_id
    config = EvaluationConfig(
        num_tasks=command.num_tasks,
        episodes_per_step=LEARNED_FROM // FAMILIES[env_id].vector_class.default_horizon,
        num_adaptation_steps=command.num_adaptation_steps,
    )
    trial = Trial.of_split(env_id, "train", config)
    rows = []
    for done, name in enumerate(runs[0].policies):
        progress(f"{runs[0].path.parent}: {name}", done / len(runs[0].policies))
        policies = [run.policies[name] for run in runs]
        steps = config.num_adaptation_steps if policies[0].config.adaptation_steps else 0
        after = join_seeds([score(trial, trained, steps) for trained in policies])
        for step, scores in enumerate(after):
            row = table_row("train", name, step, True, scores, config)
            training_steps = policies[0].config.total_steps
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
