"""Small forests: a few trees say as much of recordings that are made up."""

import pytest

from metarobot.diagnosis import learners


@pytest.fixture(autouse=True, scope="session")
def few_trees():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learners, "NUM_TREES", 12)
        yield
