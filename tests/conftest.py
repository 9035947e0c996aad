"""What the tests share: a quiet MuJoCo, one torch thread, small environments, a working OpenGL."""

from importlib import import_module

import numpy as np
import pytest
import scipy.stats
import torch
from trained import TINY, TRAINED

from metarobot.envs import FAMILIES, TaskVectorEnv, make_env, silence_mujoco
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
def quick_pages(monkeypatch):
    """Coarse pictures, black films, rough intervals: for a test that there is a page or a film."""
    black = np.zeros((48, 64, 3), np.uint8)
    for module in ("films", "style"):  # which keep copies of what is patched below
        import_module(f"metarobot.reporting.{module}")
    monkeypatch.setattr("metarobot.machine.opengl_problem", lambda: None)
    monkeypatch.setattr(TaskVectorEnv, "render", lambda env: [black] * env.num_envs)
    monkeypatch.setattr("metarobot.reporting.style._DPI", 30)
    monkeypatch.setattr("metarobot.reporting.camera.FRAMES_PER_STEP", 1)
    monkeypatch.setattr("scipy.stats.bootstrap", _rough_bootstrap)


def _rough_bootstrap(*data, **options):
    return _BOOTSTRAP(*data, **{**options, "n_resamples": 50})


_BOOTSTRAP = scipy.stats.bootstrap


@pytest.fixture(scope="session")
def grip_run(tmp_path_factory):
    """Make a run of the grip family, as small as can be, once for all tests: leave it as it is."""
    from metarobot.training.run import train_run

    folder = tmp_path_factory.mktemp("runs") / "grip"
    train_run(TINY, TRAINED, folder)
    return folder


@pytest.fixture
def double_precision():
    """Let torch make float64 tensors unless told otherwise, as a caller's own program may."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
