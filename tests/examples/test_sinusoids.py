"""Sinusoid regression: the smallest example of the few-shot learners, and what MAML promises."""

import sys
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, PYTHON_BLOCK

FOLDER = Path(__file__).parents[2] / "examples" / "sinusoids"
UPDATES = 300


@pytest.fixture
def sinusoids(monkeypatch):
    """The module of the example; its import goes with the test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import sinusoids

    yield sinusoids
    sys.modules.pop("sinusoids")


def test_one_step_of_maml_goes_far_and_one_from_joint_training_does_not(sinusoids):
    tasks = sinusoids.sample_sines(np.random.default_rng(1), num_tasks=300, num_query=50)
    maml = sinusoids.train(1, UPDATES, num_shots=10, seed=0)
    together = sinusoids.train(0, UPDATES, num_shots=10, seed=0)
    before, after, later = (sinusoids.errors(maml, tasks, steps) for steps in (0, 1, 10))
    fine_tuned = sinusoids.errors(together, tasks, 1)
    assert after < 0.6 * before
    assert after < 0.7 * fine_tuned
    assert later < after


def test_the_page_runs(sinusoids, capsys):
    (example,) = PYTHON_BLOCK.findall(PAGES["docs/few-shot.md"])
    assert "fit(sample_sines, 4000)" in example
    exec(compile(example.replace("4000", "2"), "docs/few-shot.md", "exec"), {})
    assert capsys.readouterr().out.startswith("mean squared error of 25 sines: ")
