"""The tables of the HTML report and of the command line, as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from metarobot.console import html_table
from metarobot.evaluation.protocol import RANDOM
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation, Row, WorstTask
from metarobot.reporting.style import (
    Cell,
    after_blocks,
    after_episodes,
    algorithm_title,
    evaluation_title,
    interval,
    latent_first,
    number,
    parameter_label,
    percent,
    split_note,
    split_title,
)
from metarobot.reporting.video import describe_task

ROBUSTNESS_EPISODES = (0, 1, 5)
"""Adaptation episodes in the table of further variants."""
_QUANTITIES = (
    ("Headroom captured", "captured", True),
    ("Success", "success", True),
    ("Tasks that became worse", "worse", True),
    ("Return", "return_mean", False),
    ("Change of return, worst tenth of the tasks", "worst_tenth", False),
    ("Return given up in each adaptation episode", "trial_cost", False),
    ("True parameters within their 90 % bands", "coverage", True),
)
"""Title, name in a row and whether in percent, of quantities by adaptation episodes."""


class Line(NamedTuple):
    """One line of a table."""

    label: str
    cells: Sequence[Cell | str]


class Group(NamedTuple):
    """Lines with an optional heading."""

    title: str
    note: str
    lines: Sequence[Line]


class Table(NamedTuple):
    """A table."""

    title: str
    note: str
    headings: Sequence[str]
    """The first is that of the labels."""
    groups: Sequence[Group]
    kinds: Sequence[str] = ()
    """The CSS classes of all columns but the first; those of numbers if not given."""


def overview_html(evaluation: Evaluation) -> str:
    """Return a small table as HTML: success and return of every policy on every split."""
    few, rows = evaluation.headline or 0, []
    for name in (policy.algorithm for policy in evaluation.policies):
        stages = {0: algorithm_title(name)}
        if name in evaluation.learners:
            stages = {n: f"{algorithm_title(name)}, {after_episodes(n)}" for n in (0, few)}
        for episodes, label in stages.items():
            found = [evaluation.after(name, split, episodes) for split in evaluation.splits]
            cells = [row and f"{percent(row.success.value)}, {_return(row)}" for row in found]
            rows.append((label, *(cell or number(None) for cell in cells)))
    headings = ("policy", *(split_title(evaluation, split) for split in evaluation.splits))
    return html_table(f"{evaluation_title(evaluation)}: success, mean return", headings, rows)


def _return(row: Row) -> str:
    return number(row.return_mean.value)


def episode_tables(evaluation: Evaluation, *, percentages_alone: bool = False) -> list[Table]:
    """Return a table for each split: results of all learners by adaptation episodes, in one block.

    Args:
        evaluation: The evaluation; without a policy that adapts there is no table.
        percentages_alone: Whether to leave out returns.
    """
    tables = []
    for split in evaluation.splits:
        names = [name for name in evaluation.learners if (name, split) in evaluation.curves]
        curves = {name: evaluation.curves[name, split] for name in names}
        numbers = sorted({row.episodes for rows in curves.values() for row in rows})
        groups = []
        for title, quantity, in_percent in _QUANTITIES:
            if not any(getattr(row, quantity) for rows in curves.values() for row in rows):
                continue  # not measured
            lines = [
                Line(
                    algorithm_title(name),
                    [
                        *_by_episodes(rows, quantity, numbers, in_percent=in_percent),
                        episodes_to_90(evaluation, name, split) * (quantity == "captured"),
                    ],
                )
                for name, rows in curves.items()
            ]
            if in_percent or not percentages_alone:
                groups.append(Group(title, "", lines))
        headings = ["Adaptation episodes", *map(str, numbers), "for 90 %"]
        if groups:
            title, note = split_title(evaluation, split), split_note(evaluation, split)
            tables.append(Table(title, note, headings, groups))
    return tables


def conclusion_table(evaluation: Evaluation) -> Table:
    """Return the success of every policy on each split, of learners after a few episodes."""
    names = latent_first(evaluation.learners)
    names += [p.algorithm for p in evaluation.policies if p.algorithm not in (*names, RANDOM)]
    few, lines = evaluation.headline, list[Line]()
    for name in names:
        number = few if name in evaluation.learners and few is not None else 0
        rows = [evaluation.after(name, split, number) for split in evaluation.splits]
        if any(rows):
            lines.append(
                Line(algorithm_title(name), [Cell.in_percent(row and row.success) for row in rows])
            )
    title = "Success" if few is None else f"Success, of policies that adapt {after_episodes(few)}"
    headings = ["Policy", *(split_title(evaluation, split) for split in evaluation.splits)]
    return Table(title, "", headings, [Group("", "", lines)])


def _by_episodes(
    rows: Sequence[Row], quantity: str, numbers: Sequence[int], *, in_percent: bool
) -> list[Cell]:
    """Return a quantity after each number of episodes, a dash if not measured."""
    found: dict[int, Interval | None] = {row.episodes: getattr(row, quantity) for row in rows}
    write = Cell.in_percent if in_percent else Cell.of
    return [write(found.get(each)) for each in numbers]


def episodes_to_90(evaluation: Evaluation, algorithm: str, split: str) -> str:
    """Return the episodes that capture 0.9 of the headroom: "5", "> 40", or a dash without one."""
    last = evaluation.curves[algorithm, split][-1]
    needed = evaluation.episodes_to_90.get((algorithm, split))
    if needed is not None:
        return str(needed)
    return f"> {last.episodes}" if last.captured else "–"


def returns_table(evaluation: Evaluation) -> Table:
    """Return the returns of every policy by blocks of episodes, and the headroom."""
    stages, groups = range(evaluation.config.num_blocks + 1), []
    for split in evaluation.splits:
        lines, note = [], split_note(evaluation, split)
        for name, block in product((each.algorithm for each in evaluation.policies), stages):
            if row := evaluation.after_blocks(name, split, block):
                exploring = evaluation.blocks.get((name, split, True), ())[block : block + 1]
                stage = f", {after_blocks(block)}" * (name in evaluation.learners)
                cells = [
                    Cell(str(row.episodes)),
                    Cell.of(row.return_mean),
                    Cell.of(row.return_iqm),
                    Cell.in_percent(row.success),
                    Cell.in_percent(row.captured),
                    Cell.of(exploring[0].return_mean if exploring else None),
                ]
                lines.append(Line(algorithm_title(name) + stage, cells))
        if entry := evaluation.headroom_of(split):
            note += f"; headroom {number(entry.gap.value)} {interval(entry.gap)}"
        groups.append(Group(split_title(evaluation, split), note, lines))
    headings = ("Algorithm", "Episodes used", "Mean return", "Interquartile mean")
    headings += ("Success", "Captured", "Return of exploring episodes")
    return Table("Deterministic episodes", "", headings, groups)


def worst_tables(evaluation: Evaluation) -> list[Table]:
    """Return the worst tasks of every policy that adapts."""
    headings = ("Task", "Where", "Why", "Return before", "after", "Success before", "after")
    kinds, tables = ("", "", "number", "number", "number", "number"), []
    for name in evaluation.learners:
        own = [task for task in evaluation.worst_tasks if task.algorithm == name]
        lines = []
        for task in own:
            words, *why = worst_words(evaluation, task)
            returns = map(number, (task.return_before, task.return_after))
            success = map(percent, (task.success_before, task.success_after))
            lines.append(Line(words, [*why, *map(Cell, (*returns, *success))]))
        if own:
            title = f"{algorithm_title(name)}, {after_episodes(own[0].adaptation_episodes)}"
            tables.append(Table(title, "", headings, [Group("", "", lines)], kinds))
    return tables


def worst_words(evaluation: Evaluation, worst: WorstTask) -> tuple[str, str, str]:
    """Return the parameters of a worst task, its split, and the reason why it is one."""
    units = {parameter.name: parameter.unit for parameter in evaluation.task_parameters}
    where = split_title(evaluation, worst.split).lower()
    return (
        ", ".join(describe_task(worst.task, units)).replace("-", "\N{MINUS SIGN}"),
        f"{where}, seed {worst.seed}" if len(evaluation.seeds) > 1 else where,
        "became worse" if worst.harmed else "lowest return",
    )


def robustness_table(evaluation: Evaluation) -> Table | None:
    """Return the results of policies on the family itself, then under each further variant."""
    variants = [variant.name for variant in evaluation.robustness]
    rows = [row for row in evaluation.rows if row.variant in variants]
    names = dict.fromkeys(row.algorithm for row in rows)
    parts = [
        ("as it is", "no variant", {n: evaluation.curves.get((n, "train"), ()) for n in names})
    ]
    for variant in evaluation.robustness:
        own = [row for row in rows if row.variant == variant.name]
        note = variant.description + ", tasks of its own" * bool(variant.ranges)
        found = {n: tuple(row for row in own if row.algorithm == n) for n in names}
        parts.append((variant.name.replace("_", " "), note, found))
    groups = []
    for title, note, found in parts:
        lines = [
            Line(
                algorithm_title(name),
                [
                    *_by_episodes(own, "success", ROBUSTNESS_EPISODES, in_percent=True),
                    *_by_episodes(own, "return_mean", ROBUSTNESS_EPISODES, in_percent=False),
                ],
            )
            for name, own in found.items()
            if own
        ]
        groups += [Group(title, note, lines)] if lines else []
    stages = ["before", *map(after_episodes, ROBUSTNESS_EPISODES[1:])]
    headings = ["Policy", *(f"{what} {each}" for what in ("Success", "Return") for each in stages)]
    return Table("Under other conditions", "", headings, groups) if groups else None


def parameter_table(evaluation: Evaluation) -> Table:
    """Return a line for each task parameter."""
    lines = [
        Line(
            parameter_label(parameter.name, parameter.unit),
            [
                parameter.description,
                " or ".join(f"{value:g}" for value in parameter.choices)
                or _ranges([parameter.train]),
                _ranges(parameter.gaps),
                _ranges(parameter.extrapolation),
                "log-uniform" if parameter.log_uniform else "uniform",
            ],
        )
        for parameter in evaluation.task_parameters
    ]
    name = "Training range" if evaluation.tasks_as_trained else "Main range"
    headings = ("Parameter", "Meaning", name, "Gaps held out", "Extrapolation", "Drawn")
    kinds = ("prose", "", "", "", "")
    return Table("Task parameters", "", headings, [Group("", "", lines)], kinds)


def _ranges(pairs: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs) or "–"
