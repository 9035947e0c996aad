"""Scenes: the package's own compiled, a user's loaded and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import mujoco
import numpy as np

from metarobot.envs.memory import simulation_bytes
from metarobot.envs.scene_files import SceneError, SceneFiles, SceneLimits

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

DEFAULT_LIMITS = SceneLimits()
_NOT_NEGATIVE = (
    *("body_mass", "body_inertia", "geom_friction", "pair_friction"),
    *("dof_frictionloss", "dof_damping", "dof_armature", "jnt_stiffness"),
    *("tendon_frictionloss", "tendon_damping", "tendon_stiffness"),
)


class SceneRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user's scene as a run records it; it is loaded only while its files are unchanged."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """The MJCF file, an absolute path."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of everything that the scene reads."""

    @classmethod
    def of(cls, path: Path | str) -> SceneRecord:
        """Read the files of a scene and record them; nothing is compiled.

        Raises:
            SceneError: The scene is not allowed.
        """
        with _errors_naming(path):
            sha256 = SceneFiles(Path(path), DEFAULT_LIMITS).sha256
        return cls(path=str(Path(path).absolute()), sha256=sha256)

    @classmethod
    def from_dict(cls, values: Any) -> SceneRecord:
        """Read a record from its two values.

        Raises:
            SceneError: They are no record.
        """
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            why = f"scene must be a table of path and sha256, or none: {error}"
            raise SceneError(why) from None

    def to_dict(self) -> dict[str, str]:
        """Return both values, as JSON can hold them."""
        return msgspec.structs.asdict(self)

    def moved_to(self, path: Path | str) -> SceneRecord:
        """Return the record of the same scene at another place.

        Raises:
            SceneError: Another scene is there.
        """
        there = SceneRecord.of(path)
        if there.sha256 != self.sha256:
            raise SceneError(
                f"{path} is another scene than that of the run: SHA-256 {there.sha256[:12]}..., "
                f"the run's is {self.sha256[:12]}..."
            )
        return there


def compile_scene(path: Path) -> Any:
    """Compile a scene of the package.

    MuJoCo warns that the result may not save to XML, in MUJOCO_LOG.TXT in the working directory;
    arm.xml says why it does not matter.
    """
    with quiet_mujoco():
        return _mj.MjModel.from_xml_path(str(path))


def silence_mujoco() -> None:
    """Keep MuJoCo from writing to MUJOCO_LOG.TXT in the working directory and to the terminal.

    Nothing is lost: the environments count the warnings of every simulation themselves.
    """
    log = _mj.MjLogConfig.get()
    log.logto_file = log.logto_console = False
    log.set()


@contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Silence MuJoCo for a while; as `silence_mujoco`."""
    log = _mj.MjLogConfig.get()
    silence_mujoco()
    try:
        yield
    finally:
        log.set()


def load_user_scene(
    path: Path | str, limits: SceneLimits = DEFAULT_LIMITS, sha256: str | None = None
) -> Any:
    """Load a user's scene without trusting it.

    Args:
        path: The scene, an MJCF file.  It may use the files in its folder and, by their bare
            names, the package's own (``arm.xml``, ``gripper.xml``, ...); nothing else.
        limits: Its bounds.
        sha256: The hash that its files must have (`SceneRecord`); any when None.

    Returns:
        The compiled model.  A copy of a shipped scene gives the shipped model, bit for bit.

    Raises:
        SceneError: The scene is not allowed, cannot be compiled, or is too large; the message is
            one line that begins with the path.
    """
    with _errors_naming(path):
        files = SceneFiles(Path(path), limits)
        if sha256 not in (None, files.sha256):
            raise SceneError(
                "the scene has changed since the run recorded it: SHA-256 "
                f"{files.sha256[:12]}..., recorded {sha256[:12]}...; bring it back, or name a copy "
                "with --scene"
            )
        model = compile_files(files)
        _check_numbers(model)
        _check_sizes(model, limits)
    return model


def compile_files(files: SceneFiles) -> Any:
    """Compile a user's scene from the bytes that were read; MuJoCo opens no file.

    Raises:
        SceneError: MuJoCo refuses it; the lines are those of the user's files.
    """
    *_, scene = files.contents.values()
    try:
        with quiet_mujoco():
            return _mj.MjModel.from_xml_string(scene.decode(), files.contents)
    except (ValueError, MemoryError, RuntimeError, _mj.FatalError) as error:
        raise SceneError(f"MuJoCo refuses it: {files.translate(str(error))}") from None


def float_arrays(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the values of each field of a model that holds real numbers."""
    for field in dir(model):
        values = None if field.startswith("_") else getattr(model, field)
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            yield field, values


