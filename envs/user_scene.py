"""Loads a scene that a user wrote: an MJCF file with what it needs in its own folder.

A scene may come from anywhere, so it is not trusted.  Its files are checked and gathered before
MuJoCo sees them (``scene_files.py``), compiled by another process whose time and memory are
limited (``scene_compiler.py``), and the compiled model is measured before it is used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from metarobot.envs.memory import simulation_bytes
from metarobot.envs.scene import SceneError, SceneLimits, silence_mujoco
from metarobot.envs.scene_files import SCENE_FILE, SceneFiles

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

DEFAULT_LIMITS = SceneLimits()
_COMPILED_FILE, _ERROR_FILE = "scene.mjb", "error.txt"
_PLANE = _mj.mjtGeom.mjGEOM_PLANE.value
_MESHES = (_mj.mjtGeom.mjGEOM_MESH, _mj.mjtGeom.mjGEOM_SDF)
_SHORTEST_PICTURE_PX = {"offwidth": 640, "offheight": 480}
_NOT_NEGATIVE = (
    *("body_mass", "body_inertia", "geom_friction", "pair_friction"),
    *("dof_frictionloss", "dof_damping", "dof_armature", "jnt_stiffness"),
    *("tendon_frictionloss", "tendon_damping", "tendon_stiffness"),
)


def load_user_scene(
    path: Path | str, limits: SceneLimits = DEFAULT_LIMITS, sha256: str | None = None
) -> Any:
    """Load a user's scene without trusting it.

    Args:
        path: The scene, an MJCF file.  It may use the files in its folder and, by their bare
            names, the package's own (``arm.xml``, ``gripper.xml``, ...); nothing else.
        limits: How large it may be, and how long its compilation may take.
        sha256: What the hash of its files must be (`SceneRecord`); any when None.

    Returns:
        The compiled model.  A copy of a shipped scene gives the shipped model, bit for bit.

    Raises:
        SceneError: The scene is not allowed, cannot be compiled, or is too large; the message is
            one line that begins with the path.
    """
    path = Path(path)
    try:
        files = SceneFiles(path, limits)
        if sha256 not in (None, files.sha256):
            raise SceneError(
                "the scene has changed since the run recorded it: SHA-256 "
                f"{files.sha256[:12]}..., recorded {sha256[:12]}...; bring it back, or name a copy "
                "with --scene"
            )
        with tempfile.TemporaryDirectory(prefix="metarobot-scene-") as folder:
            _write_files(Path(folder), files.contents)
            _compile(Path(folder), files, limits)
            model = _load_compiled(Path(folder) / _COMPILED_FILE, limits)
        _check_numbers(model)
        _check_sizes(model, limits)
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from None
    return model


def _write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _compile(folder: Path, files: SceneFiles, limits: SceneLimits) -> None:
    """Have the scene in ``folder`` compiled by another process; its model is left there."""
    order = {
        "scene": SCENE_FILE,
        "compiled": _COMPILED_FILE,
        "error": _ERROR_FILE,
        "cpu_s": limits.compile_cpu_s,
        "memory_bytes": limits.compile_bytes,
        "model_bytes": limits.model_bytes,
    }
    script = Path(__file__).with_name("scene_compiler.py")
    try:
        # -P: the script's folder, this one, is no place to import from.
        process = subprocess.run(
            [sys.executable, "-P", str(script), json.dumps(order)],
            cwd=folder,
            env=_compiler_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=limits.compile_wall_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SceneError(f"it takes more than {limits.compile_wall_s:g} s to compile") from None
    if (folder / _ERROR_FILE).exists():
        complaint = (folder / _ERROR_FILE).read_text("utf-8", errors="replace")
        raise SceneError(f"MuJoCo refuses it: {files.translate(complaint)}")
    if process.returncode:
        raise SceneError(_why_it_ended(process.returncode, limits))


def _compiler_environment() -> dict[str, str]:
    """Return the environment of the other process: the same imports, one thread, no OpenGL."""
    imports = [os.path.abspath(entry) for entry in sys.path if entry]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = {"PYTHONPATH": os.pathsep.join(imports)}
    return {**os.environ, **threads, **paths, "MUJOCO_GL": "disable"}


def _why_it_ended(returncode: int, limits: SceneLimits) -> str:
    if -returncode == getattr(signal, "SIGXCPU", None):
        return f"it takes more than {limits.compile_cpu_s} s of processor time to compile and start"
    return (
        f"MuJoCo ended with code {returncode} while it compiled it, "
        f"perhaps for more memory than {limits.compile_bytes / 2**20:.0f} MiB"
    )


def _load_compiled(file: Path, limits: SceneLimits) -> Any:
    """Load what the other process left: a binary model of this version of MuJoCo."""
    if not file.is_file() or file.is_symlink() or file.stat().st_size > limits.model_bytes + 2**20:
        raise SceneError("its compilation left no model of an allowed size")
    log = _mj.MjLogConfig.get()
    silence_mujoco()
    try:
        return _mj.MjModel.from_binary_path(str(file))
    except (ValueError, RuntimeError, _mj.FatalError) as error:
        raise SceneError(f"its compiled model cannot be read: {error}") from None
    finally:
        log.set()


def _check_numbers(model: Any) -> None:
    """Refuse numbers with which physics makes no sense, though MuJoCo compiles them."""
    for field in [name for name in dir(model) if not name.startswith("_")]:
        values = getattr(model, field)
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            continue
        if not np.isfinite(values).all():
            raise SceneError(f"the compiled {field} has numbers that are not finite")
        if field in _NOT_NEGATIVE and (values < 0).any():
            raise SceneError(f"the compiled {field} is negative: {values.min():g}")


def _check_sizes(model: Any, limits: SceneLimits) -> None:
    """Refuse a model whose simulations would be too large or too slow."""
    counts = {
        **dict.fromkeys(("nq", "nv"), limits.positions),
        **dict.fromkeys(("nbody", "ngeom", "njnt", "nsite"), limits.geoms),
        **dict.fromkeys(("nu", "na", "nsensordata", "ntendon", "neq", "nkey"), limits.geoms),
        **dict.fromkeys(("nlight", "ncam", "nmat", "ntex", "npair"), limits.geoms),
        **dict.fromkeys(("nuserdata", "nhistory"), limits.geoms),
    }
    for name, most in counts.items():
        _check_range(name, getattr(model, name), 0, most)
    for name in ("iterations", "ls_iterations", "noslip_iterations", "ccd_iterations"):
        _check_range(f"option {name}", getattr(model.opt, name), 0, limits.iterations)
    for name in ("sdf_iterations", "sdf_initpoints"):
        _check_range(f"option {name}", getattr(model.opt, name), 0, limits.iterations)
    for name, least in _SHORTEST_PICTURE_PX.items():
        size = getattr(model.vis.global_, name)
        _check_range(f"visual global {name}", size, least, limits.picture_px)
    _check_drawing(model, limits)
    _check_range("size memory in bytes", model.narena, 0, limits.simulation_bytes)
    taken = simulation_bytes(model)
    _check_range("memory of a simulation in bytes", taken, 0, limits.simulation_bytes)


def _check_drawing(model: Any, limits: SceneLimits) -> None:
    """Refuse a model that takes too long to draw, without drawing it: there may be no OpenGL."""
    quality = model.vis.quality
    bounds = {
        "shadowsize": (0, limits.picture_px),
        "offsamples": (0, limits.samples),
        "numslices": (3, limits.slices),
        "numstacks": (2, limits.slices),
        "numquads": (1, limits.slices),
    }
    for name, (least, most) in bounds.items():
        _check_range(f"visual quality {name}", getattr(quality, name), least, most)
    round_shape = 2 * quality.numslices * (quality.numstacks + 2)
    meshes = {kind.value: model.mesh_facenum for kind in _MESHES}
    grids = {_mj.mjtGeom.mjGEOM_HFIELD.value: 2 * model.hfield_nrow * model.hfield_ncol}
    drawn = {**meshes, **grids}
    triangles = (model.nsite + model.nwrap + model.ntendon) * round_shape
    for kind, data in zip(model.geom_type, model.geom_dataid, strict=True):
        shape = drawn.get(int(kind))
        triangles += round_shape if shape is None or data < 0 else int(shape[data])
    triangles += 2 * quality.numquads**2 * int((model.geom_type == _PLANE).sum())
    pictures = 1 + int(model.light_castshadow.sum())
    _check_range("number of drawn triangles", triangles * pictures, 0, limits.triangles)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SceneError(f"{name} is {value}, allowed: {least} to {most}")
