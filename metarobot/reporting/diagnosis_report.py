"""The report of a diagnosis: one page that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from metarobot.diagnosis_runs.results import DiagnosisResult, SplitResult
from metarobot.diagnosis_runs.run_folder import RunConfig
from metarobot.evaluation.settings import describe_settings
from metarobot.files import json_bytes, rounded
from metarobot.folder import Folder
from metarobot.reporting.diagnosis_charts import (
    accuracy_chart,
    decision_chart,
    life_chart,
    matrix,
)
from metarobot.reporting.diagnosis_words import sentences, verdict, words
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import number, percent, percent_interval

REPORT_FILE, NUMBERS_FILE = "report.html", "evaluation.json"


def prepare_folder(out: Path) -> Folder:
    """Make the folder of a report, before the work; see `Folder.require_replaceable`."""
    folder = Folder(out)
    folder.make()
    folder.require_replaceable(NUMBERS_FILE, REPORT_FILE)
    return folder


def write_report(
    folder: Folder, result: DiagnosisResult, config: RunConfig, commands: Sequence[str]
) -> None:
    """Write evaluation.json and report.html, the report last.

    Args:
        folder: As `prepare_folder` made it.
        result: What was measured.
        config: Of the run that was measured.
        commands: Command lines that make it again.
    """
    page = render_diagnosis(result, config, commands)
    numbers = json_bytes(rounded(msgspec.to_builtins(result)))
    folder.write_together({NUMBERS_FILE: numbers, REPORT_FILE: page.encode()})


def render_diagnosis(result: DiagnosisResult, config: RunConfig, commands: Sequence[str]) -> str:
    """Return the page."""
    return (
        page_templates()
        .get_template("diagnosis.html.j2")
        .render(
            result=result,
            title="Simulated arms" if result.kind == "arms" else "Recordings of your machines",
            verdict=verdict(result),
            sentences=sentences(result),
            splits=[_split(split) for split in result.splits],
            decisions=[(own, decision_chart(own)) for own in result.decisions],
            words=words,
            percent=percent,
            number=number,
            life=_life(result),
            facts=list(_facts(config).items()),
            commands=list(commands),
        )
    )


def _split(split: SplitResult) -> dict[str, Any]:
    """Return what the page shows of one split."""
    shots = sorted({own.shots for own in split.scores})
    table = []
    for name in split.learners:
        scores = [split.score(name, number) for number in shots]
        cells = [
            (percent(own.accuracy.value), percent_interval(own.accuracy)) if own else ("–", "")
            for own in scores
        ]
        table.append((name, cells))
    return {
        "own": split,
        "chart": accuracy_chart(split),
        "matrix": matrix(split.confusion),
        "shots": shots,
        "table": table,
    }


def _life(result: DiagnosisResult) -> dict[str, Any] | None:
    """Return what the page shows of remaining life, if anything was measured."""
    if result.life is None:
        return None
    seen = sorted({own.seen for own in result.life.scores})
    names = dict.fromkeys(own.learner for own in result.life.scores)
    of = {(own.learner, own.seen): own for own in result.life.scores}
    return {
        "charts": [life_chart(curve) for curve in result.life.curves],
        "machines": result.life.num_machines,
        "seen": seen,
        "rows": [(name, [of.get((name, share)) for share in seen]) for name in names],
    }


def _facts(config: RunConfig) -> Mapping[str, str]:
    """Return how the learner came to be, as text by name."""
    values = msgspec.to_builtins(config)
    made = values.pop("provenance")
    signal = values.pop("signal")
    channels = [f"{name} [{unit}]" if unit else name for name, unit in signal.pop("channels")]
    return describe_settings({**values, **signal, "channels": channels, **made})
