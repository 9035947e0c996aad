"""From runs to an evaluation's folder: numbers, table, pictures and the report.

The report is one HTML file that needs no network, no server and no scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metarobot.console import printable
from metarobot.envs import Variant, keep_processes
from metarobot.evaluation.evaluate import Progress, evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.table import Evaluation, describe_settings
from metarobot.io import Folder, read_file
from metarobot.machine import choose_num_threads, extra, provenance
from metarobot.reporting.figures import PICTURES, TrainingCurve
from metarobot.reporting.films import WorstFilms, film_worst_tasks
from metarobot.reporting.heat_map import page_heat_map
from metarobot.reporting.style import evaluation_title
from metarobot.reporting.tables import (
    conclusion_table,
    episode_tables,
    parameter_table,
    returns_table,
    robustness_table,
    worst_tables,
    worst_words,
)
from metarobot.reporting.video import MOST_SHOWN_BYTES, data_url, is_playable
from metarobot.reporting.words import conclusion, conditions, verdicts, where_they_hold
from metarobot.training.load import TrainedRun

with extra("train", "a report"):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

REPORT_FILE = "report.html"
PRODUCTS = (
    *("evaluation.json", "evaluation.csv"),
    *(f"{picture.name}.png" for picture in PICTURES),
    REPORT_FILE,
)
"""Files of an evaluation besides the report."""
SCORES = "scores"
"""Folder of score files, if they are kept."""
NO_FILMS = WorstFilms()
TEMPLATE_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Provenance of a report."""

    commands: tuple[str, ...] = ()
    """Command lines that reproduce it."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Further facts about the runs, by name."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """Additions to the report of a demonstration: results of the shipped policies."""

    shipped: Evaluation
    """Evaluation of the shipped policies."""
    film: bytes | None
    """MP4 of a shipped policy on a chosen task; None if this machine cannot film."""
    choice: str = ""
    """Sentence about the choice of the task in the report's own video."""


def prepare_evaluation(out: Path, *, keep_scores: bool = False) -> Folder:
    """Return the folder of an evaluation, made if missing, after a check of its content.

    Args:
        out: The folder.
        keep_scores: Whether to keep score files in it.

    Raises:
        FolderError: Something else is in the place of one of its files or folders.
        OSError: It cannot be made.
    """
    folder = Folder(out)
    folder.make()
    folder.require_files(*PRODUCTS)
    scores = folder / SCORES
    if keep_scores and scores.exists():
        scores.require_files(*scores.names())
    return folder


@keep_processes()
def evaluate_to_folder(
    runs: Sequence[TrainedRun],
    out: Path,
    config: EvaluationConfig,
    *,
    variant: Variant | None = None,
    video: Path | None = None,
    demonstration: Demonstration | None = None,
    num_films: int = 0,
    commands: Sequence[str] = (),
    keep_scores: bool = False,
    progress: Progress,
) -> Evaluation:
    """Evaluate runs of one family and write results, pictures and report into a folder.

    Args:
        runs: Seeds of one task family.
        out: Folder to write to; made if missing.
        config: Extent of the measurement.
        variant: Variant to measure on; None for the family itself.
        video: MP4 to embed in the report.
        demonstration: Additions to the report of a demonstration.
        num_films: Films of the worst tasks in the report, if this machine has OpenGL.
        commands: Command lines that reproduce the report.
        keep_scores: Keep score files in the folder, and do not measure them again.
        progress: Called with a stage and the share of the work done.

    Returns:
        The evaluation, which evaluation.json holds.

    Raises:
        RunError: A run lacks a training curve.
        ValueError: The video is not one that browsers show.
        FolderError: Something other than a file is in the place of a product.
        OSError: The folder cannot be written to, or the video cannot be read. The folder then holds
            one evaluation: the old one, or the new one, possibly without its report.
    """
    film = None if video is None else read_file(video, MOST_SHOWN_BYTES)
    if film is not None and not is_playable(film):
        raise ValueError(f"{video} is not an MP4 that browsers can play")
    curves = [curve for run in runs for curve in _curves(run)]
    folder, facts = prepare_evaluation(out, keep_scores=keep_scores), _facts(runs)
    scores = folder / SCORES if keep_scores else None
    evaluation = evaluate_runs(runs, config, progress, variant, scores)
    if num_films:
        progress("films", 1.0)
    worst = film_worst_tasks(runs, evaluation, variant, num_films)
    pictures = {each.name: each.png(evaluation, curves) for each in PICTURES}
    origin = Origin(commands=tuple(commands), facts=facts)
    report = render_report(evaluation, pictures, film, origin, worst, demonstration)
    table = evaluation.to_dataframe()
    folder.write_together(
        {
            "evaluation.json": evaluation.to_json(),
            "evaluation.csv": table.to_csv(index=False).encode(),
            **{f"{name}.png": data for name, data in pictures.items()},  # None: there is none
            REPORT_FILE: report.encode(),
        }
    )
    return evaluation


