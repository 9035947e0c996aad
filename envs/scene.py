"""Scenes compiled without MuJoCo's messages, and what may be wrong with a user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_MESSAGE_CHARACTERS = 600


class SceneError(ValueError):
    """A user's scene is not allowed or does not fit; the message is one printable line."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        line = "".join(c if c.isprintable() else "?" for c in line)
        if len(line) > _MESSAGE_CHARACTERS:
            line = line[: _MESSAGE_CHARACTERS - 3] + "..."
        super().__init__(line)


@dataclass(frozen=True, kw_only=True)
class SceneLimits:
    """How large a user's scene may be, and how long its compilation may take."""

    files: int = 64
    """Files that the scene reads, itself among them."""
    file_bytes: int = 8 * 2**20
    """Size of any of them."""
    total_bytes: int = 32 * 2**20
    """Size of all of them."""
    file_depth: int = 8
    """Files that include or attach one another in a chain."""
    elements: int = 20_000
    """XML elements in all files."""
    element_depth: int = 100
    """XML elements inside one another, in one model with all that it includes."""
    compile_cpu_s: int = 4
    """Processor time of the compilation and the first steps, s, where the system can limit it."""
    compile_wall_s: float = 30.0
    """Wall-clock time of the compilation, s, which a busy machine prolongs."""
    compile_bytes: int = 2**30
    """Memory that the compilation adds to its process, where the system can limit it."""
    model_bytes: int = 64 * 2**20
    """Size of the compiled model, meshes and textures included."""
    simulation_bytes: int = 16 * 2**20
    """Memory of one simulation, so that 400 take at most 6.4 GiB."""
    positions: int = 200
    """Coordinates of position, nq; of velocity, nv, likewise."""
    geoms: int = 1000
    """Geoms; bodies, joints, sites, sensors and actuators, each likewise."""
    iterations: int = 200
    """Iterations of any solver within a step."""
    picture_px: int = 4096
    """Sides of the off-screen picture and of the shadow map, pixels."""
    slices: int = 200
    """Slices and stacks of drawn spheres; sides of the grid of drawn planes, likewise."""
    samples: int = 16
    """Samples a pixel."""
    triangles: int = 1_000_000
    """Triangles drawn in a picture, once more for every light that casts shadows."""
    test_run_s: float = 20.0
    """Wall-clock time of two simulated episodes, s."""


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
