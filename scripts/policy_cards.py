"""The card of policies that come with the package: what they do, where they stop, their origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs_tables.markdown import markdown_table, number_text, ranges, with_interval

from metarobot.cli.listing import episode_text, summary
from metarobot.envs import find_family
from metarobot.evaluation.curve import Point
from metarobot.evaluation.result import Evaluation
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.style import algorithm_title, family_title, parameter_label
from metarobot.reporting.where_it_holds import where_they_hold
from metarobot.training.run_folder import read_facts
from metarobot.training.run_layout import CONFIG_FILE, DONE_FILE

NUMBERS = (0, 1, 2, 5, 20)
"""Adaptation episodes that a card tells of."""


def card(preset: str, evaluation: Evaluation, run: Path, command: str) -> str:
    """Return the card of a family's policies, as Markdown.

    Args:
        preset: The family's preset.
        evaluation: What was measured of them.
        run: Folder of their run.
        command: What makes them again.
    """
    family = find_family(evaluation.family)
    config = evaluation.config
    return "\n\n".join(
        (
            f"# {family_title(evaluation.family)}",
            f"{summary(family)[0].upper()}{summary(family)[1:]} {episode_text(family)}.",
            "```sh\n"
            f"metarobot render {preset}\n"
            f"metarobot adapt {preset} --episodes 5 --out adapted.safetensors\n"
            f"metarobot evaluate {preset} --out results/{preset}\n"
            f"metarobot explain {preset} --out explained/{preset}\n```",
            "## The tasks",
            _task_table(evaluation),
            "## What they reach",
            f"Deterministic episodes on {config.num_tasks} tasks of each split that nobody was "
            f"trained on (`--seed {config.seed}`), with 95 % intervals over tasks.",
            *where_they_hold(evaluation),
            _results_table(evaluation),
            "## How they were made",
            f"`{command}`, training seed {evaluation.seeds[0]}, with {_versions(evaluation, run)}. "
            "`curve.csv` of each algorithm is its learning curve, thinned.",
            _training_table(evaluation, run),
            "",
        )
    )


def _task_table(evaluation: Evaluation) -> str:
    rows = [
        [
            parameter_label(each.name, each.unit),
            ", ".join(map(number_text, each.choices)) or number_text(each.train),
            ranges(each.gaps),
            ranges(each.extrapolation),
        ]
        for each in evaluation.task_parameters
    ]
    return markdown_table(("task parameter", "train", "interpolation", "extrapolation"), rows)


def _results_table(evaluation: Evaluation) -> str:
    rows = []
    for policy in evaluation.policies:
        for split in evaluation.splits:
            curve = evaluation.judged(policy.algorithm, split)
            numbers = NUMBERS if policy.adapts else (0,)
            points = [(n, curve.after_episodes(n)) for n in numbers] if curve else []
            rows += [
                _results_row(policy.algorithm, split, n, point) for n, point in points if point
            ]
    headings = ("algorithm", "split", "episodes", "success", "return", "captured", "became worse")
    return markdown_table(headings, rows)


def _results_row(algorithm: str, split: str, number: int, point: Point) -> list[str]:
    shown: Sequence[Interval | None]
    shown = (point.success, point.return_mean, point.captured, point.harmed)
    return [algorithm_title(algorithm), split, str(number), *map(with_interval, shown)]


def _versions(evaluation: Evaluation, run: Path) -> str:
    algorithms = [policy.algorithm for policy in evaluation.policies if policy.total_steps]
    found: list[dict[str, Any]]
    found = [read_facts(run, algorithm, CONFIG_FILE)["versions"] for algorithm in algorithms]
    numbers = {name: dict.fromkeys(versions[name] for versions in found) for name in found[0]}
    return ", ".join(f"{name} {' and '.join(each)}" for name, each in numbers.items())


def _training_table(evaluation: Evaluation, run: Path) -> str:
    rows = []
    for policy in evaluation.policies:
        if policy.total_steps:
            done = read_facts(run, policy.algorithm, DONE_FILE)
            cost = f"{done['total_steps']:,}", f"{done['seconds']:.0f}"
            rows.append([algorithm_title(policy.algorithm), *cost])
    return markdown_table(("algorithm", "control steps", "seconds of training"), rows)
