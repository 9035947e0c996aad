import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metarobot import machine as opengl
from metarobot.cli.doctor import _check_opengl


@pytest.fixture(autouse=True)
def _fresh_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    opengl._probe.cache_clear()
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):  # a test that has rendered leaves the second
        monkeypatch.delenv(name, raising=False)


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


# Real processes: any order of imports, any MUJOCO_GL, with and without the libraries.

IMPORTS = {
    "metarobot": "import metarobot",
    # Its own import may fail; a program that goes on without MuJoCo shall not lose us.
    "mujoco": "try: import mujoco\nexcept (AttributeError, RuntimeError): pass\nimport metarobot",
    "gymnasium": "import gymnasium",
    "envs": "import metarobot.envs",
}
CELLS = [  # every import, every value, both ways: the first alone is quick
    ("mujoco", None, True),
    ("metarobot", "egl", False),
    ("gymnasium", "nonsense", True),
    ("envs", "disable", True),
    ("mujoco", "osmesa", True),
    ("envs", "glfw", True),
    ("gymnasium", None, False),
]
PLAY = """
import json
import gymnasium
env = gymnasium.make("metarobot:metarobot/PointNavigation-v0", render_mode="rgb_array")
env.reset(seed=0)
env.step(env.action_space.sample())
from metarobot.machine import OpenGLError
try:
    print(json.dumps(env.render().shape))
except OpenGLError as error:
    print(json.dumps(str(error)))
env.close()
"""
# What PyOpenGL sees of a library that is not there.
WITHOUT_LIBRARIES = """
import ctypes, re
class Library(ctypes.CDLL):
    def __init__(self, name, *args, **kwargs):
        if name and re.search(r"libEGL|libOSMesa|libOpenGL|libGL(?!IBC|FW)", str(name)):
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        super().__init__(name, *args, **kwargs)
ctypes.CDLL = ctypes.cdll._dlltype = Library
"""


def run_python(
    arguments: list[str], value: str | None, libraries: bool, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder`` with MUJOCO_GL, without a display, with OpenGL or without."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM", "MUJOCO_GL")
    environment = {key: text for key, text in os.environ.items() if key not in hidden}
    if value is not None:
        environment["MUJOCO_GL"] = value
    if not libraries:
        (folder / "stub").mkdir(exist_ok=True)
        (folder / "stub" / "sitecustomize.py").write_text(WITHOUT_LIBRARIES)
        path = (str(folder / "stub"), environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def expected_outcome(monkeypatch: pytest.MonkeyPatch, value: str | None, libraries: bool) -> str:
    """Return what rendering must say, or "" for a picture."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if value == "disable":
        return "unset it"
    if value == "nonsense":
        return "allowed: "
    if value is not None:
        monkeypatch.setenv("MUJOCO_GL", value)
    if libraries and opengl.working_gl_backend():
        return ""
    return "set MUJOCO_GL=" if libraries and value == "glfw" else "apt-get install"


@pytest.mark.skipif(sys.platform != "linux", reason="the backends of Linux")
@pytest.mark.parametrize(
    ("order", "value", "libraries"),
    [CELLS[0], *(pytest.param(*cell, marks=pytest.mark.stress) for cell in CELLS[1:])],
)
def test_only_rendering_needs_opengl_whatever_is_imported_first(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    order: str,
    value: str | None,
    libraries: bool,
) -> None:
    code = f"{IMPORTS[order]}\n{PLAY}"
    done = run_python(["-W", "error", "-c", code], value, libraries, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    outcome = json.loads(done.stdout)
    expected = expected_outcome(monkeypatch, value, libraries)
    if expected:
        assert expected in outcome
        assert "\n" not in outcome
    else:
        assert outcome == [480, 640, 3]


COMMANDS = """
from metarobot.cli.main import main
for command in ("--version", "--help", "list", "doctor"):
    assert main([command]) == 0, command
"""


@pytest.mark.stress
def test_commands_that_do_not_render_need_no_opengl(tmp_path: Path) -> None:
    done = run_python(["-c", COMMANDS], "egl", False, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\ngrip " in done.stdout
