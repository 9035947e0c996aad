"""`metarobot diagnose predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarobot.cli.console import OK, prepare
from metarobot.cli.diagnose_train_options import DiagnosePredict
from metarobot.cli.listing import make_table
from metarobot.diagnosis_runs.predicting import PlantModel, Prediction, predict_folder
from metarobot.diagnosis_runs.run_folder import load_run
from metarobot.files import csv_table, json_bytes, rounded
from metarobot.named_files import require_writable, write_file
from metarobot.printable import print_line

_NONE = "like none of them"
_MOST_LABELS = 6
"""Labels that have a column of their own on the screen."""


def run(command: DiagnosePredict) -> int:
    """Adapt to the examples, and print what each recording shows."""
    console = prepare()
    if command.out is not None:
        require_writable(command.out)  # before the work
    trained = load_run(command.run)
    model, predictions = predict_folder(
        trained, command.examples, command.recordings, command.machine
    )
    console.print(make_table(*screen_table(model, predictions), console))
    strangers = sum(own.looks_like_none for own in predictions)
    if strangers:
        print_line(
            console,
            f"{strangers} of {len(predictions)} look like none of the {len(model.classes)} labels: "
            "they are farther from all examples than recordings of known labels are; look at the "
            "machine, and add examples of what it has",
        )
    if command.out is not None:
        write_predictions(command.out, predictions)
        print_line(console, f"written: {command.out}")
    return OK


def screen_table(
    model: PlantModel, predictions: Sequence[Prediction]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headings and the rows of the table on the screen."""
    shown = model.classes if len(model.classes) <= _MOST_LABELS else ()
    rows = [
        (
            own.file,
            own.label,
            f"{own.probability:.0%}",
            _NONE if own.looks_like_none else "",
            *(f"{own.probabilities[label]:.0%}" for label in shown),
        )
        for own in predictions
    ]
    return ["recording", "shows", "probability", "looks", *(f"p({own})" for own in shown)], rows


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write all figures as CSV or JSON, by the ending of the name."""
    rows: list[dict[str, Any]] = [own._asdict() for own in predictions]
    if path.suffix == ".json":
        write_file(path, json_bytes(rounded(rows)))
        return
    for row in rows:
        row |= {f"p({label})": value for label, value in row.pop("probabilities").items()}
    write_file(path, csv_table(rounded(rows)).encode())
