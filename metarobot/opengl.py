"""MuJoCo's two habits that have to be broken before it is used: its display and its log file."""

from __future__ import annotations

import importlib
import os

import mujoco

from metarobot.doctor import require_opengl, working_gl_backend


def prepare_opengl() -> None:
    """Let MuJoCo render without a display.

    MuJoCo reads MUJOCO_GL when it is imported, which ``import metarobot`` has done already: so the
    module that reads it is loaded anew.

    Raises:
        OpenGLError: Nothing on this machine can render; the message names what to install.
    """
    require_opengl()
    backend = working_gl_backend()
    if backend is not None:
        os.environ["MUJOCO_GL"] = backend
        importlib.reload(importlib.import_module("mujoco.rendering.classic.gl_context"))


def silence_mujoco() -> None:
    """Keep MuJoCo from writing to MUJOCO_LOG.TXT in the working directory and to the terminal.

    Nothing is lost: the environments count the warnings of every simulation themselves.
    """
    log = mujoco.MjLogConfig.get()  # pyright: ignore[reportAttributeAccessIssue]
    log.logto_file = log.logto_console = False
    log.set()
