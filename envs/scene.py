"""Scenes: compiles the package's own, and reads and checks the untrusted scenes of users.

A user's scene may come from anywhere, and MuJoCo follows any path, expands any replication and
accepts any number.  So its files are read here, from the scene's own folder, within limits, and
MuJoCo gets the bytes: it finds a file that it was given by the file's bare name, and opens none.
A family has no list of required elements.  Elements with the same name in both scenes must be of
the same kind; then the family is run in the user's scene, and fails at the first missing element.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import msgspec
import numpy as np

from metarobot.envs.checks import nearest_name, simulation_bytes
from metarobot.envs.renderer import VIDEO_CAMERA
from metarobot.envs.tasks import Tasks
from metarobot.io import FolderError, read_file
from metarobot.machine import import_mujoco, silence_mujoco

if TYPE_CHECKING:
    from metarobot.envs.vector_env import TaskVectorEnv

_mj = import_mujoco()

PACKAGE_FOLDER = Path(__file__).resolve().parent
"""Where the package's own scenes are."""

_LONGEST_MESSAGE = 600
_FORBIDDEN_TAGS = (
    *("extension", "plugin", "flexcomp", "flex", "deformable", "composite", "skin"),
    "lengthrange",  # it simulates for as long as it says, during the compilation
)
_PLAIN_NAME = re.compile(r"(?!\.)[\w .+()-]{1,200}")
_AMOUNTS = re.compile(
    "nrow|ncol|width|height|nchannel|params|nsample|actdim|dim|num|resolution|nuser.*"
)
"""Attributes that multiply to the number of values of an element."""
_VALUES_OF_AN_ELEMENT = 2**14

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PICTURE_BYTES = 2**26

_NOT_NEGATIVE = (
    *("body_mass", "body_inertia", "geom_friction", "pair_friction"),
    *("dof_frictionloss", "dof_damping", "dof_armature", "jnt_stiffness"),
    *("tendon_frictionloss", "tendon_damping", "tendon_stiffness"),
)
_COUNTS = (
    *("nbody", "ngeom", "njnt", "nsite", "nu", "na", "nsensordata", "ntendon", "neq", "nkey"),
    *("nlight", "ncam", "nmat", "ntex", "npair", "nuserdata", "nhistory"),
)
_ITERATIONS = (
    *("iterations", "ls_iterations", "noslip_iterations", "ccd_iterations"),
    *("sdf_iterations", "sdf_initpoints"),
)
_SAME_OPTIONS = ("timestep", "gravity", "disableflags", "enableflags", "disableactuator")
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "body": ("nbody", ()),
    "joint": ("njnt", ("jnt_type",)),
    "geom": ("ngeom", ()),
    "site": ("nsite", ()),
    "camera": ("ncam", ()),
    "tendon": ("ntendon", ()),
    "actuator": (
        "nactuator",
        (
            *("actuator_trntype", "actuator_dyntype", "actuator_gaintype"),
            *("actuator_biastype", "actuator_actnum", "actuator_ctrlnum"),
        ),
    ),
    "sensor": ("nsensor", ("sensor_type", "sensor_dim", "sensor_objtype", "sensor_reftype")),
    "key": ("nkey", ()),
}
"""Kinds of elements: the field with their number, and fields that must agree for equal names."""
_FULL_WARNINGS = [
    _mj.mjtWarning.mjWARN_CONTACTFULL.value,
    _mj.mjtWarning.mjWARN_CNSTRFULL.value,
]
"""Contacts were left out for lack of memory."""
_TEST_ENVS = 2


class SceneError(ValueError):
    """A user's scene is not allowed or does not fit; the message is one printable line."""

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
        super().__init__(
            line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 3] + "..."
        )


@dataclass(frozen=True, kw_only=True)
class SceneLimits:
    """Bounds of a user's scene."""

    files: int = 64
    """Files that the scene reads, itself among them."""
    total_bytes: int = 32 * 2**20
    """Size of all of them."""
    elements: int = 5_000
    """XML elements, those that `replicate` and `attach` make included; 16,384 texels, heights or
    samples count as one."""
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
    test_run_s: float = 20.0
    """Wall-clock time of two simulated episodes, s."""


