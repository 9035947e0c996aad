"""Make policies/pretrained: the shipped policies and their cards.

``python scripts/ship.py`` trains the policies that the run folders lack, measures them, and copies
the files of each run that acting and evaluation need.  ``--check`` measures the shipped policies on
other test tasks instead, and lists success rates that differ from those on their cards.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import false_discovery_control, fisher_exact
from shared import (
    Rows,
    check_names,
    number_text,
    ranges,
    table,
    takes_options,
    with_interval,
)

from metarobot.algorithms import STANDARD_ALGORITHMS
from metarobot.cli.console import prepare
from metarobot.cli.list import episode_text
from metarobot.config import PRESETS
from metarobot.console import StageDisplay
from metarobot.envs import find_family
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import RANDOM, EvaluationConfig
from metarobot.evaluation.table import Evaluation
from metarobot.io import Folder, csv_table, json_bytes, parse_json
from metarobot.reporting.style import algorithm_title, family_title, parameter_label
from metarobot.reporting.words import where_they_hold
from metarobot.training.load import TrainedRun, load_run
from metarobot.training.progress import TrainingDisplay
from metarobot.training.run import complete_run
from metarobot.training.run_folder import (
    CONFIG_FILE,
    CURVE_FILE,
    DONE_FILE,
    EVALUATION_FILE,
    FOLDER,
    POLICY_FILE,
    read_run,
)

CARD_FILE = "README.md"
NUMBERS = (0, 1, 2, 5, 20)
"""Adaptation episodes on a card."""
MEASURED = EvaluationConfig(
    num_tasks=60, adaptation_episodes=NUMBERS, num_blocks=0, grid_size=7, heat_map_episodes=(1, 5)
)
WITHOUT_LATENT = (
    "reach-feed-forward",
    "half-cheetah-direction",
    "half-cheetah-velocity",
    "point-navigation",
)
"""Families on which `latent` has not been measured: docs/results.md."""
OTHER_TASKS = 20_000_007
"""Seed of the tasks of --check."""
_MOST_ROWS = 50
"""Most points of a learning curve."""


@dataclass(frozen=True, kw_only=True)
class ShipCommand:
    """Make the shipped policies."""

    families: tuple[str, ...] = tuple(PRESETS)
    """Presets of the families."""
    runs: Path = Path("runs")
    """Folder of the run folders, FAMILY-seed0."""
    out: Path = FOLDER
    """Folder of the shipped policies."""
    num_threads: int = 0
    """Threads of training; 0 chooses as `metarobot train` does."""
    check: bool = False
    """Measure the shipped policies on other test tasks, and compare with their cards."""

    def __post_init__(self) -> None:
        """Check the families."""
        check_names("family", self.families, PRESETS)


def ship(family: str, command: ShipCommand) -> None:
    """Train, measure and copy the policies of one family."""
    folder, console = command.runs / f"{family}-seed0", prepare()
    config = replace(PRESETS[family], num_threads=command.num_threads)
    algorithms = shipped_algorithms(family)
    with TrainingDisplay(algorithms, config.total_steps, console) as display:
        complete_run(config, algorithms, folder, display)
    run = load_run(folder)
    run = replace(run, policies={name: run.policies[name] for name in algorithms})
    evaluation = measure(run, MEASURED)
    place = Folder(command.out) / family
    for algorithm in algorithms:
        _copy_algorithm(Folder(folder) / algorithm, place / algorithm)
    made = f"python scripts/ship.py --families {family}"
    made += f" --num-threads {command.num_threads}" if command.num_threads else ""
    text = card(family, evaluation, place.path, made)
    place.write_together({EVALUATION_FILE: evaluation.to_json(), CARD_FILE: text.encode()})


def measure(run: TrainedRun, config: EvaluationConfig) -> Evaluation:
    """Evaluate the policies of a run."""
    with StageDisplay(prepare()) as stages:
        return evaluate_runs([run], config, stages)


def shipped_algorithms(family: str) -> tuple[str, ...]:
    """Return the algorithms with a shipped policy of a family."""
    return tuple(n for n in STANDARD_ALGORITHMS if n != "latent" or family not in WITHOUT_LATENT)


def _copy_algorithm(source: Folder, place: Folder) -> None:
    """Copy the files of a policy, with a thinned curve and a command that users can run."""
    saved = read_run(source.path.parent)[source.path.name].facts
    facts = {**saved, "command": ["metarobot", *saved["command"][1:]]}
    place.make()
    place.write_together(
        {
            CONFIG_FILE: json_bytes(facts),
            POLICY_FILE: source.read(POLICY_FILE),
            DONE_FILE: source.read(DONE_FILE),
            CURVE_FILE: thinned(source.read(CURVE_FILE).decode()).encode(),
        }
    )


def thinned(curve: str) -> str:
    """Return a learning curve of few rows: means over groups of meta-iterations of equal size.

    The meta-iteration and the control steps, which grow, are the last of each group.
    """
    rows = list(csv.DictReader(io.StringIO(curve, newline="")))
    length = -(-len(rows) // _MOST_ROWS)
    groups = [rows[at : at + length] for at in range(0, len(rows), length)]
    return csv_table([_joined(group) for group in groups])


def _joined(rows: list[dict[str, str]]) -> dict[str, float]:
    counts = ("iteration", "total_steps")
    return {
        name: int(rows[-1][name])
        if name in counts
        else float(f"{np.mean([float(row[name]) for row in rows]):.6g}")
        for name in rows[0]
    }


class Figure(NamedTuple):
    """A share of solved tasks, on a card and as measured here."""

    name: str
    card: float
    here: float


def figures(family: str, place: Path) -> list[Figure]:
    """Measure a family's policies on other tasks than those of their card."""
    data = (Folder.named(place) / family).read(EVALUATION_FILE)
    shipped = Evaluation.from_dict(parse_json(data, place / family / EVALUATION_FILE))
    config = replace(shipped.config, seed=OTHER_TASKS, heat_map=False)
    here = _success(measure(load_run(place / family), config))
    return [
        Figure(f"{family}, {', '.join(map(str, at))} episodes", success, here[at])
        for at, success in _success(shipped).items()
    ]


