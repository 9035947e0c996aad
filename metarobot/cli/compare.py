"""`metarobot compare`: train several algorithms and seeds, and measure them on the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarobot.algorithms import ALGORITHMS
from metarobot.cli.console import print_evaluation, shell_line
from metarobot.cli.parsing import Parser, outside_modules
from metarobot.cli.train import (
    TrainingOptions,
    parse_training,
    require_algorithms,
    training_parser,
)
from metarobot.envs.checks import require_integers
from metarobot.envs.registration import file_name
from metarobot.envs.tasks import Split
from metarobot.evaluation.protocol import (
    COMPARISON,
    ActionNoise,
    EvaluationConfig,
    Rewards,
    Untrained,
)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TrainingOptions):
    """Train several algorithms with one budget, and evaluate them on the same held-out tasks.

    Options of the configuration, such as --total-steps, hold for every training. Finished trainings
    and measurements are kept: the same command continues an interrupted comparison.
    """

    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Algorithms to train; MODULE:NAME for one of yours."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    out: Path | None = None
    """Folder for the evaluation's files; runs/compare-PRESET if not given."""
    runs: Path | None = None
    """Folder for the run folders, one per seed; that of the evaluation if not given."""
    jobs: int = 1
    """Trainings at the same time on this machine, each with its share of the threads."""
    cluster: str | None = None
    """Address of a dask scheduler, such as tcp://10.0.0.1:8786, whose workers train instead. They
    need this package, and this folder at the same path. Set --num-threads where a machine has
    several workers."""
    test_tasks: int = COMPARISON.num_tasks
    """Held-out tasks per split."""
    test_episodes: int = 5
    """Test episodes per task."""
    adaptation_episodes: tuple[int, ...] = EvaluationConfig.adaptation_episodes
    """Adaptation episodes per task: policies are measured after one block of each of these numbers,
    and before adapting in any case."""
    num_blocks: int = 4
    """Blocks of adaptation episodes, one after the other, that are measured besides."""
    episodes_per_block: int = 20
    """Adaptation episodes per task in each of them."""
    later_step_length: float = 1.0
    """Step length of every block after the first, as a share of the full step."""
    action_noise: ActionNoise = "none"
    """Action noise of the test episodes."""
    rewards: Rewards = "seen"
    """Whether policies see rewards during the evaluation; if hidden, policies that need rewards to
    adapt are trained but not evaluated."""
    untrained: tuple[Untrained, ...] = COMPARISON.untrained
    """References that are measured besides; from_scratch and fine_tuning need domain_randomisation,
    strategy_search and identification the oracle. The last simulates much more than the others."""
    splits: tuple[Split, ...] = ()
    """Splits to measure; all of the family if not given."""
    heat_map: bool = COMPARISON.heat_map
    """Measure the heat map as well."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    heat_map_episodes: tuple[int, ...] = EvaluationConfig.heat_map_episodes
    """Adaptation episodes per task after which the heat map is measured; also before adaptation."""
    test_seed: int = EvaluationConfig.seed
    """Seed of the test tasks and of their episodes."""

    def __post_init__(self) -> None:
        """Refuse an unknown algorithm, and a comparison of none."""
        require_algorithms(self.algorithms)
        if not self.algorithms or not self.seeds:
            raise ValueError(
                "name at least one algorithm with --algorithms, and one seed with --seeds"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds names a seed twice: {' '.join(map(str, self.seeds))}")
        require_integers(self, {"jobs": (1, 1000)})

    @property
    def evaluation(self) -> EvaluationConfig:
        """Settings of the evaluation."""
        alike = (
            *("adaptation_episodes", "num_blocks", "episodes_per_block", "later_step_length"),
            *("test_episodes", "action_noise", "rewards", "untrained", "splits", "heat_map"),
            *("grid_size", "heat_map_episodes"),
        )
        values = {name: getattr(self, name) for name in alike}
        return EvaluationConfig(num_tasks=self.test_tasks, seed=self.test_seed, **values)


SHOWN = (
    *("preset", "algorithms", "seeds", "total_steps", "out", "runs", "jobs", "cluster", "variant"),
    *("num_tasks", "episodes_per_task", "test_tasks", "adaptation_episodes", "heat_map"),
)
"""Options that ``metarobot compare --help`` shows."""
_WITHOUT = ("seed",)


def make_parser(prog: str) -> Parser:
    """Return the parser with every option, for completion."""
    return training_parser(CompareOptions, prog, "", SHOWN, _WITHOUT, everything=True)


def parse_compare(arguments: Sequence[str], prog: str) -> tuple[CompareOptions, dict[str, Any]]:
    """Parse the arguments of `metarobot compare`; as `parse_training`."""
    return parse_training(CompareOptions, arguments, prog, SHOWN, _WITHOUT)


def run(arguments: list[str], prog: str) -> int:
    """Train the missing algorithms, and evaluate all."""
    options, given = parse_compare(arguments, prog)
    config = options.config(options.algorithms, given)
    out = options.out or Path("runs") / f"compare-{file_name(config.env_id)}"
    from metarobot.api import compare  # after help and refusals, which do not wait for torch

    evaluation = compare(
        config,
        algorithms=options.algorithms,
        seeds=options.seeds,
        out=out,
        runs=options.runs,
        jobs=options.jobs,
        cluster=options.cluster,
        initial_policy=options.initial_policy,
        wandb=options.wandb,
        modules=outside_modules(arguments),
        evaluation=options.evaluation,
        command=shell_line(prog, arguments),
    )
    return print_evaluation(evaluation, out)
