import pytest

import metarobot as mr
from metarobot.play.session import PlaySession


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """A run that has learned next to nothing, in a second."""
    folder = tmp_path_factory.mktemp("runs") / "slide"
    sizes = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}
    algorithms = ["latent", "maml", "rl2", "oracle"]
    return mr.train("slide", algorithms=algorithms, out=folder, num_weighed=32, **sizes)


@pytest.fixture
def play(run):
    """Make sessions, and close them."""
    made = []

    def make(algorithm="latent", **options):
        made.append(PlaySession(run.trained.policies[algorithm], **options))
        return made[-1]

    yield make
    for session in made:
        session.close()
