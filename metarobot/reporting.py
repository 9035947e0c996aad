"""From runs to an evaluation's folder: numbers, table, pictures and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarobot.curves import adaptation_curve, training_curve
from metarobot.envs import Variant
from metarobot.evaluation import Progress, evaluate_runs
from metarobot.files import csv_table, read_json, write_atomically, write_json
from metarobot.heat_map import heat_map
from metarobot.mp4 import playing_problem
from metarobot.report import write_report
from metarobot.run_folder import CONFIG_FILE, DONE_FILE, RunError, agent_folder
from metarobot.trained_run import TrainedRun, load_curve
from metarobot.trial import EvaluationConfig

REPORT_FILE = "report.html"
MAX_VIDEO_BYTES = 64 * 2**20
"""Size of a film in a report, which holds all of it."""
_NEEDED = ("maml", "domain_randomisation", "oracle")
_SHOWN_AGENTS = {"maml": "adapted"}  # the pictures name agents by what they do in the evaluation


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
        RunError: A run lacks an agent that the comparison needs, or its training curve.
        ValueError: The video is not one that browsers show.
        OSError: The folder cannot be written to, or the video cannot be read.
    """
    for run in runs:
        if missing := [agent for agent in _NEEDED if agent not in run.agents]:
            raise RunError(f"{run.path} lacks {', '.join(missing)}, which the comparison needs")
    curves = [curve for run in runs for curve in _curves(run)]
    if video is not None:
        _require_film(video)
    out.mkdir(parents=True, exist_ok=True)
    evaluation = evaluate_runs(runs, config, progress, variant)
    write_json(out / "evaluation.json", evaluation)
    write_atomically(out / "evaluation.csv", csv_table(evaluation["rows"]).encode())
    pictures = {"adaptation_curve": out / "adaptation_curve.png"}
    adaptation_curve(evaluation, pictures["adaptation_curve"])
    if evaluation["heat_map"] is not None:
        pictures["heat_map"] = out / "heat_map.png"
        heat_map(evaluation, pictures["heat_map"])
    if curves:
        pictures["training_curve"] = out / "training_curve.png"
        training_curve(curves, pictures["training_curve"])
    facts = {**_facts(runs), "commands": list(commands)}
    write_report(out / REPORT_FILE, evaluation, pictures, video, facts)
    return evaluation


def _require_film(video: Path) -> None:
    """Refuse to put into a report what is no film, before anything is measured."""
    if not video.is_file():
        video.stat()  # names the file that is missing
        raise ValueError(f"{video} is not a file")
    if video.stat().st_size > MAX_VIDEO_BYTES:
        raise ValueError(f"{video} is larger than {MAX_VIDEO_BYTES >> 20} MiB")
    if problem := playing_problem(video.read_bytes()):
        raise ValueError(f"{video} is not an MP4 that browsers show: {problem}")


def _curves(run: TrainedRun) -> list[dict[str, Any]]:
    """Return the training curves of a run as the picture takes them, without empty ones."""
    curves = []
    for agent in _NEEDED:
        columns = load_curve(run.path, agent, ("total_steps", "pre_return", "post_return"))
        if not columns["total_steps"]:
            continue
        curve = {
            "agent": _SHOWN_AGENTS.get(agent, agent),
            "simulation_steps": columns["total_steps"],
            "return_pre": columns["pre_return"],
        }
        if run.agents[agent].config.adaptation_steps:
            curve["return_post"] = columns["post_return"]
        curves.append(curve)
    return curves


def _facts(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Return what is worth knowing about how the runs came to be."""
    first = runs[0]
    agents = list(first.agents)
    saved = read_json(agent_folder(first.path, agents[0]) / CONFIG_FILE)
    return {
        "runs": [str(run.path) for run in runs],
        "seeds": [run.seed for run in runs],
        "training": {agent: ", ".join(_cost(run, agent) for run in runs) for agent in agents},
        "machine": saved.get("machine", {}),
        "versions": saved.get("versions", {}),
        "git_revision": saved.get("git_revision"),
    }


def _cost(run: TrainedRun, agent: str) -> str:
    try:
        done = read_json(agent_folder(run.path, agent) / DONE_FILE)
        return f"{int(done['total_steps']):,} steps in {float(done['seconds']):,.0f} s"
    except FileNotFoundError:
        return "interrupted"
    except (KeyError, TypeError, ValueError):
        return "unknown"