@contextmanager
def _errors_naming(path: Path | str) -> Iterator[None]:
    """Let an error begin with the scene's path."""
    try:
        yield
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from None


def _check_numbers(model: Any) -> None:
    """Refuse numbers without physical meaning that MuJoCo compiles."""
    for field, values in float_arrays(model):
        if not np.isfinite(values).all():
            raise SceneError(f"the compiled {field} has numbers that are not finite")
        if field in _NOT_NEGATIVE and (values < 0).any():
            raise SceneError(f"the compiled {field} is negative: {values.min():g}")


def _check_sizes(model: Any, limits: SceneLimits) -> None:
    """Refuse a model whose simulations would be too large or too slow, or take long to draw.

    Nothing is drawn: there may be no OpenGL.
    """
    counts = (
        "nbody ngeom njnt nsite nu na nsensordata ntendon neq nkey "
        "nlight ncam nmat ntex npair nuserdata nhistory"
    )
    solvers = "iterations ls_iterations noslip_iterations ccd_iterations sdf_iterations"
    picture, quality = model.vis.global_, model.vis.quality
    for holder, kind, names, least, most in (
        (model, "", "nq nv", 0, limits.positions),
        (model, "", counts, 0, limits.geoms),
        (model.opt, "option ", f"{solvers} sdf_initpoints", 0, limits.iterations),
        (picture, "visual global ", "offwidth", 640, limits.picture_px),
        (picture, "visual global ", "offheight", 480, limits.picture_px),
        (quality, "visual quality ", "shadowsize", 0, limits.picture_px),
        (quality, "visual quality ", "offsamples", 0, limits.samples),
        (quality, "visual quality ", "numslices", 3, limits.slices),
        (quality, "visual quality ", "numstacks", 2, limits.slices),
        (quality, "visual quality ", "numquads", 1, limits.slices),
    ):
        for name in names.split():
            _check_range(kind + name, getattr(holder, name), most, least)
    _check_range("number of drawn triangles", _drawn_triangles(model), limits.triangles)
    _check_range("size memory in bytes", model.narena, limits.simulation_bytes)
    taken = simulation_bytes(model)
    _check_range("memory of a simulation in bytes", taken, limits.simulation_bytes)
    _check_range("size of the model in bytes", _mj.mj_sizeModel(model), limits.model_bytes)


def _check_range(name: str, value: int, most: int, least: int = 0) -> None:
    if not least <= value <= most:
        raise SceneError(f"{name} is {value}, allowed: {least} to {most}")


def _drawn_triangles(model: Any) -> int:
    """Return an upper limit of the triangles in a picture, shadows included."""
    quality, kinds = model.vis.quality, _mj.mjtGeom
    round_shape = 2 * quality.numslices * (quality.numstacks + 2)
    drawn = {
        kinds.mjGEOM_MESH.value: model.mesh_facenum,
        kinds.mjGEOM_SDF.value: model.mesh_facenum,
        kinds.mjGEOM_HFIELD.value: 2 * model.hfield_nrow * model.hfield_ncol,
    }
    triangles = (model.nsite + model.nwrap + model.ntendon) * round_shape
    for kind, data in zip(model.geom_type, model.geom_dataid, strict=True):
        shape = drawn.get(int(kind))
        triangles += round_shape if shape is None or data < 0 else int(shape[data])
    planes = int((model.geom_type == kinds.mjGEOM_PLANE.value).sum())
    triangles += 2 * quality.numquads**2 * planes
    return triangles * (1 + int(model.light_castshadow.sum()))
