"""The film of a task on which adapting shows: which task, what is said of it, and what is seen."""

import numpy as np
import pytest
import torch
from fakes import untrained_run

from metarobot.reporting import films
from metarobot.reporting.films import film_chosen_task
from metarobot.training.load import FOLDER, load_run


@pytest.fixture
def filmed(monkeypatch):
    """Return the arguments of `write_clips`; frames are black: no OpenGL is needed."""
    calls = []
    monkeypatch.setattr(films, "_picture", lambda env: (np.zeros((48, 64, 3), np.uint8),))
    monkeypatch.setattr(films, "write_clips", lambda *call: calls.append(call))
    return calls


def test_a_trained_policy_turns_from_failure_to_success_on_the_task(filmed, tmp_path):
    sentence = film_chosen_task(load_run(FOLDER / "grip"), tmp_path / "film.mp4")
    ((clips, *_, note),) = filmed
    assert [clips[0].success, clips[-1].success] == [False, True]
    assert sum(clips[-1].rewards) - sum(clips[0].rewards) > 2  # the block was lost, not half held
    assert note == "a chosen task"
    assert sentence.startswith("The task is chosen: of 32 drawn, ")
    assert " turn from failure to success; " in sentence


def test_where_none_turns_the_return_decides_and_it_is_said(filmed, tmp_path, monkeypatch):
    returns = iter([[1.0, 0.0, 2.0], [1.5, 2.0, 2.5]])

    class Failed:
        success = torch.zeros(3, 1, dtype=torch.bool)

        def __init__(self):
            self.returns = torch.tensor(next(returns))[:, None]

    monkeypatch.setattr(films, "NUM_DRAWN", 3)
    monkeypatch.setattr(films, "_episodes", lambda *_: Failed())
    run = untrained_run(tmp_path, "metarobot/Grip-v0", shrink_steps=False)
    sentence = film_chosen_task(run, tmp_path / "film.mp4")
    assert sentence.startswith("The task is chosen: of 3 drawn, none turns from failure to success")
    ((_, env, *_),) = filmed
    assert env.tasks.to_dicts() == [pytest.approx(films._drawn(run).to_dicts()[1])]
