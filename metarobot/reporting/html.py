"""The HTML report of an evaluation: one file that needs no network, no server and no scripts."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from metarobot.evaluation.statistics import captured_is_meaningful
from metarobot.printable import printable
from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    SPLIT_TITLES,
    adapting,
    algorithm_titles,
    evaluation_title,
    number,
    parameter_label,
    percent,
    split_notes,
    split_titles,
    stage_name,
    tasks_as_trained,
    trained_variant,
)

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
# Headroom below this part of (oracle - random) is called small.
SMALL_HEADROOM = 0.1
_WHERE = {
    "train": "new tasks from the training range",
    "interpolation": "tasks in the gaps held out of the training range",
    "extrapolation": "tasks beyond the training range",
}
_WHERE_ELSE = {
    "train": "tasks from the main range",
    "interpolation": "tasks in the gaps of the main range",
    "extrapolation": "tasks beyond the main range",
}
"""The same where the policies were trained on something else."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table of returns, all numbers ready to print."""

    algorithm: str
    """The CSS class of its colour."""
    label: str
    episodes_used: int
    mean: str
    mean_ci: str
    iqm: str
    iqm_ci: str
    success: str
    success_ci: str
    bar: tuple[float, float, float]
    """Low, mean and high return on the split's own scale, from 0 (and below) to 100."""


def render_report(
    evaluation: dict[str, Any],
    pictures: Mapping[str, bytes],
    video: bytes | None,
    training: Mapping[str, Any],
) -> str:
    """Return the report of one task family as a single self-contained HTML page.

    Args:
        evaluation: The evaluation, in the layout of evaluation.json.
        pictures: PNG files to embed, by "heat_map", "adaptation_curve" and "training_curve"; a
            missing one leaves its section out.
        video: The before/after MP4 to embed, or None.
        training: What is worth knowing about the runs. "commands" (a list of str) says how to
            reproduce them; every other key is printed as it is, nested mappings as "outer.inner".

    Raises:
        KeyError: The evaluation lacks a key of the layout.
    """
    # A template named .j2 is outside jinja2's default rule, so escaping is switched on for all.
    templates = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    several = len(adapting(evaluation["rows"])) > 1
    facts = {key: value for key, value in training.items() if key != "commands"}
    return templates.get_template("report.html.j2").render(
        family=evaluation["family"],
        title=evaluation_title(evaluation),
        conditions=conditions(evaluation),
        range_name="Training range" if tasks_as_trained(evaluation) else "Main range",
        variant=list(_flatten(evaluation.get("variant") or {})),
        created=evaluation["created"],
        verdicts=verdicts(evaluation),
        pictures={name: _data_url(data, "image/png") for name, data in pictures.items()},
        video=None if video is None else _data_url(video, "video/mp4"),
        tables=_tables(evaluation),
        headroom=[
            _headroom_row(entry, split_titles(evaluation), several=several)
            for entry in evaluation["headroom"]
        ],
        num_steps=evaluation["num_adaptation_steps"],
        episodes=evaluation["episodes_per_adaptation_step"],
        sample=_sample(evaluation["rows"]),
        task_parameters=[_parameter_row(p) for p in evaluation["task_parameters"]],
        facts=list(_flatten(facts)),
        config=list(_flatten(evaluation["config"])),
        commands=list(training.get("commands", [])),
    )


def verdicts(evaluation: dict[str, Any]) -> list[str]:
    """Say in one sentence a held-out split what one adaptation step is worth there.

    The sentences come from the numbers alone, and say so where domain randomisation wins, where
    the difference is within the interval, and where there is little or no headroom. Splits that
    were trained on are used only if there is no other.
    """
    entries = {entry["split"]: entry for entry in evaluation["headroom"]}
    held_out = [split for split in ("interpolation", "extrapolation") if split in entries]
    episodes = evaluation["episodes_per_adaptation_step"]
    where, chosen = _WHERE, held_out or list(entries)
    if not tasks_as_trained(evaluation):
        where, chosen = _WHERE_ELSE, list(entries)
    several = len({entry["algorithm"] for entry in evaluation["headroom"]}) > 1
    sentences = []
    for entry in evaluation["headroom"]:
        if entry["split"] in chosen:
            split: str = entry["split"]
            sentence = _verdict(entry, where.get(split, split), episodes)
            name = f"{algorithm_titles()[entry['algorithm']]}: "
            sentences.append(name + sentence if several else sentence)
    return sentences or _without_headroom(evaluation)


