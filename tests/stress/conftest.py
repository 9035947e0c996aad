"""The long tests: a short form of each runs with all others, --stress runs them in full."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--stress", action="store_true", help="run the long tests in full")


@pytest.fixture(scope="session")
def in_full(request):
    """Whether the long tests run in full."""
    return request.config.getoption("--stress", default=False)
