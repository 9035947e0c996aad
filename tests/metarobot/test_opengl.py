import os
import subprocess
import sys

import pytest

from metarobot import opengl
from metarobot.doctor import _check_opengl


@pytest.fixture(autouse=True)
def _fresh_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    opengl._probe.cache_clear()
    monkeypatch.delenv("MUJOCO_GL", raising=False)


def test_no_opengl_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl, "_probe", lambda backend: "no such library")
    problem = opengl.opengl_problem()
    assert problem is not None
    assert "libegl1 libopengl0" in problem
    assert "libosmesa6" in problem
    assert "\n" not in problem
    with pytest.raises(opengl.OpenGLError, match="libosmesa6"):
        opengl.require_opengl()
    check = _check_opengl()
    assert not check.ok
    assert not check.required


def test_osmesa_is_tried_after_egl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl, "_probe", lambda backend: "" if backend == "osmesa" else "broken")
    assert opengl.working_gl_backend() == "osmesa"
    assert opengl.opengl_problem() is None
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert opengl.working_gl_backend() is None
    assert "set MUJOCO_GL=osmesa" in (opengl.opengl_problem() or "")


def test_a_crashing_probe_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl, "_PROBE", "import os; os.abort()")
    assert opengl._probe("egl").startswith("exit status")


def test_a_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(opengl, "_PROBE_TIMEOUT_S", 0.2)
    assert "no picture within" in opengl._probe("egl")


def test_choosing_a_backend_respects_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl.sys, "platform", "linux")
    monkeypatch.setattr(opengl.ctypes.util, "find_library", lambda name: f"lib{name}.so")
    assert opengl.choose_gl_backend() == os.environ["MUJOCO_GL"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert opengl.choose_gl_backend() == "glfw"


def test_choosing_a_backend_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opengl.sys, "platform", "linux")
    # EGL without libOpenGL cannot render.
    found = {"EGL": "libEGL.so.1", "OSMesa": "libOSMesa.so.8"}
    monkeypatch.setattr(opengl.ctypes.util, "find_library", found.get)
    assert opengl.choose_gl_backend() == "osmesa"
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(opengl.ctypes.util, "find_library", lambda name: None)
    assert opengl.choose_gl_backend() is None
    assert "MUJOCO_GL" not in os.environ


def test_the_module_needs_only_the_standard_library() -> None:
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('opengl', {opengl.__file__!r})\n"
        "module = sys.modules['opengl'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module.choose_gl_backend()\n"
        "assert not {'mujoco', 'numpy', 'torch', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