def _without_headroom(evaluation: dict[str, Any]) -> list[str]:
    """Say what changed by one adaptation step where nothing tells what there was to win."""
    rows = [row for row in evaluation.get("rows", []) if not row["exploration"]]
    learners, sentences = adapting(rows), []
    returns = {
        (row["algorithm"], row["split"], row["adaptation_steps"]): row["return_mean"]
        for row in rows
    }
    where = _WHERE if tasks_as_trained(evaluation) else _WHERE_ELSE
    for name in learners:
        for split in dict.fromkeys(row["split"] for row in rows):
            if (name, split, 1) in returns:
                before, after = (number(returns[name, split, step]) for step in (0, 1))
                sentences.append(
                    f"On {where.get(split, split)}, one adaptation step of "
                    f"{algorithm_titles()[name]} takes the mean return from {before} to {after}."
                )
    if not learners:
        return ["No policy in these runs adapts."]
    there = {row["algorithm"] for row in rows}
    missing = [name for name in ("domain_randomisation", "oracle") if name not in there]
    names = " and no ".join(algorithm_titles()[name] for name in missing)
    return [
        *sentences,
        f"The runs hold no {names}: which part of the headroom that is cannot be told.",
    ]


def conditions(evaluation: dict[str, Any]) -> str:
    """Say what was measured and trained on where a variant is part of it; else nothing."""
    measured, trained = evaluation.get("variant"), trained_variant(evaluation)
    if measured is None and trained is None:
        return ""
    if measured == trained:
        return f"Trained and measured on {_named(measured)}."
    text = f"Measured on {_named(measured)}. The policies were trained on {_named(trained)}"
    if tasks_as_trained(evaluation):
        return f"{text}, with the same ranges of tasks."
    return f"{text}: the splits below are those of what is measured."


def _named(variant: Mapping[str, Any] | None) -> str:
    if variant is None:
        return "the family as it is"
    text = variant.get("description", "")
    return f"the variant {variant['name']}" + (f" ({text})" if text else "")


def _verdict(entry: dict[str, Any], tasks: str, episodes: int) -> str:
    where = f"On {tasks}, "
    if len(entry["captured"]) < 2:
        return f"{where}no adaptation step was evaluated."
    step = f"one adaptation step of {episodes} episodes"
    share, (low, high) = entry["captured"][1], entry["captured_ci"][1]
    if not _finite(share, low, high) or not captured_is_meaningful(entry):
        return where + _no_headroom(entry)
    amount = f"{percent(share)} {_percent_interval([low, high])}"
    low, high = round(100 * low), round(100 * high)  # judged by what is shown
    gap = "the gap between domain randomisation and the oracle"
    if high < 0:
        text = f"domain randomisation wins: {step} ends below it, at {amount} of {gap}."
    elif low <= 0:
        text = f"{step} makes no measurable difference to domain randomisation: {amount} of {gap}."
    elif low > 100:
        text = f"{step} passes the oracle, which is then no upper bound: {amount} of {gap}."
    else:
        text = f"{step} closes {amount} of {gap}."
    before = f" Before adapting it stood at {percent(entry['captured'][0])}."
    return f"{where}{text}{before}{_small_headroom_note(entry)}"


def _no_headroom(entry: dict[str, Any]) -> str:
    headroom = f"{number(entry['headroom'])} {_interval(entry['headroom_ci'])}"
    returns = (
        f"Returns: domain randomisation {number(entry['domain_randomisation'])}, "
        f"after one adaptation step {number(entry['adapted'][1])}, "
        f"oracle {number(entry['oracle'])}."
    )
    if round(entry["headroom_ci"][1], 2) < 0.0:  # judged by what is shown
        return (
            f"domain randomisation scores above the oracle (headroom {headroom}), which is then "
            f"no upper bound: no fraction of a gap can be given. {returns}"
        )
    if entry["oracle"] <= entry["random"]:
        return (
            "the oracle does no better than random actions, so that no fraction of its lead over "
            f"domain randomisation can be given. {returns}"
        )
    return (
        "there is no measurable gap between domain randomisation and the oracle (headroom "
        f"{headroom}), so there is nothing for adaptation to gain. {returns}"
    )


def _small_headroom_note(entry: dict[str, Any]) -> str:
    span = entry["oracle"] - entry["random"]
    if span <= 0.0 or entry["headroom"] >= SMALL_HEADROOM * span:
        return ""
    part = percent(entry["headroom"] / span)
    return f" The gap itself is small: {part} of the distance from random actions to the oracle."


