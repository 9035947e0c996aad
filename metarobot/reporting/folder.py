"""From runs to an evaluation's folder: numbers, table, pictures and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarobot.envs import Variant
from metarobot.evaluation.evaluation import Progress, evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.files import csv_table, json_bytes
from metarobot.folder import Folder
from metarobot.named_files import read_file
from metarobot.reporting.curves import adaptation_curve, training_curve
from metarobot.reporting.heat_map import heat_map
from metarobot.reporting.html import render_report
from metarobot.reporting.mp4 import playing_problem
from metarobot.training.load import TrainedRun, load_curve
from metarobot.training.run_folder import read_facts
from metarobot.training.run_layout import CONFIG_FILE, DONE_FILE

PICTURES = ("adaptation_curve", "heat_map", "training_curve")
REPORT_FILE = "report.html"
PRODUCTS = (
    *("evaluation.json", "evaluation.csv"),
    *(f"{name}.png" for name in PICTURES),
    REPORT_FILE,
)
"""Files of an evaluation; the report tells of all others."""
MAX_VIDEO_BYTES = 64 * 2**20
"""Size of a film in a report, which holds all of it."""


def evaluate_to_folder(
    runs: Sequence[TrainedRun],
    out: Path,
    config: EvaluationConfig,
    *,
    variant: Variant | None = None,
    video: Path | None = None,
    commands: Sequence[str] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate runs of one family and write everything there is to see into a folder.

    Args:
        runs: Seeds of one task family.
        out: Folder to write to; made if missing.
        config: How much is measured.
        variant: What to measure on; None for the family as it is.
        video: MP4 to embed in the report.
        commands: Command lines that reproduce the report.
        progress: Called with a stage and the share of the work done.

    Returns:
        The evaluation, in the layout of evaluation.json.

    Raises:
        RunError: A run lacks a training curve.
        ValueError: The video is not one that browsers show.
        FolderError: Something other than a file is in the place of a product.
        OSError: The folder cannot be written to, or the video cannot be read. What is in the folder
            is then of one evaluation: the old one, or the new one whose report may be missing.
    """
    curves = [curve for run in runs for curve in _curves(run)]
    film = None if video is None else _read_film(video)
    folder = Folder(out)
    folder.make()
    folder.require_replaceable(*PRODUCTS)
    evaluation = evaluate_runs(runs, config, progress, variant)
    pictures = _draw(evaluation, curves)
    facts = {**_facts(runs), "commands": list(commands)}
    report = render_report(evaluation, pictures, film, facts)
    folder.write_together(
        {
            "evaluation.json": json_bytes(evaluation),
            "evaluation.csv": csv_table(evaluation["rows"]).encode(),
            **{f"{name}.png": pictures.get(name) for name in PICTURES},
            REPORT_FILE: report.encode(),
        }
    )
    return evaluation


def _draw(evaluation: dict[str, Any], curves: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """Return the pictures there are, as PNG files."""
    pictures = {"adaptation_curve": adaptation_curve(evaluation)}
    if evaluation["heat_map"] is not None:
        pictures["heat_map"] = heat_map(evaluation)
    if curves:
        pictures["training_curve"] = training_curve(curves)
    return pictures


def _read_film(video: Path) -> bytes:
    """Return the film for a report; what is no film is refused before anything is measured."""
    data = read_file(video, MAX_VIDEO_BYTES)
    if problem := playing_problem(data):
        raise ValueError(f"{video} is not an MP4 that browsers show: {problem}")
    return data


def _curves(run: TrainedRun) -> list[dict[str, Any]]:
    """Return the training curves of a run as the picture takes them, without empty ones."""
    curves = []
    for algorithm in run.policies:
        columns = load_curve(run.path, algorithm, ("total_steps", "pre_return", "post_return"))
        if not columns["total_steps"]:
            continue
        curve = {
            "algorithm": algorithm,
            "simulation_steps": columns["total_steps"],
            "return_pre": columns["pre_return"],
        }
        if run.policies[algorithm].config.adaptation_steps:
            curve["return_post"] = columns["post_return"]
        curves.append(curve)
    return curves


def _facts(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Return what is worth knowing about how the runs came to be."""
    first = runs[0]
    algorithms = list(first.policies)
    saved = read_facts(first.path, algorithms[0], CONFIG_FILE)
    return {
        "runs": [str(run.path) for run in runs],
        "seeds": [run.seed for run in runs],
        "training": {
            algorithm: ", ".join(_cost(run, algorithm) for run in runs) for algorithm in algorithms
        },
        "machine": saved.get("machine", {}),
        "versions": saved.get("versions", {}),
        "git_revision": saved.get("git_revision"),
    }


def _cost(run: TrainedRun, algorithm: str) -> str:
    try:
        done = read_facts(run.path, algorithm, DONE_FILE)
        return f"{int(done['total_steps']):,} steps in {float(done['seconds']):,.0f} s"
    except FileNotFoundError:
        return "interrupted"
    except (KeyError, TypeError, ValueError):
        return "unknown"
