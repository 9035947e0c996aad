"""The options of `metarobot compare`: its own, and all those of `metarobot train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import dropwhile
from pathlib import Path
from typing import Annotated

import tyro

from metarobot.algorithms import ALGORITHMS
from metarobot.cli.options import TrainCommand, require_algorithms
from metarobot.cli.outside import import_family, import_outside
from metarobot.cli.parsing import parse, parse_train
from metarobot.envs import Split
from metarobot.evaluation.protocol import (
    UNTRAINED,
    ActionNoise,
    EvaluationConfig,
    Rewards,
    Untrained,
)

_NOT_OF_TRAIN = {
    "--seed": "name the training seeds with --seeds",
    "--resume": "the same `metarobot compare` goes on with what was interrupted",
    "--overwrite": "what is trained is kept: name another folder with --out",
}
"""Options of `metarobot train` that a comparison does not take, and the way out."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Train several algorithms with one budget, and evaluate them on the same held-out tasks.

    Besides these options, all those of `metarobot train PRESET` are taken, such as --total-steps or
    --variant: they hold for every training. What is trained or measured already is kept: the same
    command goes on with what was interrupted.
    """

    preset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PRESET")]
    """Task family, with the configuration that suits it: a preset of `metarobot train`, or
    MODULE:ID."""
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Who is trained; one of yours is named MODULE:NAME."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    out: Path | None = None
    """Folder for the evaluation's files; runs/compare-PRESET if not given."""
    runs: Path | None = None
    """Folder for a run folder a seed; that of the evaluation if not given."""
    jobs: int = 1
    """Trainings at the same time on this machine, each with its share of the threads."""
    cluster: str | None = None
    """Address of a dask scheduler, such as tcp://10.0.0.1:8786, whose workers train instead. They
    need this package, and this folder at the same path. Set --num-threads where a machine has
    several workers."""
    test_tasks: int = 40
    """Held-out tasks per split."""
    test_episodes: int = 5
    """Episodes per task by which policies are judged."""
    adaptation_episodes: tuple[int, ...] = EvaluationConfig.adaptation_episodes
    """Adaptation episodes per task: policies are measured after one block of each of these numbers,
    and before adapting in any case."""
    num_blocks: int = 4
    """Blocks of adaptation episodes, one after the other, that are measured besides."""
    episodes_per_block: int = 20
    """Adaptation episodes per task in each of them."""
    later_step_length: float = 1.0
    """How far adapting to every block after the first goes, as a part of the whole way."""
    action_noise: ActionNoise = "none"
    """Action noise of the episodes by which policies are judged."""
    rewards: Rewards = "seen"
    """Whether policies see rewards while they are measured; hidden, who adapts and needs them is
    trained and left out."""
    untrained: tuple[Untrained, ...] = tuple(name for name in UNTRAINED if name != "identification")
    """Who is measured besides; from_scratch and fine_tuning need domain_randomisation,
    strategy_search and identification the oracle. The last simulates much more than the others."""
    splits: tuple[Split, ...] = ()
    """Splits that are measured; all that the family has if none is named."""
    heat_map: bool = False
    """Measure the heat map as well."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    heat_map_episodes: tuple[int, ...] = EvaluationConfig.heat_map_episodes
    """Adaptation episodes per task after which the heat map is measured, besides before."""
    test_seed: int = EvaluationConfig.seed
    """Seed of the test tasks and of their episodes."""

    def __post_init__(self) -> None:
        """Refuse an unknown algorithm, and to compare nobody."""
        require_algorithms(self.algorithms)
        if not self.algorithms or not self.seeds:
            raise ValueError(
                "name at least one algorithm with --algorithms, and one seed with --seeds"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds names a seed twice: {' '.join(map(str, self.seeds))}")
        if not 1 <= self.jobs <= _MOST_JOBS:
            raise ValueError(f"--jobs must be an integer in [1, {_MOST_JOBS}], got {self.jobs}")

    @property
    def evaluation(self) -> EvaluationConfig:
        """How policies are measured."""
        return EvaluationConfig(
            num_tasks=self.test_tasks,
            adaptation_episodes=self.adaptation_episodes,
            num_blocks=self.num_blocks,
            episodes_per_block=self.episodes_per_block,
            later_step_length=self.later_step_length,
            test_episodes=self.test_episodes,
            action_noise=self.action_noise,
            rewards=self.rewards,
            untrained=self.untrained,
            splits=self.splits,
            heat_map=self.heat_map,
            grid_size=self.grid_size,
            heat_map_episodes=self.heat_map_episodes,
            seed=self.test_seed,
        )


_MOST_JOBS = 1000


@dataclass(frozen=True)
class Comparison:
    """A comparison that was asked for."""

    command: CompareCommand
    """Its own options."""
    training: TrainCommand
    """What every training has in common."""
    words: tuple[str, ...]
    """The same as typed after `metarobot train`: the preset and its options."""
    typed: Mapping[str, str]
    """Every algorithm as it was typed, by its name: the same, or MODULE:NAME."""


def parse_compare(arguments: Sequence[str], prog: str) -> Comparison:
    """Parse the arguments of `metarobot compare`.

    Args:
        arguments: What follows the command's name.
        prog: How the command was called, for its help.

    Raises:
        ValueError: The arguments are wrong; the message is one line.
        SystemExit: Help was asked for and printed.
    """
    names = ["--" + field.name.replace("_", "-") for field in fields(CompareCommand)]
    own, others = split_words(import_outside(arguments), names)
    for word in others:
        option = word.partition("=")[0].replace("_", "-")
        if option in _NOT_OF_TRAIN:
            raise ValueError(f"{option} does not go with compare: {_NOT_OF_TRAIN[option]}")
    command = parse(CompareCommand, own, prog)
    family = import_family(command.preset)
    training = parse_train([family, *others, "--algorithms", *command.algorithms], prog)
    if not isinstance(training, TrainCommand):
        raise ValueError("name a preset first")
    typed = dict(
        zip(command.algorithms, _typed_algorithms(arguments) or command.algorithms, strict=True)
    )
    return Comparison(command, training, (command.preset, *others), typed)


def _typed_algorithms(words: Sequence[str]) -> list[str]:
    """Return the values of ``--algorithms`` as they were typed; none where it was not given."""
    found, _ = split_words(words, ["--algorithms"])
    values = list(dropwhile(lambda word: not word.startswith("--algorithms"), found))
    first = values[0].partition("=")[2] if values else ""
    return [value for value in (first, *values[1:]) if value]


def split_words(arguments: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of some options and all others, each with the values that follow it.

    Args:
        arguments: A command line.
        names: The options, such as ``--seeds``. Help, and what stands before the first option,
            goes with them.
    """
    own: list[str] = []
    others: list[str] = []
    current = own
    for word in arguments:
        if word.startswith("-") and not _is_number(word):
            option = word.partition("=")[0].replace("_", "-")
            current = own if option in {*names, "--help", "-h"} else others
        current.append(word)
    return own, others


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
