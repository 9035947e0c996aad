"""Probes that another process fits."""

import time

import numpy as np

from metarobot.cli.fitting import Fitting, Request
from metarobot.evaluation.explaining import fit_probes
from metarobot.evaluation.explanation import ExplanationConfig
from metarobot.training.load import FOLDER, load_run

RUN = FOLDER / "slide"


def fitted(**options):
    request = Request(algorithm="maml", num_tasks=10, numbers=(1, 2), **options)
    with Fitting(request) as fitting:
        fitting.start()
        fitting.start()  # without effect
        end_s = time.monotonic() + 200
        while fitting.probes is None and time.monotonic() < end_s:
            time.sleep(0.05)
        return fitting.probes


def test_probes_are_those_that_are_fitted_here():
    config = ExplanationConfig(num_tasks=10, adaptation_episodes=(1, 2))
    wanted, found = fit_probes(load_run(RUN), "maml", config), fitted(run=str(RUN))
    assert set(found) == {1, 2}
    for number, probe in found.items():
        for one, other in zip(probe, wanted[number], strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_cannot_be_fitted_leaves_none(tmp_path):
    assert fitted(run=str(tmp_path)) == {}


def test_ending_early_ends_the_process():
    with Fitting(Request(run=str(RUN), algorithm="maml")) as fitting:
        fitting.start()
    assert fitting._process.returncode != 0