DEFAULT_LIMITS = SceneLimits()


class SceneRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user's scene as a run records it; it is loaded only while its files are unchanged."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """The MJCF file, an absolute path."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of everything that the scene reads."""

    @classmethod
    def of(cls, path: Path | str) -> SceneRecord:
        """Read the files of a scene and record them; SceneError if one is not allowed."""
        with _errors_naming(path):
            sha256 = SceneFiles(Path(path), DEFAULT_LIMITS).sha256
        return cls(path=str(Path(path).absolute()), sha256=sha256)

    @classmethod
    def from_dict(cls, values: Any) -> SceneRecord:
        """Read a record from its two values; SceneError if they are not valid."""
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            why = f"scene must be a table of path and sha256, or none: {error}"
            raise SceneError(why) from None

    def to_dict(self) -> dict[str, str]:
        """Return both values, as JSON can hold them."""
        return msgspec.structs.asdict(self)

    def moved_to(self, path: Path | str) -> SceneRecord:
        """Return the record of the same scene at another place; SceneError if another is there."""
        there = SceneRecord.of(path)
        if there.sha256 != self.sha256:
            raise SceneError(
                f"{path} is another scene than that of the run: SHA-256 {there.sha256[:12]}..., "
                f"the run's is {self.sha256[:12]}..."
            )
        return there


@contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Silence MuJoCo for a while; as `silence_mujoco`."""
    log = _mj.MjLogConfig.get()
    silence_mujoco()
    try:
        yield
    finally:
        log.set()


def compile_scene(path: Path) -> Any:
    """Compile a scene of the package."""
    with quiet_mujoco():  # it warns that it may not save to XML: arm.xml says why
        return _mj.MjModel.from_xml_path(str(path))


def load_user_scene(
    path: Path | str, limits: SceneLimits = DEFAULT_LIMITS, sha256: str | None = None
) -> Any:
    """Load a user's scene as untrusted input.

    Args:
        path: The scene, an MJCF file.  It may use the files in its folder and, by their bare
            names, the package's own (``arm.xml``, ``gripper.xml``, ...); nothing else.
        limits: Its bounds.
        sha256: The hash that its files must have (`SceneRecord`); any when None.

    Returns:
        The compiled model.  A copy of a shipped scene gives the shipped model, bit for bit.

    Raises:
        SceneError: The scene is not allowed, cannot be compiled, or is too large.
    """
    with _errors_naming(path):
        files = SceneFiles(Path(path), limits)
        if sha256 not in (None, files.sha256):
            raise SceneError(
                "the scene has changed since the run recorded it: SHA-256 "
                f"{files.sha256[:12]}..., recorded {sha256[:12]}...; bring it back, or name a copy "
                "with --scene"
            )
        model = files.compile()
        _check_model(model, limits)
    return model


def load_family_scene(
    family: type[TaskVectorEnv], scene: Path | str, sha256: str | None = None
) -> Any:
    """Load a user's scene, as `load_user_scene`, and check that the family can use it.

    Raises:
        SceneError: The scene is not allowed, something that the family needs is missing or of
            another kind, a task would not act as it should, or the simulation is unstable or slow.
    """
    model = load_user_scene(scene, sha256=sha256)
    with _errors_naming(scene):
        shipped = family.compile_own_scene()
        _compare_with_own(family, model, shipped)
        try:
            with np.errstate(all="ignore"):
                _test_run(family, model, shipped)
        except SceneError:
            raise
        except Exception as error:
            raise SceneError(_explain(error, family.family, model, shipped)) from error
    return model


@lru_cache(maxsize=4)
def load_recorded_scene(family: type[TaskVectorEnv], record: SceneRecord) -> Any:
    """Load the scene of a run, once in a process: its hash says that it is always the same."""
    return load_family_scene(family, record.path, record.sha256)


@contextmanager
def _errors_naming(path: Path | str) -> Iterator[None]:
    """Let an error begin with the scene's path."""
    try:
        yield
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from None


