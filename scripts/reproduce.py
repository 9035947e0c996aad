"""Reproduce the published tables: train and measure missing results, then write the tables.

``python scripts/reproduce.py`` takes all steps in sequence; after an interruption, the same command
continues. It trains for days: few trained policies are committed, and git ignores the run folders
that it makes in docs/results. Steps that compare algorithms run `metarobot compare` family by
family and pass further options to it::

    python scripts/reproduce.py learners --families grip --jobs 2

The step ``literature`` measures the benchmark families by the protocol of MAML's authors. In their
published scripts, test episodes have the policy's own action noise, each block of adaptation
episodes holds 4,000 control steps, and the adaptation steps after the first are half as long. Only
the adaptation episodes differ here: they have exploration noise, as in training.

Source: `test_maml_cheetah.py`, `test_maml_cheetah_direc.py` and `test_maml_point.py` in https://github.com/cbfinn/maml_rl.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import changes
import diagnosis
import life
import update_docs
from PIL import Image
from shared import RESULTS, check_names, replace_rows

from metarobot.cli.compare import parse_compare
from metarobot.cli.console import prepare
from metarobot.cli.main import main as metarobot
from metarobot.cli.parsing import Argument, parse
from metarobot.config import PRESETS
from metarobot.console import StageDisplay
from metarobot.envs import find_family
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import RANDOM, EvaluationConfig
from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json, write_file
from metarobot.training.load import load_runs
from metarobot.training.run_folder import load_curve, read_run

_FIVE = ("reach", "reach-hidden-goal", "grip", "slide", "push")
_SEVEN = (*_FIVE, "carry", "insert")
_LITERATURE = ("half-cheetah-direction", "half-cheetah-velocity", "point-navigation")
_METAWORLD = {
    name: f"metarobot.metaworld:metaworld/{family}-v3"
    for name, family in {"ml1-reach": "ML1-Reach", "ml1-push": "ML1-Push", "ml10": "ML10"}.items()
}
"""Families of Meta-World, which have no presets."""


class Comparison(NamedTuple):
    """A step that compares algorithms on several families."""

    families: tuple[str, ...]
    options: str
    """Options of `metarobot compare`."""
    folder: str = ""
    """Folder of the evaluation in FAMILY; beside the run folders if not given."""
    results: str = ""
    """Folder of FAMILY in the results."""
    is_thin: bool = False
    """Whether to keep only the rows of test episodes."""


COMPARISONS = {
    "learners": Comparison(
        _SEVEN,
        "--algorithms latent maml domain_randomisation recurrent_randomisation oracle "
        "--untrained random strategy_search --seeds 0 1 2 --heat-map",
    ),
    "motion": Comparison(
        ("panda",),
        "--algorithms latent domain_randomisation oracle --untrained random "
        "--seeds 0 1 2 --adaptation-episodes 1 2 5 20 --num-blocks 0",
    ),
    "headroom": Comparison(
        (*_LITERATURE, "reach-feed-forward"),
        "--algorithms latent maml domain_randomisation oracle --untrained random "
        "--seeds 0 1 2 --adaptation-episodes 1 2 5 20 --num-blocks 0",
    ),
    "others": Comparison(
        _FIVE,
        "--algorithms oracle domain_randomisation fomaml maml_ppo promp e_maml anil meta_sgd "
        "reptile learned_loss prototype rl2 teacher_student --untrained random from_scratch "
        "fine_tuning --seeds 0 1 2 --num-blocks 0",
        folder="others",
        is_thin=True,
    ),
    "references": Comparison(
        ("carry", "insert"),
        "--algorithms oracle domain_randomisation teacher_student --untrained random from_scratch "
        "fine_tuning --seeds 0 1 2 --num-blocks 0",
        folder="others",
        is_thin=True,
    ),
    "identification": Comparison(
        _SEVEN,
        "--algorithms oracle domain_randomisation --untrained random identification "
        "--adaptation-episodes 1 5 --seeds 0 1 2 --num-blocks 0",
        folder="identification",
        is_thin=True,
    ),
    "metaworld": Comparison(
        tuple(_METAWORLD),
        "--algorithms latent maml rl2 domain_randomisation oracle --untrained random "
        "--reward-products --seeds 0 1 2 --num-tasks 20 --episodes-per-task 5 "
        "--total-steps 2000000 --test-tasks 50 --test-episodes 1 --adaptation-episodes 1 5 "
        "--num-blocks 0",
    ),
    "longer": Comparison(
        ("half-cheetah-velocity",),
        "--algorithms domain_randomisation maml meta_sgd oracle --total-steps 12800000",
        folder="comparison",
        results="longer",
        is_thin=True,
    ),
}
"""Steps that compare algorithms."""


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand:
    """Reproduce the published tables; further options go to `metarobot compare`."""

    steps: Annotated[tuple[str, ...], Argument("STEP", positional=True)] = ()
    """Steps to take; all if none is named."""
    results: Path = RESULTS
    """Folder of FAMILY/FAMILY-seedSEED and the evaluations; made if missing."""
    families: tuple[str, ...] = (*PRESETS, *_METAWORLD)
    """Presets of the families, and Meta-World's; each step uses its own among them."""

    def __post_init__(self) -> None:
        """Check the names."""
        check_names("step", self.steps, STEPS)
        check_names("family", self.families, (*PRESETS, *_METAWORLD))


