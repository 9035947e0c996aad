"""The HTML report of an evaluation: one file that needs no network, no server and no scripts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from metarobot.evaluation.result import Evaluation
from metarobot.evaluation.robustness import ROBUSTNESS_EPISODES
from metarobot.evaluation.settings import describe_settings
from metarobot.printable import printable
from metarobot.reporting.episode_tables import episode_tables
from metarobot.reporting.hardship_tables import robustness_groups, worst_groups
from metarobot.reporting.heat_map_cells import page_heat_map
from metarobot.reporting.report_tables import headroom_table, parameter_table, return_tables
from metarobot.reporting.style import evaluation_title
from metarobot.reporting.verdicts import conditions, verdicts
from metarobot.reporting.where_it_holds import where_they_hold
from metarobot.reporting.worst_films import Film, WorstFilms

NO_FILMS = WorstFilms()
TEMPLATE_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How what is reported came to be."""

    commands: tuple[str, ...] = ()
    """Command lines that make it again."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else is worth knowing about the runs, by name."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What the report of a demonstration shows besides: what policies of the package can do."""

    shipped: Evaluation
    """What was measured of them."""
    film: bytes | None
    """MP4 of one of them on a chosen task; None where this machine cannot film."""
    choice: str = ""
    """How the task of the report's own video was chosen, in a sentence."""


def render_report(
    evaluation: Evaluation,
    pictures: Mapping[str, bytes],
    video: bytes | None,
    origin: Origin,
    worst: WorstFilms = NO_FILMS,
    demonstration: Demonstration | None = None,
) -> str:
    """Return the report of one task family as a single self-contained HTML page.

    Args:
        evaluation: The evaluation.
        pictures: PNG files to embed, by "adaptation_curve" and "training_curve"; a missing one
            leaves its section out. The heat map is drawn by the page itself.
        video: The before/after MP4 to embed, or None.
        origin: How the runs and the report came to be.
        worst: Films of the worst tasks.
        demonstration: What a demonstration shows besides.
    """
    variant = evaluation.variant
    template = page_templates().get_template("report.html.j2")
    return template.render(
        family=evaluation.family,
        title=evaluation_title(evaluation),
        conditions=conditions(evaluation),
        range_name="Training range" if evaluation.tasks_as_trained else "Main range",
        variant=list(describe_settings(asdict(variant)).items()) if variant else [],
        created=evaluation.created,
        verdicts=[*where_they_hold(evaluation), *verdicts(evaluation)],
        pictures={name: data_url(data, "image/png") for name, data in pictures.items()},
        video=_film_url(video),
        shown=None if demonstration is None else _shown_besides(demonstration),
        episode_tables=episode_tables(evaluation),
        tables=return_tables(evaluation),
        headroom=headroom_table(evaluation),
        heat_map=page_heat_map(evaluation),
        worst_groups=worst_groups(evaluation),
        films={place: _film_urls(film) for place, film in worst.films.items()},
        no_films=worst.problem,
        robustness=robustness_groups(evaluation),
        robustness_stages=["before", *(f"after {number}" for number in ROBUSTNESS_EPISODES)],
        num_blocks=max(len(curve.blocks) for curve in evaluation.curves) - 1,
        episodes_per_block=evaluation.config.episodes_per_block,
        sample=_sample(evaluation),
        task_parameters=parameter_table(evaluation),
        facts=list(origin.facts.items()),
        config=list(describe_settings(asdict(evaluation.config)).items()),
        commands=list(origin.commands),
    )


def _film_url(film: bytes | None) -> str | None:
    return None if film is None else data_url(film, "video/mp4")


def _shown_besides(demonstration: Demonstration) -> dict[str, Any]:
    """Return what the template shows of a demonstration."""
    return {
        "choice": demonstration.choice,
        "film": _film_url(demonstration.film),
        "sentences": where_they_hold(demonstration.shipped),
        "heat_map": page_heat_map(demonstration.shipped),
    }


def _film_urls(film: Film) -> dict[str, str]:
    return {
        "film": data_url(film.mp4, "video/mp4"),
        "poster": data_url(film.poster, "image/jpeg"),
    }


def page_templates() -> Environment:
    """Return the templates of all pages, in which text from outside cannot turn a page."""
    # A template named .j2 is outside jinja2's default rule, so escaping is switched on for all.
    return Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _sample(evaluation: Evaluation) -> str:
    """Say how many tasks and seeds the numbers rest on."""
    seeds = len(evaluation.seeds)
    return (
        f"{evaluation.config.num_tasks} tasks a split for each of {seeds} training "
        f"seed{'s' * (seeds != 1)}"
    )


def _shown(value: Any) -> Any:
    """Return what the template writes for a value: text from outside must not turn the page."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)  # what a macro returns
    return printable(value) if is_text else value


def data_url(data: bytes, media_type: str) -> str:
    """Return a file as an address that holds all of it."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
