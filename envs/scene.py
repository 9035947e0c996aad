"""Scenes compiled without MuJoCo's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""


def compile_scene(path: Path) -> Any:
    """Compile a scene without MuJoCo's warning that the result may not save to XML.

    arm.xml says why it does not matter; MuJoCo would write it to MUJOCO_LOG.TXT in the working
    directory each time.
    """
    log = _mj.MjLogConfig.get()
    silence_mujoco()
    try:
        return _mj.MjModel.from_xml_path(str(path))
    finally:
        log.set()


def silence_mujoco() -> None:
    """Keep MuJoCo from writing to MUJOCO_LOG.TXT in the working directory and to the terminal.

    Nothing is lost: the environments count the warnings of every simulation themselves.
    """
    log = _mj.MjLogConfig.get()
    log.logto_file = log.logto_console = False
    log.set()
