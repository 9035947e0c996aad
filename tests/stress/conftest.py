import pytest
from small_training import ITERATIONS, train_here


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A run that one process has trained from the beginning to the end."""
    return train_here(tmp_path_factory.mktemp("undisturbed") / "run", ITERATIONS)