def _tables(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one table for deterministic and one for exploring episodes, grouped by split."""
    tables = []
    for exploration, title in ((False, "Deterministic episodes"), (True, "Exploring episodes")):
        groups = []
        for split in SPLIT_TITLES:
            rows = [
                row
                for row in evaluation["rows"]
                if row["split"] == split and row["exploration"] == exploration
            ]
            if rows:
                title_, note = (words(evaluation)[split] for words in (split_titles, split_notes))
                groups.append({"title": title_, "note": note, "rows": _rows(rows)})
        if groups:
            tables.append({"title": title, "groups": groups})
    return tables


def _rows(rows: list[dict[str, Any]]) -> list[Row]:
    order = list(algorithm_titles())
    several = len(adapting(rows)) > 1
    rows = sorted(rows, key=lambda row: (order.index(row["algorithm"]), row["adaptation_steps"]))
    # Random actions score so low that their place would squeeze all others together.
    shown = [row for row in rows if row["algorithm"] != "random"] or rows
    bounds = [bound for row in shown for bound in row["return_mean_ci"]]
    low, span = min(bounds), max(max(bounds) - min(bounds), 1e-9)

    def place(value: float) -> float:
        return round(100 * min(max((value - low) / span, 0.0), 1.0), 2)

    return [
        Row(
            algorithm=row["algorithm"] if row["algorithm"] in ALGORITHM_COLOURS else "adapted",
            label=_label(row, several=several),
            episodes_used=row["episodes_used"],
            mean=number(row["return_mean"]),
            mean_ci=_interval(row["return_mean_ci"]),
            iqm=number(row["return_iqm"]),
            iqm_ci=_interval(row["return_iqm_ci"]),
            success=percent(row["success"]),
            success_ci=_percent_interval(row["success_ci"]),
            bar=(
                place(row["return_mean_ci"][0]),
                place(row["return_mean"]),
                place(row["return_mean_ci"][1]),
            ),
        )
        for row in rows
    ]


def _label(row: dict[str, Any], *, several: bool) -> str:
    name = algorithm_titles()[row["algorithm"]]
    if not adapting([row]):
        return name
    stage = stage_name(row["adaptation_steps"])
    return f"{name}, {stage}" if several else stage


def _headroom_row(
    entry: dict[str, Any], titles: Mapping[str, str], *, several: bool
) -> dict[str, Any]:
    shares = zip(entry["captured"], entry["captured_ci"], strict=True)
    return {
        "split": titles.get(entry["split"], entry["split"])
        + (f", {algorithm_titles()[entry['algorithm']]}" if several else ""),
        "domain_randomisation": number(entry["domain_randomisation"]),
        "oracle": number(entry["oracle"]),
        "headroom": number(entry["headroom"]),
        "headroom_ci": _interval(entry["headroom_ci"]),
        "captured": [(percent(share), _percent_interval(ci)) for share, ci in shares],
    }


def _parameter_row(parameter: dict[str, Any]) -> dict[str, str]:
    def ranges(pairs: Sequence[Sequence[float]]) -> str:
        return ", ".join(f"{low:g} to {high:g}" for low, high in pairs) or "–"

    return {
        "name": parameter["name"],
        "label": parameter_label(parameter["name"], parameter["unit"]),
        "description": parameter["description"],
        "train": " or ".join(f"{value:g}" for value in parameter.get("choices", []))
        or ranges([parameter["train"]]),
        "gaps": ranges(parameter["gaps"]),
        "extrapolation": ranges(parameter["extrapolation"]),
        "scale": "log-uniform" if parameter["log_uniform"] else "uniform",
    }


def _sample(rows: list[dict[str, Any]]) -> str:
    """Say how many tasks and seeds the numbers rest on."""
    if not rows:
        return ""
    seeds, tasks = rows[0]["num_seeds"], rows[0]["num_tasks"]
    return f"{tasks} tasks a split for each of {seeds} training seed{'s' * (seeds != 1)}"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", str(value)


def _finite(*values: float | None) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


def _interval(bounds: Sequence[float | None]) -> str:
    """Write an interval, or nothing where it is undefined (null or NaN in evaluation.json)."""
    low, high = bounds
    return f"[{number(low)}, {number(high)}]" if _finite(low, high) else ""


def _percent_interval(bounds: Sequence[float | None]) -> str:
    low, high = (None if bound is None else 100 * bound for bound in bounds)
    return f"[{number(low, 0)}, {number(high, 0)}]" if _finite(low, high) else ""


def _shown(value: Any) -> Any:
    """Return what the template writes for a value: text from outside must not turn the page."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)  # what a macro returns
    return printable(value) if is_text else value


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
