"""`metarobot list`: task families, their variants, and trained policies of the package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarobot.cli.console import OK
from metarobot.cli.parsing import OutsideOptions, import_family, parse
from metarobot.console import make_console, make_table, print_line
from metarobot.envs import (
    FAMILIES,
    TaskError,
    TaskParameter,
    TaskVectorEnv,
    find_family,
    find_variant,
    nearest_name,
    shipped_variants,
    short_names,
)
from metarobot.envs.tasks import Interval
from metarobot.evaluation.table import FEW_EPISODES, Evaluation
from metarobot.io import read_json
from metarobot.reporting.style import after_episodes, algorithm_title, percent
from metarobot.training.load import EVALUATION_FILE, FOLDER, pretrained_names

DIAGNOSES = Path(__file__).parents[1] / "diagnosis/trained"
"""Folder of `metarobot.diagnosis.run`, which is slow to import."""
_EXAMPLES = 1
"""Examples of each fault."""


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """List the task families with their task parameters, splits and observations."""

    family: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[FAMILY]")] = None
    """Show one family alone, with its variants: a preset of `metarobot train`, its id, or
    MODULE:ID."""


def run(arguments: list[str], prog: str) -> int:
    """List families, their variants, and the policies and diagnoses that come with the package."""
    name = parse(Options, arguments, prog).family
    env_ids = [*FAMILIES] if name is None else [find_env_id(import_family(name))]
    console = make_console()
    for env_id in env_ids:
        print_family(env_id, console)
    variants = [v for v in map(find_variant, shipped_variants()) if v.env_id in env_ids]
    measured = {name: measured_of(name) for name in pretrained_names()}
    configs = sorted(DIAGNOSES.glob("*/config.json")) if name is None else []
    tables = {
        ("variant", "of", "description"): [(v.name, v.env_id, v.description) for v in variants],
        ("trained policies", "of", "algorithms", after_episodes(FEW_EPISODES)): [
            _policy_row(n, each) for n, each in measured.items() if each.family in env_ids
        ],
        ("trained diagnosis", "learner", f"after {_EXAMPLES} example of each fault"): [
            _diagnosis_row(path.parent.name, read_json(path)) for path in configs
        ],
    }
    for headings, rows in tables.items():
        if rows:
            console.print(make_table(headings, rows, console))
    return OK


def find_env_id(name: str) -> str:
    """Return the id of a task family, by its preset or its id."""
    ids = short_names()
    if name in FAMILIES:
        return name
    if name not in ids:
        hint = nearest_name(name, [*ids, *FAMILIES])
        raise TaskError(f"no task family {name!r}, allowed: {', '.join(ids)}, or an id{hint}")
    return ids[name]


def print_family(env_id: str, console: Console) -> None:
    """Print a task family: tables on a terminal, aligned plain columns in a pipe."""
    family = find_family(env_id)
    print_line(console, f"{env_id}  {family.summary()}", style="bold")
    action = ", ".join(family.action_elements)
    print_line(console, f"{episode_text(family)}, action: {action}", style="dim")
    headings = ("task parameter", "unit", "nominal", "trained on", "held-out gaps")
    headings += ("extrapolation", "scale", "meaning")
    rows = map(_parameter_row, family.distribution.parameters)
    console.print(make_table(headings, rows, console))
    elements = (
        (str(index), element.quantity, _unit(element.unit), f"{element.low:g} to {element.high:g}")
        for index, element in enumerate(family.observation_elements)
    )
    headings = ("observation", "quantity", "unit", "range")
    console.print(make_table(headings, elements, console))
    console.print()


def episode_text(family: type[TaskVectorEnv]) -> str:
    """Return the length of an episode in control steps and in seconds."""
    steps, step_s = family.default_horizon, family.control_step_s()
    text = f"{steps} control steps of {step_s:g} s, {steps * step_s:.4g} s an episode"
    if family.settle_steps:
        text += f", then {family.settle_steps * step_s:.4g} s until all is at rest"
    return text


def _parameter_row(parameter: TaskParameter) -> tuple[str, ...]:
    return (
        parameter.name,
        _unit(parameter.unit),
        f"{parameter.nominal:g}",
        " or ".join(f"{value:g}" for value in parameter.choices) or _ranges([parameter.train]),
        _ranges(parameter.gaps),
        _ranges(parameter.extrapolation),
        "log" if parameter.log_uniform else "linear",
        parameter.description,
    )


def _ranges(pairs: Iterable[Interval]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs) or "-"


def _unit(unit: str) -> str:
    return "-" if unit == "1" else unit


def measured_of(name: str) -> Evaluation:
    """Return the evaluation of policies that come with the package."""
    return Evaluation.from_dict(read_json(FOLDER / name / EVALUATION_FILE))


def _diagnosis_row(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    rows = {(row["known"], row["learner"], row["shots"]): row for row in config["rows"]}
    pairs = [(own, rows.get((own["known"], own["learner"], _EXAMPLES))) for own in config["chosen"]]
    right = [
        f"{'known' if own['known'] else 'new'} faults {percent(row['accuracy'])}"
        for own, row in pairs
        if row
    ]
    learners = dict.fromkeys(chosen["learner"] for chosen in config["chosen"])
    return name, "; ".join(learners), f"right: {', '.join(right)}"


def _policy_row(name: str, measured: Evaluation) -> tuple[str, ...]:
    first = measured.learners[0]
    rows = {split: measured.after(first, split, FEW_EPISODES) for split in measured.splits}
    success = [f"{split} {percent(row and row.success.value)}" for split, row in rows.items()]
    algorithms = [policy.algorithm for policy in measured.policies if policy.total_steps]
    reached = f"success of {algorithm_title(first)}: {', '.join(success)}"
    return name, measured.family, ", ".join(algorithms), reached
