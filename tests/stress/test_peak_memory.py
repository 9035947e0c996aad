"""The peak memory of a meta-iteration is bounded, measured in a process of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.stress

MEASURE = """
import resource

from fakes import FakeEnv

from metarobot.algorithms import train_config
from metarobot.training.trainer import MetaTrainer, num_simulations


def peak_mb(num_tasks):
    # One conjugate gradient takes the memory of ten.
    options = {"num_tasks": num_tasks, "episodes_per_task": 20, "cg_iterations": 1}
    config = train_config(algorithm="maml", **options)
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config), 200))
    assert trainer.step()["update/rejected_tasks"] == 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


small = peak_mb(4)
print(peak_mb(10) - small)
"""


def test_memory_does_not_grow_with_the_number_of_tasks():
    """6 tasks x 20 episodes x 200 steps more would take 200 MB more, all at once."""
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100
