import pytest

SHORT = {
    "algorithms.references.NUM_FITTED": 4,
    "algorithms.references.NUM_ROUNDS": 2,
    "algorithms.references.NUM_ELITES": 2,
    "evaluation.references._TUNING_TASKS": 2,
}


@pytest.fixture(scope="module", autouse=True)
def short_searches():
    """References search in little: here counts who is measured where, not what a search finds.

    What identification finds is the claim of its own tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(f"metarobot.{name}", value)
        yield