def _curves(run: TrainedRun) -> list[TrainingCurve]:
    """Return the training curves of a run, without empty ones."""
    curves = []
    for algorithm, trained in run.policies.items():
        columns = trained.saved.curve if trained.saved else {}
        if not columns.get("total_steps"):
            continue
        # Algorithms without an inner loop have no pre-update return.
        before = tuple(columns["pre_return"]) if trained.config.adaptation_steps else None
        curves.append(
            TrainingCurve(
                algorithm=algorithm,
                simulation_steps=tuple(columns["total_steps"]),
                return_post=tuple(columns["post_return"]),
                return_pre=before,
            )
        )
    return curves


def _facts(runs: Sequence[TrainedRun]) -> Mapping[str, str]:
    """Return facts about the provenance of the runs, as text by name."""
    first = runs[0]
    saved = next(iter(first.policies.values())).saved
    made = saved.facts if saved else {}
    measured = provenance(choose_num_threads())
    hashes = {name: [run.policies[name].sha256[:16] for run in runs] for name in first.policies}
    facts: dict[str, object] = {
        "runs": [str(run.path) for run in runs],
        "seeds": [run.seed for run in runs],
        "machine": made.get("machine", {}),
        "versions": made.get("versions", {}),
        "git_revision": made.get("git_revision"),
        "policies (SHA-256)": hashes,
        "measured with": {key: value for key, value in measured.items() if key != "command"},
    }
    return describe_settings(facts)


def render_report(
    evaluation: Evaluation,
    pictures: Mapping[str, bytes | None],
    video: bytes | None,
    origin: Origin,
    worst: WorstFilms = NO_FILMS,
    demonstration: Demonstration | None = None,
) -> str:
    """Return the report of one task family as a single self-contained HTML page.

    Args:
        evaluation: The evaluation.
        pictures: PNG files by the name in `PICTURES`; None, or missing, is left out. The heat map
            is drawn by the page itself.
        video: The before/after MP4 to embed, or None.
        origin: Provenance of the runs and the report.
        worst: Films of the worst tasks.
        demonstration: Additions of a demonstration.
    """
    config = describe_settings(asdict(evaluation.config))
    variant = describe_settings(asdict(evaluation.variant)) if evaluation.variant else {}
    seeds = len(evaluation.seeds)
    return (
        page_templates()
        .get_template("report.html.j2")
        .render(
            family=evaluation.family,
            title=evaluation_title(evaluation),
            conditions=conditions(evaluation),
            variant=list(variant.items()),
            created=evaluation.created,
            conclusion=conclusion(evaluation),
            conclusion_table=conclusion_table(evaluation),
            verdicts=[*where_they_hold(evaluation), *verdicts(evaluation)],
            pictures=[
                {**each._asdict(), "url": data_url(data, "image/png")}
                for each in PICTURES
                if each.heading and (data := pictures.get(each.name))
            ],
            video=data_url(video, "video/mp4"),
            shown=demonstration
            and {
                "choice": demonstration.choice,
                "film": data_url(demonstration.film, "video/mp4"),
                "sentences": where_they_hold(demonstration.shipped),
                "heat_map": page_heat_map(demonstration.shipped),
            },
            episode_tables=episode_tables(evaluation),
            returns=returns_table(evaluation),
            heat_map=page_heat_map(evaluation),
            worst_tables=worst_tables(evaluation),
            films=[
                {
                    **dict(zip(("task", "where", "why"), words, strict=True)),
                    "film": data_url(film.mp4, "video/mp4"),
                    "poster": data_url(film.poster, "image/jpeg"),
                }
                for place, film in worst.films.items()
                for words in [worst_words(evaluation, evaluation.worst_tasks[place])]
            ],
            no_films=worst.problem,
            robustness=robustness_table(evaluation),
            episodes_per_block=evaluation.config.episodes_per_block,
            sample=f"{evaluation.config.num_tasks} tasks a split for each of {seeds} training "
            f"seed{'s' * (seeds != 1)}",
            task_parameters=parameter_table(evaluation),
            facts=[*origin.facts.items(), *_costs(evaluation)],
            config=list(config.items()),
            commands=list(origin.commands),
        )
    )


def _costs(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the cost of every seed's training, policy by policy."""
    return [
        (
            f"training.{policy.algorithm}",
            ", ".join(
                "interrupted"
                if steps is None or seconds is None
                else f"{steps:,} steps in {seconds:,.0f} s"
                for steps, seconds in zip(policy.total_steps, policy.seconds, strict=True)
            ),
        )
        for policy in evaluation.policies
        if policy.total_steps
    ]


def page_templates() -> Environment:
    """Return the templates of all pages, with text from outside escaped."""

    def shown(value: Any) -> Any:
        is_text = isinstance(value, str) and not isinstance(value, Markup)  # what a macro returns
        return printable(value) if is_text else value

    # A template named .j2 is outside jinja2's default rule, so escaping is switched on for all.
    return Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