class SceneFiles:
    """The files of a scene by their bare names, the scene itself first.

    A file is looked for beside the file that names it, beside the model, and in the model's
    ``meshdir`` or ``texturedir``; then, a model or an included file, in the package.  SceneError if
    a path leaves the scene's folder, a limit is exceeded, or an element is not allowed.
    """

    def __init__(self, scene: Path, limits: SceneLimits) -> None:
        if scene.suffix.lower() != ".xml":
            raise SceneError("a scene is an .xml file")
        self._limits = limits
        self._folder = scene.parent.resolve()
        self._places: dict[str, Path] = {}
        self._reads = self._bytes = 0
        self.contents: dict[str, bytes] = {}
        try:
            self._read_model(self._folder / scene.name, ())
        except RecursionError:
            raise SceneError("its elements nest too deep") from None

    @property
    def sha256(self) -> str:
        """Hash of all names and contents: equal for a copy of the scene in another folder."""
        digest = hashlib.sha256()
        for name, data in sorted(self.contents.items()):
            digest.update(f"{len(name)} {name} {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()

    def compile(self) -> Any:
        """Compile the scene from the bytes that were read; SceneError if MuJoCo refuses it."""
        scene = next(iter(self.contents.values()))
        try:
            with quiet_mujoco():
                return _mj.MjModel.from_xml_string(scene.decode(), self.contents)
        except (ValueError, MemoryError, RuntimeError, _mj.FatalError) as error:
            raise SceneError(f"MuJoCo refuses it: {error}") from None

    def _read_model(self, path: Path, chain: tuple[Path, ...]) -> int:
        """Read a model that a chain of files attaches, with all that it includes and loads.

        Returns:
            Its elements, those that replicate and attach make included.
        """
        chain = (*chain, path)
        root = self._read_xml(path, path, chain)
        folders = [path.parent]
        for compiler in root.iter("compiler"):
            for attribute in {"assetdir", "meshdir", "texturedir"} & {*compiler.attrib}:
                folders.append(path.parent / _plain_path(path, compiler.get(attribute, "")))
        attached = 0
        for element in root.iter():
            for attribute, given in element.attrib.items():
                if not attribute.startswith("file"):
                    continue
                if element.tag == "model":
                    attached = max(attached, self._read_model(Path(given), chain))
                elif element.tag in ("mesh", "hfield", "texture"):
                    self._read(self._find(path, given, reversed(folders)))
                else:
                    raise SceneError(f"{path.name}: element {element.tag!r} may not read a file")
        size = _expanded_size(path, root, attached)
        if size > self._limits.elements:
            raise SceneError(f"the scene has more than {self._limits.elements} elements")
        return size

    def _read_xml(self, path: Path, model: Path, chain: tuple[Path, ...]) -> Element:
        """Return the root element of a file of a model, with its includes expanded."""
        try:
            text = self._read(path).decode()
            if "<!DOCTYPE" in text:  # the only place to define entities
                raise SceneError(f"{path.name}: a document type (DOCTYPE) is not allowed")
            if text.count("<") > 4 * self._limits.elements:
                raise SceneError(f"the scene has more than {self._limits.elements} elements")
            root = ElementTree.fromstring(text)
        except (UnicodeDecodeError, ElementTree.ParseError) as error:
            raise SceneError(f"{path.name} is not well-formed XML in UTF-8: {error}") from None
        if root.tag != "mujoco":  # MuJoCo would read others, which name files in other ways
            raise SceneError(f"{path.name}: the root element is {root.tag!r}, need 'mujoco'")
        self._include(root, path, model, chain)
        return root

    def _include(self, element: Element, path: Path, model: Path, chain: tuple[Path, ...]) -> None:
        """Expand the includes of an element of a file; `chain` leads to the file."""
        children: list[Element] = []
        for child in element:
            if child.tag in _FORBIDDEN_TAGS or "{" in child.tag:  # a name space hides a tag
                raise SceneError(f"{path.name}: element {child.tag!r} is not allowed")
            if child.tag not in ("include", "model"):
                self._include(child, path, model, chain)
                children.append(child)
                continue
            folders = (path.parent, model.parent, PACKAGE_FOLDER)
            found = self._find(path, child.get("file", ""), folders)
            if found in chain:
                raise SceneError(f"{found.name} includes or attaches itself")
            if child.tag == "include":
                children += self._read_xml(found, model, (*chain, found))
            else:
                child.set("file", str(found))
                children.append(child)
        element[:] = children

    def _find(self, file: Path, given: str, folders: Iterable[Path]) -> Path:
        """Find the file of this name, which another file gives, in one of these folders."""
        name = _plain_path(file, given)
        for folder in folders:
            if os.path.lexists(folder / name):
                return folder / name
        ours = ", ".join(sorted(path.name for path in PACKAGE_FOLDER.glob("*.xml")))
        raise SceneError(
            f"{file.name}: no file {given!r} in the scene's folder; the package has {ours}"
        )

    def _read(self, path: Path) -> bytes:
        """Read a regular file in the scene's folder or the package's, wherever links lead to it."""
        self._reads += 1
        if self._reads > self._limits.files:
            raise SceneError(f"the scene reads more than {self._limits.files} files")
        place = path
        try:
            place = path.resolve(strict=True)
            if not any(place.is_relative_to(root) for root in (self._folder, PACKAGE_FOLDER)):
                raise SceneError(f"{path.name} is a link that leaves the scene's folder")
            data = read_file(place, self._limits.total_bytes - self._bytes)
        except FolderError as error:
            raise SceneError(str(error).replace(str(place), path.name)) from None
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            reason = getattr(error, "strerror", None) or "links lead in a circle"
            raise SceneError(f"cannot read {path.name}: {reason}") from None
        self._bytes += len(data)
        if self._places.setdefault(path.name.lower(), place) != place:
            raise SceneError(f"two files are called {path.name}: rename one of them")
        _require_small_picture(path, data)
        self.contents[path.name] = data
        return data


def _require_small_picture(file: Path, data: bytes) -> None:
    """Refuse a PNG that unpacks to more than it says, or to more than 64 MiB: a few kB may."""
    if not data.startswith(_PNG):
        return
    width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    most = min(8 * (width + 1) * height, _MOST_PICTURE_BYTES)  # 16 bits in each of 4 channels
    packed, start = b"", len(_PNG)
    while start + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        packed += data[start + 8 : start + 8 + length] if kind == b"IDAT" else b""
        start += 12 + length
    try:
        unpacked = len(zlib.decompressobj().decompress(packed, most + 1))
    except zlib.error as error:
        raise SceneError(f"{file.name}: a picture cannot be unpacked: {error}") from None
    if unpacked > most or 4 * width * height > _MOST_PICTURE_BYTES:
        raise SceneError(f"{file.name}: a picture unpacks to more than {most} bytes")


def _plain_path(file: Path, given: str) -> Path:
    """Return a relative path of plain names only."""
    parts = [part for part in given.strip().rstrip("/").split("/") if part != "."]
    if given.startswith("/") or not parts or not all(map(_PLAIN_NAME.fullmatch, parts)):
        raise SceneError(
            f"{file.name}: path {given[:100]!r} is not allowed: it must lead from the scene's "
            "folder into it, by plain names and forward slashes"
        )
    return Path(*parts)


def _expanded_size(file: Path, element: Element, attached: int) -> int:
    """Return the expanded number of elements; each ``attach`` adds at most ``attached``."""
    amount = 1.0
    try:
        for name, text in element.attrib.items():
            if _AMOUNTS.fullmatch(name):
                amount *= math.prod(abs(float(number)) for number in text.split())
        size = 1 + int(min(amount, 1e18)) // _VALUES_OF_AN_ELEMENT
        count = int(element.get("count", "1")[:20]) if element.tag == "replicate" else 1
    except ValueError as error:
        raise SceneError(f"{file.name}: {element.tag}: {error}") from None
    size += sum(_expanded_size(file, child, attached) for child in element)
    return max(1, count) * (size + (attached if element.tag == "attach" else 0))


def _float_arrays(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the values of each field of a model that holds real numbers."""
    for field in dir(model):
        values = None if field.startswith("_") else getattr(model, field)
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            yield field, values


def _check_model(model: Any, limits: SceneLimits) -> None:
    """Refuse numbers without physical meaning, and models that are too large or too slow.

    Nothing is drawn: there may be no OpenGL.
    """
    for field, values in _float_arrays(model):
        if not np.isfinite(values).all():
            raise SceneError(f"the compiled {field} has numbers that are not finite")
        if field in _NOT_NEGATIVE and (values < 0).any():
            raise SceneError(f"the compiled {field} is negative: {values.min():g}")
    picture = model.vis.global_
    bounds = [(name, getattr(model, name), 0, limits.positions) for name in ("nq", "nv")]
    bounds += [(name, getattr(model, name), 0, limits.geoms) for name in _COUNTS]
    bounds += [
        (f"option {name}", getattr(model.opt, name), 0, limits.iterations) for name in _ITERATIONS
    ]
    bounds += [
        ("visual global offwidth", picture.offwidth, 640, limits.picture_px),
        ("visual global offheight", picture.offheight, 480, limits.picture_px),
        ("visual quality shadowsize", model.vis.quality.shadowsize, 0, limits.picture_px),
        ("size memory in bytes", model.narena, 0, limits.simulation_bytes),
        ("size of the model in bytes", _mj.mj_sizeModel(model), 0, limits.model_bytes),
    ]
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise SceneError(f"{name} is {value}, allowed: {least} to {most}")
    if (taken := simulation_bytes(model)) > limits.simulation_bytes:
        most = limits.simulation_bytes
        raise SceneError(f"memory of a simulation in bytes is {taken}, allowed: 0 to {most}")


def _names(model: Any, kind: str) -> list[str]:
    """Return the names of a kind's elements in their order, empty for those without."""
    access = getattr(model, kind)
    return [access(index).name for index in range(getattr(model, _KINDS[kind][0]))]


def _compare_with_own(family: type[TaskVectorEnv], model: Any, shipped: Any) -> None:
    """Refuse other options, and elements of other kinds, than in the family's own scene."""
    for name in _SAME_OPTIONS:
        given, needed = getattr(model.opt, name), getattr(shipped.opt, name)
        if not np.array_equal(given, needed):
            raise SceneError(
                f"option {name} is {given}, {family.family} needs {needed}: keep the <option> and "
                "its <flag> of the family's own scene"
            )
    for kind, (_, fields) in _KINDS.items():
        given, needed = _names(model, kind), _names(shipped, kind)
        if kind in family.elements_by_number and given != needed:
            raise SceneError(
                f"{family.family} needs exactly these {kind}s in this order: {', '.join(needed)}; "
                f"got {', '.join(given) or 'none'}"
            )
        for name in (name for name in needed if name and name in given):
            for field in fields:
                has = getattr(model, field)[given.index(name)]
                needs = getattr(shipped, field)[needed.index(name)]
                if has != needs:
                    raise SceneError(
                        f"{kind} {name!r} is of another kind than in {family.family}'s own scene: "
                        f"{field} is {has}, not {needs}"
                    )


def _explain(error: Exception, family: str, model: Any, shipped: Any) -> str:
    """Return why a family cannot run in a scene: mostly a name that is missing."""
    match = re.search(r"Invalid name '(.*?)'", str(error))
    if match is not None:
        for kind in _KINDS:
            there = _names(model, kind)
            if match[1] in _names(shipped, kind) and match[1] not in there:
                near = nearest_name(match[1], there)
                listed = ", ".join(filter(None, there)) or "none"
                return f"{family} needs the {kind} {match[1]!r}; there is {listed}{near}"
    return f"{family} cannot run in it: {type(error).__name__}: {error}"


def _test_run(family: type[TaskVectorEnv], model: Any, shipped: Any) -> None:
    """Let the family use the scene as it would in training; refuse one that is unstable or slow."""

    class TestRun(family):
        def _load_model(self, scene_path: Any) -> Any:
            return model

    env = TestRun(_TEST_ENVS, num_threads=1)
    model.camera(VIDEO_CAMERA)
    _check_tasks(env, shipped)
    env.set_tasks(env.distribution.nominal())
    start = np.full((_TEST_ENVS, env.start_size), 0.5)
    observations, _ = env.reset(options={"start": start})
    begun_s = time.monotonic()
    for step in range(1, env.horizon + 1):
        observations, rewards, _, _, info = env.step(np.zeros(env.action_space.shape or ()))
        if info["sim_unstable"].any():
            raise SceneError(f"the nominal simulation is unstable in control step {step}")
        if not (np.isfinite(rewards).all() and np.isfinite(observations).all()):
            raise SceneError(f"the nominal simulation has no finite reward in control step {step}")
        if env.batch.warning[:, _FULL_WARNINGS, 1].any():
            raise SceneError("its memory is too small for its contacts: raise <size memory>")
        if time.monotonic() - begun_s > DEFAULT_LIMITS.test_run_s:
            raise SceneError(f"{step} control steps take more than {DEFAULT_LIMITS.test_run_s:g} s")
    env._paint(0, copy.copy(model))
    env.close()


def _check_tasks(env: TaskVectorEnv, shipped: Any) -> None:
    """Refuse a scene in which a task parameter would not have its declared effect."""
    low, high = copy.copy(env.model), copy.copy(env.model)
    for end, model in enumerate((low, high)):
        env.set_tasks(Tasks({p.name: [p.train[end]] for p in env.distribution.parameters}))
        env.batch.get_model(0, model)
        for field, values in _float_arrays(model):
            if not np.isfinite(values).all():
                raise SceneError(f"tasks make {field} infinite: the scaled values must not be 0")
    rubbed = (low.geom_friction != high.geom_friction).any(axis=1)
    for geom in np.flatnonzero(rubbed):
        _check_friction(low, int(geom), rubbed, shipped)
    for body in np.flatnonzero((low.body_mass != high.body_mass) & (low.body_gravcomp != 0)):
        raise SceneError(
            f"body {low.body(body).name!r} has gravcomp, but its mass is the task's: "
            "it must be felt"
        )


def _check_friction(model: Any, geom: int, rubbed: np.ndarray, shipped: Any) -> None:
    """Refuse contacts of a geom with the task's friction if another friction would count.

    ``rubbed`` is the mask of geoms with the task's friction, (ngeom,).  A partner with a higher
    priority in the family's own scene may have it here too.
    """
    name, priority = model.geom(geom).name, model.geom_priority
    if model.geom_condim[geom] == 1:
        raise SceneError(f"geom {name!r} has condim 1: its contacts would have no friction")
    if geom in model.pair_geom1 or geom in model.pair_geom2:
        raise SceneError(f"geom {name!r} is in a contact pair: its friction would count")
    touch = model.geom_contype & model.geom_conaffinity[geom]
    touch |= model.geom_conaffinity & model.geom_contype[geom]
    rigid = model.body_weldid[model.geom_bodyid]
    partners = np.flatnonzero((touch != 0) & (rigid != rigid[geom]))
    if not partners.size:
        raise SceneError(f"geom {name!r} can touch nothing: see contype and conaffinity")
    own = dict(zip(_names(shipped, "geom"), shipped.geom_priority, strict=True))
    for other in partners:
        partner = model.geom(other).name
        meant = partner and own.get(partner, 0) > own.get(name, math.inf)
        if not (rubbed[other] or meant) and priority[other] >= priority[geom]:
            raise SceneError(
                f"geom {name!r} has priority {priority[geom]} and may touch geom {partner!r} of "
                f"priority {priority[other]}: its own must be higher, or the task's friction would "
                "not count"
            )
