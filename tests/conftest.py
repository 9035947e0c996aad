"""What the tests share: a quiet MuJoCo, one torch thread, small environments, a working OpenGL."""

import pytest
import torch

from metarobot.doctor import opengl_problem, working_gl_backend
from metarobot.envs import FAMILIES, make_env
from metarobot.opengl import prepare_opengl, silence_mujoco

silence_mujoco()
torch.set_num_threads(1)


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
def can_render(monkeypatch):
    """Whether this machine can render; if so, the environments render in this test."""
    backend = working_gl_backend()
    if backend is None:
        return False
    monkeypatch.setenv("MUJOCO_GL", backend)  # so that what prepare_opengl sets is undone
    prepare_opengl()
    return True


@pytest.fixture
def opengl(can_render):
    """Skip the test on a machine that cannot render."""
    if not can_render:
        pytest.skip(opengl_problem() or "no OpenGL")
