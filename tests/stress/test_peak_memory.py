"""The peak memory of a meta-iteration is bounded, measured in a process of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.stress

MEASURE = """
import resource
import sys

from fakes import FakeEnv

from metarobot.algorithms import train_config
from metarobot.training.trainer import MetaTrainer, num_simulations


def peak_mb(num_tasks):
    config = train_config(algorithm=sys.argv[1], num_tasks=num_tasks, episodes_per_task=20)
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config), 200))
    assert trainer.step()["update/rejected_tasks"] == 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


small = peak_mb(4)
print(peak_mb(16) - small)
"""


def growth_mb(tmp_path, *arguments):
    """What 16 tasks x 20 episodes x 200 steps take more than 4 tasks do."""
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    command = [sys.executable, str(script), *arguments]
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_does_not_grow_with_the_number_of_tasks(tmp_path):
    assert growth_mb(tmp_path, "maml") < 150
