"""The choice of an OpenGL backend that renders without a display.

Only the standard library is imported: choose_gl_backend has to run before mujoco is imported
anywhere, because mujoco reads MUJOCO_GL once, at import.
"""

from __future__ import annotations

import ctypes.util
import functools
import os
import subprocess
import sys
import tempfile

# MuJoCo's backends without a display, best first -> the libraries each one loads.
GL_LIBRARIES = {"egl": ("EGL", "OpenGL"), "osmesa": ("OSMesa",)}
INSTALL_OPENGL = "`apt-get install libegl1 libopengl0` or `apt-get install libosmesa6`"
_PROBE_TIMEOUT_S = 60.0
_ERROR_LENGTH = 120
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().shape == (16, 16, 3)
renderer.close()
"""


class OpenGLError(RuntimeError):
    """Nothing on this machine can render; the message names what to install."""


def choose_gl_backend() -> str | None:
    """Set MUJOCO_GL to a backend without a display, unless it is set; do so before mujoco's import.

    Only looks for the libraries, which takes milliseconds; whether they can render is for
    working_gl_backend. Where none is found (or not on Linux) mujoco's own choice stands. Once
    mujoco is imported this comes too late for the running process.

    Returns:
        The value of MUJOCO_GL, or None if it stays unset.
    """
    if "MUJOCO_GL" not in os.environ and sys.platform == "linux":
        for backend, libraries in GL_LIBRARIES.items():
            if all(ctypes.util.find_library(library) for library in libraries):
                os.environ["MUJOCO_GL"] = backend
                break
    return os.environ.get("MUJOCO_GL")


def working_gl_backend() -> str | None:
    """Return the first backend that renders a picture in a process of its own, or None.

    MUJOCO_GL is tried alone if it is set; else EGL, then OSMesa. A process of its own, because
    mujoco takes MUJOCO_GL only once and a broken driver can abort the process.
    """
    chosen = os.environ.get("MUJOCO_GL")
    for backend in (chosen,) if chosen else tuple(GL_LIBRARIES):
        if not _probe(backend):
            return backend
    return None


def opengl_problem() -> str | None:
    """Return None if this machine can render, else one line saying what to set or install."""
    if working_gl_backend() is not None:
        return None
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        others = [backend for backend in GL_LIBRARIES if not _probe(backend)]
        remedy = f"set MUJOCO_GL={others[0]}" if others else f"on Debian {INSTALL_OPENGL}"
        return f"MuJoCo cannot render with MUJOCO_GL={chosen} ({_probe(chosen)}): {remedy}"
    return f"MuJoCo cannot render, OpenGL is missing: on Debian {INSTALL_OPENGL}"


def require_opengl() -> None:
    """Raise before rendering starts, rather than deep within it.

    Raises:
        OpenGLError: No OpenGL backend works.
    """
    problem = opengl_problem()
    if problem:
        raise OpenGLError(problem)


@functools.cache
def _probe(backend: str) -> str:
    """Render once with a backend; return "" or the last line of the error."""
    with tempfile.TemporaryDirectory() as folder:  # mujoco drops its log where it runs
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE],
                env={**os.environ, "MUJOCO_GL": backend},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no picture within {_PROBE_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1][:_ERROR_LENGTH] if lines else f"exit status {done.returncode}"
