"""Films of the worst tasks of an evaluation, each of the episodes that it was judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain, zip_longest

from PIL import Image

from metarobot.envs import Variant
from metarobot.evaluation.table import Evaluation, WorstTask
from metarobot.evaluation.task_set import TaskSet
from metarobot.opengl import OpenGLError, require_opengl
from metarobot.policies import Params
from metarobot.reporting.adaptation_video import RenderConfig, camera_env
from metarobot.reporting.film_drawing import VideoError
from metarobot.reporting.film_file import mp4_bytes
from metarobot.reporting.filming import (
    film,
    film_title,
    frames_per_second,
    side_by_side,
    task_words,
)
from metarobot.reporting.style import after_episodes, split_title
from metarobot.reporting.video import Words
from metarobot.training.load import TrainedRun

MOST_FILMS = 10
"""In a report."""
_POSTER_WIDTH_PX = 640


@dataclass(frozen=True)
class Film:
    """A film for a page."""

    mp4: bytes
    poster: bytes
    """JPEG of its end, which shows whether the episodes succeeded."""


@dataclass(frozen=True)
class WorstFilms:
    """What was filmed of the worst tasks."""

    films: Mapping[int, Film] = field(default_factory=dict)
    """By place in `Evaluation.worst_tasks`."""
    problem: str = ""
    """Why there are none, in one line."""


def film_worst_tasks(
    runs: Sequence[TrainedRun], evaluation: Evaluation, variant: Variant | None, most: int
) -> WorstFilms:
    """Film the worst tasks of the learner that `metarobot render` takes, or say why not.

    Args:
        runs: One run per seed.
        evaluation: What was measured of them.
        variant: What it was measured on; None for the family as it is.
        most: Films at most: of harmed tasks and of those with the lowest return by turns.
    """
    places = _chosen(evaluation, runs[0].first_learner, most) if runs[0].learners else []
    try:
        if places:
            require_opengl()
        films = _films(runs, evaluation, variant, places)
    except (OpenGLError, VideoError) as error:
        return WorstFilms(problem=str(error))
    return WorstFilms(films)


def _chosen(evaluation: Evaluation, algorithm: str, most: int) -> list[int]:
    """Return the places of the tasks that are filmed, in their order."""
    own = [p for p, task in enumerate(evaluation.worst_tasks) if task.algorithm == algorithm]
    harmed = [place for place in own if evaluation.worst_tasks[place].harmed]
    lowest = [place for place in own if place not in harmed]
    by_turns = [p for p in chain.from_iterable(zip_longest(harmed, lowest)) if p is not None]
    return sorted(by_turns[:most])


def _films(
    runs: Sequence[TrainedRun],
    evaluation: Evaluation,
    variant: Variant | None,
    places: Sequence[int],
) -> dict[int, Film]:
    films: dict[int, Film] = {}
    known: dict[tuple[int, str], tuple[TaskSet, dict[int, Params]]] = {}
    for place in places:
        worst = evaluation.worst_tasks[place]
        run = next(run for run in runs if run.seed == worst.seed)
        if (worst.seed, worst.split) not in known:  # all tasks of a split adapt at once
            config, trained = evaluation.config, run.policies[worst.algorithm]
            task_set = TaskSet.of_split(run.env_id, worst.split, config, variant, run.scene)
            numbers = sorted({0, 1, worst.adaptation_episodes})
            adapted = task_set.adapted(trained, numbers, task_set.block_size)
            known[worst.seed, worst.split] = task_set, adapted
        task_set, adapted = known[worst.seed, worst.split]
        films[place] = _film(run, worst, split_title(evaluation, worst.split), task_set, adapted)
    return films


def _film(
    run: TrainedRun,
    worst: WorstTask,
    split: str,
    task_set: TaskSet,
    adapted: Mapping[int, Params],
) -> Film:
    """Film the first test episode of a task, before and after adapting."""
    config, trained = RenderConfig(), run.policies[worst.algorithm]
    with closing(camera_env(run, config, task_set.variant, len(adapted))) as env:
        env.set_tasks(task_set.tasks.rows([worst.index]))
        start, own = task_set.first_start(env, worst.index), slice(worst.index, worst.index + 1)
        clips = [
            film(env, trained, {k: leaf[own] for k, leaf in params.items()}, start, name)
            for name, params in ((after_episodes(n), params) for n, params in adapted.items())
        ]
        words = Words(title=f"{film_title(env)}, {split.lower()}", parts=task_words(env))
        frames = [*side_by_side(clips, env, words, config.slow_motion)]
        content = mp4_bytes(frames, frames_per_second(env, config.slow_motion))
    return Film(content, _poster(Image.fromarray(frames[-1])))


def _poster(picture: Image.Image) -> bytes:
    height = round(picture.height * _POSTER_WIDTH_PX / picture.width)
    buffer = BytesIO()
    small = picture.resize((_POSTER_WIDTH_PX, height), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
