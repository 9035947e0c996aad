"""`metarobot list`: a line for each task family, or everything about one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from metarobot.algorithms import ALGORITHMS, STANDARD_ALGORITHMS
from metarobot.cli.console import OK
from metarobot.cli.parsing import Argument, OutsideOptions, import_family, parse
from metarobot.config import RunConfig, find_preset
from metarobot.console import make_console, make_table, print_line
from metarobot.envs import (
    FAMILIES,
    TaskError,
    file_name,
    find_family,
    nearest_name,
    parameter_words,
    short_names,
)
from metarobot.envs.tasks import Interval
from metarobot.evaluation.protocol import NEVER_ADAPTS, ORACLE
from metarobot.evaluation.table import FEW_EPISODES, Evaluation
from metarobot.io import read_json
from metarobot.training.run_folder import EVALUATION_FILE, FOLDER, pretrained_names

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.envs import TaskBatch, TaskParameter

DIAGNOSES = Path(__file__).parents[1] / "diagnosis/trained"
"""Folder of `metarobot.diagnosis.run`, which is slow to import."""
_EXAMPLES = 1
"""Examples of each fault."""


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """List the task families, what varies in each, and the trained policies of the package."""

    family: Annotated[str | None, Argument("FAMILY", positional=True)] = None
    """Show everything about one family, such as grip: task parameters with units and ranges,
    observations, preset, variants and policies. A preset of `metarobot train`, its id, or
    MODULE:ID; or arm, the diagnosis that comes with the package."""


def run(arguments: list[str], prog: str) -> int:
    """List the families, or everything about one."""
    name = parse(Options, arguments, prog).family
    console = make_console()
    if name is None:
        for line in _lines():
            print_line(console, line)
    elif name in _diagnoses():
        _print_diagnosis(name, console)
    else:
        _print_everything(find_env_id(import_family(name)), console)
    return OK


def _lines() -> list[str]:
    """Return a line for each family: its name, the task parameters, and the learners' policies."""
    rows = []
    for name, env_id in short_names().items():
        parameters = find_family(env_id).distribution.parameters
        varies = ", ".join(parameter_words(each.name, each.unit) for each in parameters)
        learners = [each for each in _policies(name) if each not in (NEVER_ADAPTS, ORACLE)]
        rows.append((name, f"varies: {varies}", f"policies: {', '.join(learners) or 'none'}"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows]


def _policies(name: str) -> list[str]:
    """Return the algorithms of a run of the package, the first choice first."""
    order = dict.fromkeys([*STANDARD_ALGORITHMS, *ALGORITHMS])
    return [each for each in order if (FOLDER / name / each).is_dir()]


def _print_everything(env_id: str, console: Console) -> None:
    """Print a family, its preset, its variants, and its policies in the package."""
    from metarobot.envs import find_variant, shipped_variants  # after help: they import MuJoCo

    print_family(env_id, console)
    name = file_name(env_id)
    values = find_preset(env_id)
    changed = {n: v for n, v in values.common.items() if v != getattr(RunConfig(), n)}
    changed |= values.options
    changed.pop("env_id", None)  # equal to the default in one family
    shown = ", ".join(f"{name} {value}" for name, value in changed.items())
    print_line(console, f"preset: {shown or 'the defaults'}")
    console.print()
    variants = [v for v in map(find_variant, shipped_variants()) if v.env_id == env_id]
    tables = {("variant", "description"): [(v.name, v.description) for v in variants]}
    if name in pretrained_names():
        tables["trained policies", f"success after {FEW_EPISODES} episodes"] = _success(name)
    for headings, rows in tables.items():
        if rows:
            console.print(make_table(headings, rows, console))


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


def episode_text(family: type[TaskBatch]) -> str:
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


def _success(name: str) -> list[tuple[str, str]]:
    """Return a row for every policy of a run of the package: its success by split."""
    from metarobot.reporting.style import percent  # after help: it imports Pillow

    measured = measured_of(name)
    rows = []
    for algorithm in _policies(name):
        found = {
            split: measured.after(algorithm, split, FEW_EPISODES)
            or next(iter(measured.curves.get((algorithm, split), ())), None)
            for split in measured.splits
        }
        cells = [f"{split} {percent(row.success.value)}" for split, row in found.items() if row]
        rows.append((algorithm, ", ".join(cells) or "not measured"))
    return rows


def _diagnoses() -> list[str]:
    return sorted(path.parent.name for path in DIAGNOSES.glob("*/config.json"))


def _print_diagnosis(name: str, console: Console) -> None:
    row = _diagnosis_row(name, read_json(DIAGNOSES / name / "config.json"))
    headings = ("trained diagnosis", "learner", f"after {_EXAMPLES} example of each fault")
    console.print(make_table(headings, [row], console))


def _diagnosis_row(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    from metarobot.reporting.style import percent

    rows = {(row["known"], row["learner"], row["shots"]): row for row in config["rows"]}
    pairs = [(own, rows.get((own["known"], own["learner"], _EXAMPLES))) for own in config["chosen"]]
    right = [
        f"{'known' if own['known'] else 'new'} faults {percent(row['accuracy'])}"
        for own, row in pairs
        if row
    ]
    learners = dict.fromkeys(chosen["learner"] for chosen in config["chosen"])
    return name, "; ".join(learners), f"right: {', '.join(right)}"