def compare_words(name: str, command: ReproduceCommand, options: Sequence[str]) -> list[list[str]]:
    """Return the checked arguments of `metarobot compare` for each family of a step.

    Raises:
        ValueError: An option is wrong.
    """
    step, lines = COMPARISONS[name], []
    for family in (family for family in step.families if family in command.families):
        runs = command.results / step.results / family
        folders = ["--runs", str(runs), "--out", str(runs / step.folder)]
        named = _METAWORLD.get(family, family)
        lines.append([named, *step.options.split(), *options, *folders])
        parse_compare(lines[-1], "reproduce.py")
    return lines


def compare(name: str, command: ReproduceCommand, options: Sequence[str]) -> int:
    """Run a comparison step, family by family; return 0, or the exit code of a failure."""
    for words in compare_words(name, command, options):
        if code := metarobot(["compare", *words]):
            return code
        shrink(Path(words[-1]), is_thin=COMPARISONS[name].is_thin)
    return 0


def shrink(folder: Path, *, is_thin: bool) -> None:
    """Shrink an evaluation for a commit: pictures as WebP, and no worst tasks.

    Args:
        folder: The evaluation's folder.
        is_thin: Whether to keep only the rows of test episodes.
    """
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(
                path.with_suffix(".webp"), lossless=True, method=6, quality=100
            )
        path.unlink()
    path = folder / "evaluation.json"
    evaluation = Evaluation.from_dict(read_json(path))
    judged = tuple(r for r in evaluation.rows if not r.exploring or r.algorithm == RANDOM)
    rows = judged if is_thin else evaluation.rows
    write_file(path, replace(evaluation, rows=rows, worst_tasks=()).to_json())


def literature(command: ReproduceCommand, num_tasks: int = 40, num_blocks: int = 3) -> int:
    """Measure the benchmark families by the protocol of MAML's authors: FAMILY/literature.json."""
    folders = [
        command.results / part / family
        for family in _LITERATURE
        for part in ("", "longer")
        if family in command.families and (not part or (command.results / part / family).exists())
    ]
    groups = [load_runs(sorted(folder.glob(f"{folder.name}-seed*"))) for folder in folders]
    console = prepare()
    with StageDisplay(console) as stages:
        for folder, runs in zip(folders, groups, strict=True):
            protocol = authors_protocol(runs[0].env_id, num_tasks, num_blocks)
            path = folder / "literature.json"
            write_file(path, evaluate_runs(runs, protocol, stages).to_json())
            console.print(f"literature: {path}", soft_wrap=True, markup=False)
    return 0