def _success(evaluation: Evaluation) -> dict[tuple[str, str, int], float]:
    """Return the success by algorithm, split and number of adaptation episodes."""
    return {
        (name, split, row.episodes): row.success.value
        for (name, split), rows in evaluation.curves.items()
        if name != RANDOM
        for row in rows
    }


def differing(compared: Sequence[Figure], num_tasks: int) -> list[Figure]:
    """Return the figures that differ significantly.

    Both sides of each are shares of ``num_tasks`` tasks.  Hundreds of figures are compared, so the
    level of significance holds for all together: if none differs, 5 % of the calls return any.

    Source: Benjamini and Hochberg 1995, of the p-values of Fisher's exact test.
    """
    if not compared:
        return []
    solved = np.rint(np.array([[each.card, each.here] for each in compared]) * num_tasks)
    tables = np.stack([solved, num_tasks - solved], axis=1)
    p_values = false_discovery_control([fisher_exact(table)[1] for table in tables])
    return [each for each, p_value in zip(compared, p_values, strict=True) if p_value < 0.05]


@takes_options(ShipCommand, "ship.py")
def main(command: ShipCommand) -> int:
    """Ship or check; return 0, or 1 if --check finds a difference."""
    if not command.check:
        for family in command.families:
            ship(family, command)
        return 0
    compared = [each for family in command.families for each in figures(family, command.out)]
    found = differing(compared, MEASURED.num_tasks)
    for each in found:
        print(f"{each.name}: success {each.card:.2f} on the card, {each.here:.2f} here")
    if not found:
        print("all success rates agree with the cards")
    return 1 if found else 0


# The card of the policies of a family.


def card(preset: str, evaluation: Evaluation, run: Path, command: str) -> str:
    """Return the card of a family's policies, as Markdown.

    Args:
        preset: The family's preset.
        evaluation: Their evaluation.
        run: Folder of their run.
        command: Command that reproduces them.
    """
    family = find_family(evaluation.family)
    config = evaluation.config
    trained = [policy.algorithm for policy in evaluation.policies if policy.total_steps]
    found = [read_run(run)[algorithm].facts["versions"] for algorithm in trained]
    versions = ", ".join(
        f"{name} {' and '.join(dict.fromkeys(each[name] for each in found))}" for name in found[0]
    )
    return "\n\n".join(
        (
            f"# {family_title(evaluation.family)}",
            f"{family.summary()[0].upper()}{family.summary()[1:]} {episode_text(family)}.",
            "```sh\n"
            f"metarobot render {preset}\n"
            f"metarobot adapt {preset} --episodes 5 --out adapted.safetensors\n"
            f"metarobot evaluate {preset} --out results/{preset}\n"
            f"metarobot explain {preset} --out explained/{preset}\n```",
            "## Tasks",
            table(_task_rows(evaluation)),
            "## Results",
            f"Deterministic episodes on {config.num_tasks} new tasks of each split "
            f"(`--seed {config.seed}`), with 95 % intervals over tasks.",
            *where_they_hold(evaluation),
            table(_result_rows(evaluation)),
            "## Training",
            f"`{command}`, training seed {evaluation.seeds[0]}, with {versions}. "
            "`curve.csv` of each algorithm is its learning curve, thinned.",
            table(_training_rows(evaluation)),
            "",
        )
    )


def _task_rows(evaluation: Evaluation) -> Rows:
    return [
        {
            "task parameter": parameter_label(each.name, each.unit),
            "train": ", ".join(map(number_text, each.choices)) or number_text(each.train),
            "interpolation": ranges(each.gaps),
            "extrapolation": ranges(each.extrapolation),
        }
        for each in evaluation.task_parameters
    ]


def _result_rows(evaluation: Evaluation) -> Rows:
    return [
        {
            "algorithm": algorithm_title(policy.algorithm),
            "split": split,
            "episodes": number,
            "success": with_interval(row.success),
            "return": with_interval(row.return_mean),
            "captured": with_interval(row.captured),
            "became worse": with_interval(row.worse),
            "within 90 % bands": with_interval(row.coverage),
        }
        for policy in evaluation.policies
        for split in evaluation.splits
        for number in (NUMBERS if policy.adapts else (0,))
        if (row := evaluation.after(policy.algorithm, split, number))
    ]


def _training_rows(evaluation: Evaluation) -> Rows:
    return [
        {
            "algorithm": algorithm_title(policy.algorithm),
            "control steps": policy.total_steps[0],
            "seconds of training": round(policy.seconds[0] or 0),
        }
        for policy in evaluation.policies
        if policy.total_steps
    ]


if __name__ == "__main__":
    sys.exit(main())
