"""Films of the worst tasks: which, of which episodes, and what is said where there can be none."""

import io
from dataclasses import replace

import numpy as np
import pytest
from evaluations import made_up_evaluation, worst_task
from fakes import untrained_run
from PIL import Image

from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.task_set import TaskSet
from metarobot.machine import OpenGLError
from metarobot.reporting import films
from metarobot.reporting.films import film_worst_tasks
from metarobot.reporting.video import playing_problem
from metarobot.training.load import FOLDER, load_run

GRIP = "metarobot/Grip-v0"
CONFIG = EvaluationConfig(num_tasks=4, test_episodes=2)


@pytest.fixture
def run(tmp_path):
    return untrained_run(tmp_path, GRIP, shrink_steps=False)


@pytest.fixture
def black(monkeypatch):
    """Frames are black: no OpenGL is needed. Return the rewards of all clips that are filmed."""
    rewards, film = [], films.film

    def filmed(env, trained, params, start, caption):
        clip = film(env, trained, params, start, caption)
        rewards.append((caption, env.tasks.to_dicts()[0], sum(clip.rewards)))
        return clip

    monkeypatch.setattr(films, "require_opengl", lambda: None)
    monkeypatch.setattr(films, "film", filmed)
    monkeypatch.setattr(films, "_picture", lambda env: (np.zeros((48, 64, 3), np.uint8),))
    return rewards


@pytest.fixture
def evaluation():
    tasks = [worst_task(index, harmed=index < 3) for index in range(4)]
    return replace(made_up_evaluation(), worst_tasks=tuple(tasks), config=CONFIG)


def test_harmed_tasks_and_lowest_returns_are_filmed_by_turns(run, black, evaluation):
    found = film_worst_tasks([run], evaluation, None, 3)
    assert list(found.films) == [0, 1, 3]
    assert found.problem == ""
    for film in found.films.values():
        assert playing_problem(film.mp4) is None
        assert Image.open(io.BytesIO(film.poster)).width == 640
    assert [caption for caption, *_ in black[:3]] == [
        "before adapting",
        "after 1 episode",
        "after 5 episodes",
    ]


def test_a_learner_that_asks_is_filmed_as_it_was_judged():
    """What latent asks in an episode depends on how many there are to be."""
    trained = load_run(FOLDER / "slide").policies["latent"]
    config = EvaluationConfig(num_tasks=4, num_blocks=0, test_episodes=1)
    task_set = TaskSet.of_split("metarobot/Slide-v0", "extrapolation", config)
    scores = task_set.score("latent", trained)
    judged = {each.episodes: each.returns for each in scores if not each.exploring}
    adapted = task_set.adapted(trained, (0, 1, 5), task_set.block_size)
    for number, params in adapted.items():
        returns = task_set._judged(trained, params).returns.double().mean(dim=1)
        np.testing.assert_array_equal(returns, judged[number])
    of_five = task_set.adapted(trained, (0, 1, 5))[5]
    assert any((leaf != of_five[name]).any() for name, leaf in adapted[5].items())


def test_the_film_is_of_the_episode_that_was_judged(run, black, evaluation):
    film_worst_tasks([run], evaluation, None, 1)
    task_set = TaskSet.of_split(GRIP, "extrapolation", CONFIG)
    first = replace(CONFIG, test_episodes=1)  # the same first episode, and no other
    scores = replace(task_set, config=first).score("maml", run.policies["maml"])
    shown = [each for each in scores if each.episodes in (0, 1, 5) and not each.exploring]
    judged = [each.returns[0] for each in shown]
    assert [reward for *_, reward in black] == pytest.approx(judged, abs=1e-4)
    assert black[0][1] == pytest.approx(task_set.tasks.to_dicts()[0])


def test_without_opengl_there_is_a_reason_and_no_film(run, monkeypatch, evaluation):
    def refuse():
        raise OpenGLError("OpenGL is missing: install it")

    monkeypatch.setattr(films, "require_opengl", refuse)
    found = film_worst_tasks([run], evaluation, None, 3)
    assert (dict(found.films), found.problem) == ({}, "OpenGL is missing: install it")


def test_who_asks_for_no_film_needs_no_opengl(run, evaluation):
    found = film_worst_tasks([run], evaluation, None, 0)
    assert (dict(found.films), found.problem) == ({}, "")