def authors_protocol(env_id: str, num_tasks: int, num_blocks: int) -> EvaluationConfig:
    """Return the protocol of MAML's authors: tasks of the training range, drawn anew."""
    episodes = 4000 // find_family(env_id).default_horizon
    return EvaluationConfig(
        num_tasks=num_tasks,
        adaptation_episodes=(),
        num_blocks=num_blocks,
        episodes_per_block=episodes,
        later_step_length=0.5,
        test_episodes=episodes,
        action_noise="trained",
        splits=("train",),
        untrained=(),
        heat_map=False,
    )


def curves(command: ReproduceCommand) -> int:
    """Write the thinned learning curve and the cost of each training to curves.json."""
    rows = []
    for preset in command.families:
        for run in sorted((command.results / preset).glob(f"{preset}-seed*")):
            for algorithm in read_run(run):
                iterations = load_curve(run, algorithm, ("iteration",))["iteration"]
                if len(iterations) == iterations[-1]:
                    thinned = thin_curve(run, algorithm)
                    rows.append({"preset": preset, **thinned})
                else:  # those in the package are thinned already
                    print(f"{run.name}: the curve of {algorithm} lacks meta-iterations: left out")
    replace_rows(command.results / "curves.json", rows, ("preset", "run", "algorithm"))
    return 0


def thin_curve(run: Path, algorithm: str) -> dict[str, Any]:
    """Return the cost of one training and its curve, thinned to 13 points at most.

    A point is a group of meta-iterations, all of equal size: the last number of steps and the mean
    returns.
    """
    columns = load_curve(
        run, algorithm, ("total_steps", "pre_return", "post_return", "sampling_s", "update_s")
    )
    done = json.loads((run / algorithm / "done.json").read_text(encoding="utf-8"))
    length = len(columns["total_steps"])
    size = -(-length // 13)
    groups = [slice(start, start + size) for start in range(0, length, size)]
    after = columns["post_return"]

    def mean(numbers: Sequence[float]) -> float:
        return sum(numbers) / len(numbers)

    return {
        "run": run.name,
        "algorithm": algorithm,
        **done,
        "sampling_s": round(sum(columns["sampling_s"]), 2),
        "update_s": round(sum(columns["update_s"]), 2),
        "post_return_best": max(after),
        "post_return_at_end": mean(after[-10:]),
        "iterations_at_end": len(after[-10:]),
        "steps": [int(columns["total_steps"][group][-1]) for group in groups],
        "pre_return": [round(mean(columns["pre_return"][group]), 3) for group in groups],
        "post_return": [round(mean(after[group]), 3) for group in groups],
    }


STEPS: dict[str, Callable[[ReproduceCommand, Sequence[str]], int]] = {
    **{
        name: lambda command, options, name=name: compare(name, command, options)
        for name in COMPARISONS
    },
    "literature": lambda command, _: literature(command),
    "curves": lambda command, _: curves(command),
    "diagnosis": lambda *_: diagnosis.main([]),
    "life": lambda *_: life.main([]),
    "changes": lambda *_: changes.main([]),
    "tables": lambda *_: update_docs.main(),
}
"""All steps, in their order."""


def split_words(words: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into given options and all others, each with its values.

    Args:
        words: A command line; words before the first option belong to the given options.
        names: The options, such as ``--results``.
    """
    own: list[str] = []
    others: list[str] = []
    current = own
    for word in words:
        if word.startswith("--"):
            is_own = word.partition("=")[0].replace("_", "-") in {*names, "--help"}
            current = own if is_own else others
        current.append(word)
    return own, others


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; return 0, or the exit code of a failure."""
    words = sys.argv[1:] if argv is None else argv
    own, options = split_words(words, ["--results", "--families"])
    try:
        command = parse(ReproduceCommand, own, "reproduce.py")
        steps = command.steps or tuple(STEPS)
        for name in steps:  # a wrong option must fail before days of work
            if name in COMPARISONS:
                compare_words(name, command, options)
    except ValueError as error:
        print(f"reproduce.py: error: {error}", file=sys.stderr)
        return 2
    return next((code for name in steps if (code := STEPS[name](command, options))), 0)


if __name__ == "__main__":
    sys.exit(main())
