"""What the tests share: a quiet MuJoCo, one torch thread, small environments, a working OpenGL."""

from importlib import import_module

import pytest
import torch

from metarobot.envs import FAMILIES, make_env, silence_mujoco
from metarobot.machine import opengl_problem

silence_mujoco()
torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Leave the tests of a module to one worker, so that most fixtures are made once."""
    if config.getoption("dist") != "load":
        return None  # another way was asked for
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(params=FAMILIES)
def env_id(request):
    return request.param


@pytest.fixture
def env(env_id):
    """Four simulations of a family, on nominal tasks; made anew, since tests change its physics."""
    env = make_env(env_id, 4, num_threads=1)
    yield env
    env.close()


@pytest.fixture
def opengl():
    """Skip the test on a machine that cannot render."""
    problem = opengl_problem()
    if problem:
        pytest.skip(problem)


@pytest.fixture
def few_frames(opengl, monkeypatch):
    """Film one picture a control step, not three: for a test that there is a film, not of how."""
    # It keeps a copy, which would stay for all tests to come if it was imported meanwhile.
    import_module("metarobot.reporting.films")
    monkeypatch.setattr("metarobot.reporting.films.FRAMES_PER_STEP", 1)


@pytest.fixture
def double_precision():
    """Let torch make float64 tensors unless told otherwise, as a caller's own program may."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
