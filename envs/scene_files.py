"""The files of a user's scene: read without trust, within limits, and handed to MuJoCo as bytes.

A user's scene may come from anywhere, and MuJoCo follows whatever path a scene names.  So its files
are read here, from the scene's own folder alone, and MuJoCo gets what was checked: it opens no
file.  A file is looked for as MuJoCo does: one that is included or attached beside the file that
names it, then beside the model; meshes, height fields and textures in the model's ``meshdir`` or
``texturedir``.  A model that is in none of these places may be one of the package's own, by its
bare name.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast
from xml.etree import ElementTree
from xml.parsers import expat

from metarobot.io import FolderError, read_file

PACKAGE_FOLDER = Path(__file__).resolve().parent
"""Where the package's own scenes are."""

_MESSAGE_CHARACTERS = 600
_SUFFIXES = {
    "mesh": (".stl", ".obj", ".msh"),
    "hfield": (".png",),
    "texture": (".png",),
    "model": (".xml",),
    "include": (".xml",),
}
"""Elements that may name a file, and of which kinds."""
_FORBIDDEN_TAGS = (
    *("extension", "plugin", "flexcomp", "flex", "deformable", "composite", "skin"),
    "lengthrange",  # it simulates for as long as it says, during the compilation
)
_NAME = re.compile(r"(?!\.)[\w .+()-]{1,200}")
_NOT_A_NUMBER = re.compile(r"[+-]?(nan(\(.*\))?|inf(inity)?)", re.IGNORECASE)
_NOT_NEGATIVE = (
    *("mass", "density", "viscosity", "diaginertia", "fullinertia"),
    *("friction", "o_friction", "frictionloss", "armature", "size", "width"),
)
"""Attributes without negative numbers, in any element; of ``fullinertia`` the first three."""
_AMOUNTS = (
    *("nrow", "ncol", "width", "height", "nchannel", "params"),
    *("nsample", "actdim", "dim", "num", "resolution", "nuserdata"),
)
"""Attributes whose product says how many values an element takes."""
_VALUES_OF_AN_ELEMENT = 2**14
_MOST_PICTURE_BYTES = 2**26
_MOST_USER_NUMBERS = 100
_REPLACING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("boundmass", "boundinertia", "settotalmass"), ("0", "-1")),
    "balanceinertia": ("false",),
}
"""Settings of the compiler that would put other masses in the place of those stated, and the values
that leave them."""


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
    """Bounds of a user's scene."""

    files: int = 64
    """Files that the scene reads, itself among them."""
    file_bytes: int = 8 * 2**20
    """Size of any of them."""
    total_bytes: int = 32 * 2**20
    """Size of all of them."""
    elements: int = 5_000
    """XML elements in all files, those that `replicate` and `attach` make included; 16 KiB of a
    file count as one, and so do 16,384 texels, heights or samples."""
    element_depth: int = 100
    """XML elements inside one another, in one model with all that it includes."""
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


class _Element(ElementTree.Element):
    """An XML element that knows where it stands."""

    file: Path
    """The file that it is in."""
    place: str
    """The line, as ``arm.xml line 7``."""
    weight: int = 1
    """Elements that it counts as, without those in it."""

    def refuse(self, why: str) -> SceneError:
        """Return an error that names the line."""
        return SceneError(f"{self.place}: {why}")

    def children(self) -> list[_Element]:
        """Return the elements in it."""
        return cast("list[_Element]", list(self))

    def walk(self) -> Iterator[_Element]:
        """Return this element and all below it, in the order of the document."""
        return cast("Iterator[_Element]", self.iter())


class SceneFiles:
    """The files of a scene, by the names under which MuJoCo finds them.

    XML is written anew from the elements that were read: no comments, no processing instructions,
    no entities, one element a line.

    Args:
        scene: The scene's XML file.
        limits: Its bounds.

    Raises:
        SceneError: A path leaves the scene's folder, a limit is exceeded, or an element is not
            allowed.
    """

    def __init__(self, scene: Path, limits: SceneLimits) -> None:
        self._limits = limits
        self._folder = scene.parent.resolve()
        self._read_files = self._total_bytes = self._elements = 0
        self._places: list[str] = []  # of each line that is written
        self.contents: dict[str, bytes] = {}
        """Names to contents; the scene itself is the last one."""
        if scene.suffix.lower() != ".xml":
            raise SceneError("a scene is an .xml file")
        self._gather_model(self._folder / scene.name, "scene.xml", ())

    @property
    def sha256(self) -> str:
        """Hash of all names and contents: equal for a copy of the scene in another folder."""
        digest = hashlib.sha256()
        for name, data in sorted(self.contents.items()):
            digest.update(f"{len(name)} {name} {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()

    def translate(self, complaint: str) -> str:
        """Replace the lines that MuJoCo complains about by those of the user's files."""

        def place(match: re.Match[str]) -> str:
            line = int(match[1])
            return self._places[line - 1] if 0 < line <= len(self._places) else match[0]

        return re.sub(r"\bline (\d{1,9})", place, complaint)

    def _gather_model(self, path: Path, name: str, chain: tuple[Path, ...]) -> int:
        """Gather a model with all that it includes, attaches and loads.

        Args:
            path: Its file.
            name: Its name among the contents.
            chain: The files that attach one another down to this one.

        Returns:
            Its elements, those that replicate and attach make included.
        """
        root, chain = self._parse(path), (*chain, path)
        if root.tag != "mujoco":
            raise SceneError(f"{root.place}: the root element is {root.tag!r}, need 'mujoco'")
        self._include(root, path, chain, 1)
        folders = _take_asset_folders(root)
        attached = 0
        for element in root.walk():
            _check_element(element)
            for attribute in [a for a in element.attrib if a.startswith("file")]:
                if element.tag == "model":
                    found = self._find(element, attribute, (element.file, path), "", chain)
                    given = f"{len(self.contents)}.xml"
                    attached = max(attached, self._gather_model(found, given, chain))
                else:
                    folder = folders["texturedir" if element.tag == "texture" else "meshdir"]
                    found = self._find(element, attribute, (path,), folder)
                    given = self._gather_asset(element, found)
                element.set(attribute, given)
        _check_compiler(root)
        size = _expanded_size(root, attached)
        if size > self._limits.elements:
            raise SceneError(f"the scene has more than {self._limits.elements} elements")
        self.contents[name] = self._write(root)
        return size

    def _include(self, element: _Element, model: Path, chain: tuple[Path, ...], depth: int) -> None:
        """Put the elements of included files in the place of ``include``, as MuJoCo would."""
        if depth > self._limits.element_depth:
            raise element.refuse(f"elements nest deeper than {self._limits.element_depth}")
        children: list[_Element] = []
        for child in element.children():
            if child.tag != "include":
                self._include(child, model, chain, depth + 1)
                children.append(child)
                continue
            found = self._find(child, "file", (child.file, model), "", chain)
            included = self._parse(found)
            self._include(included, model, (*chain, found), depth)
            children += included.children()
        element[:] = children

    def _gather_asset(self, element: _Element, path: Path) -> str:
        """Gather a mesh or a picture, and return its name among the contents."""
        name = f"files/{self._shown(path)}"
        if name not in self.contents:
            self.contents[name] = self._read(path)
        data = self.contents[name]
        size = _unpacked_bytes(element, data) if name.lower().endswith(".png") else len(data)
        element.weight += size // _VALUES_OF_AN_ELEMENT
        return name

    def _find(
        self,
        element: _Element,
        attribute: str,
        beside: tuple[Path, ...],
        folder: str,
        chain: tuple[Path, ...] = (),
    ) -> Path:
        """Find the file that an attribute names.

        Args:
            element: The element.
            attribute: Its attribute.
            beside: The files in whose folders it may be.
            folder: Its folder from there.
            chain: The files that lead to it, none of which it can be.
        """
        given = element.get(attribute, "")
        if element.tag not in _SUFFIXES:
            raise element.refuse(f"element {element.tag!r} may not read a file")
        name = _plain_path(element, given)
        if name.suffix.lower() not in _SUFFIXES[element.tag]:
            allowed = ", ".join(_SUFFIXES[element.tag])
            raise element.refuse(f"{element.tag} file {given!r} is not of type {allowed}")
        places = [file.parent / folder / name for file in beside]
        if element.tag in ("include", "model") and len(name.parts) == 1:
            places.append(PACKAGE_FOLDER / name)
        for path in places:
            if path in chain:
                raise element.refuse(f"{name} includes or attaches itself")
            if os.path.lexists(path):
                return path
        ours = ", ".join(sorted(path.name for path in PACKAGE_FOLDER.glob("*.xml")))
        raise element.refuse(f"no file {given!r} in the scene's folder; the package has {ours}")

    def _shown(self, path: Path) -> str:
        """Return a file's name for messages, from its folder on."""
        inside = path.is_relative_to(self._folder)
        return str(path.relative_to(self._folder)) if inside else path.name

    def _read(self, path: Path) -> bytes:
        """Read a regular file in the scene's folder or the package's, wherever links lead to it."""
        self._read_files += 1
        if self._read_files > self._limits.files:
            raise SceneError(f"the scene reads more than {self._limits.files} files")
        shown, place = self._shown(path), path
        try:
            place = path.resolve(strict=True)
            if not any(place.is_relative_to(root) for root in (self._folder, PACKAGE_FOLDER)):
                raise SceneError(f"{shown} is a link that leaves the scene's folder")
            data = read_file(place, self._limits.file_bytes)
        except FolderError as error:
            raise SceneError(str(error).replace(str(place), shown)) from None
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            reason = error.strerror if isinstance(error, OSError) else "links lead in a circle"
            raise SceneError(f"cannot read {shown}: {reason}") from None
        self._total_bytes += len(data)
        if self._total_bytes > self._limits.total_bytes:
            raise SceneError(f"the scene's files take more than {self._limits.total_bytes} bytes")
        return data

    def _parse(self, path: Path) -> _Element:
        """Parse one XML file; a document type, the only place to define entities, is refused."""
        name, data = self._shown(path), self._read(path)
        parser = expat.ParserCreate("utf-8")  # whatever the file declares: MuJoCo reads UTF-8
        nest: list[_Element] = []
        roots: list[_Element] = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            element = _Element(tag, attributes)
            element.file, element.place = path, f"{name} line {parser.CurrentLineNumber}"
            self._elements += 1
            if self._elements > self._limits.elements:
                raise SceneError(f"the scene has more than {self._limits.elements} elements")
            if len(nest) >= self._limits.element_depth:
                raise element.refuse(f"elements nest deeper than {self._limits.element_depth}")
            (nest[-1] if nest else roots).append(element)
            nest.append(element)

        def refuse_doctype(*_: object) -> None:
            line = parser.CurrentLineNumber
            raise SceneError(f"{name} line {line}: a document type (DOCTYPE) is not allowed")

        parser.StartElementHandler = start
        parser.EndElementHandler = lambda _tag: nest.pop()
        parser.StartDoctypeDeclHandler = refuse_doctype
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            line = f"{name} line {error.lineno}"
            raise SceneError(f"{line} is not well-formed XML in UTF-8: {reason}") from None
        return roots[0]

    def _write(self, root: _Element) -> bytes:
        """Return a model as XML, below as many blank lines as were written before.

        So the number of a line tells the element.
        """
        lines = len(self._places)
        for element in root.walk():
            self._places.append(element.place)
            element.text = "\n" if len(element) else None
            for child in element[:-1]:
                child.tail = "\n"
        return b"\n" * lines + ElementTree.tostring(root, encoding="unicode").encode()


def _plain_path(element: _Element, given: str) -> PurePosixPath:
    """Return a relative path whose parts are plain names."""
    parts = [part for part in given.strip().rstrip("/").split("/") if part != "."]
    if given.startswith("/") or not parts or not all(_NAME.fullmatch(part) for part in parts):
        raise element.refuse(
            f"path {given[:100]!r} is not allowed: it must lead from the scene's folder "
            "into it, by plain names and forward slashes"
        )
    return PurePosixPath(*parts)


def _take_asset_folders(root: _Element) -> dict[str, str]:
    """Take a model's folders of meshes and textures out of it; the last ``compiler`` decides."""
    folders = {"meshdir": "", "texturedir": ""}
    for element in root.walk():
        if element.tag != "compiler":
            continue
        for attribute in {"assetdir", *folders} & {*element.attrib}:
            folder = str(_plain_path(element, element.attrib.pop(attribute)))
            folders |= dict.fromkeys([*folders] if attribute == "assetdir" else [attribute], folder)
        if element.attrib.pop("strippath", "false") != "false":
            raise element.refuse("strippath is not allowed")
    return folders


def _check_element(element: _Element) -> None:
    """Refuse an element that is not allowed or has a number without meaning, and weigh it."""
    if element.tag in _FORBIDDEN_TAGS:
        raise element.refuse(f"element {element.tag!r} is not allowed in a scene")
    if "content_type" in element.attrib:
        raise element.refuse("content_type is not allowed, the suffix decides")
    amount = 1.0
    for name, text in element.attrib.items():
        numbers = _read_numbers(element, name, text)
        physical = numbers[:3] if name == "fullinertia" else numbers
        if name in _NOT_NEGATIVE and min(physical, default=0) < 0:
            # MuJoCo ignores a negative mass beside a stated inertia, and compiles a friction.
            raise element.refuse(f"{name} is {min(physical):g}, must not be negative")
        if name.startswith("nuser_") and max(numbers, default=0) > _MOST_USER_NUMBERS:
            raise element.refuse(f"{name} must be at most {_MOST_USER_NUMBERS}")
        if name in _AMOUNTS:
            amount *= math.prod(map(abs, numbers))
    element.weight += int(min(amount, 1e18)) // _VALUES_OF_AN_ELEMENT


def _read_numbers(element: _Element, name: str, text: str) -> list[float]:
    """Return the numbers of an attribute; one that is not finite would be replaced in silence."""
    numbers = list[float]()
    for token in text.split():
        try:
            numbers.append(float(token))
        except ValueError:
            if _NOT_A_NUMBER.fullmatch(token):
                numbers.append(math.nan)
            elif name in _NOT_NEGATIVE:  # MuJoCo would read 0x1 and the like
                raise element.refuse(f"{name} is {text[:40]!r}, need decimal numbers") from None
        if numbers and not math.isfinite(numbers[-1]):
            raise element.refuse(f"{name} has {token[:40]!r}, need a finite number")
    return numbers


def _check_compiler(root: _Element) -> None:
    """Refuse settings of the compiler that would replace the masses that a model states."""
    stated = next((element for element in root.walk() if element.tag == "inertial"), None)
    for element in root.walk():
        if element.tag != "compiler":
            continue
        for name, harmless in _REPLACING.items():
            if element.attrib.get(name, harmless[0]).strip() not in harmless:
                raise element.refuse(
                    f"{name} would replace the masses of the scene: leave it out, and state the "
                    "masses that are meant"
                )
        if stated is not None and element.get("inertiafromgeom") == "true":
            raise stated.refuse(
                "inertiafromgeom would replace this inertial: leave one of them out"
            )


def _unpacked_bytes(element: _Element, png: bytes) -> int:
    """Return the size of a picture as it is unpacked; a small file may hold gigabytes."""
    width, height = struct.unpack(">II", png[16:24].ljust(8, b"\0"))
    most = min(8 * (width + 1) * height, _MOST_PICTURE_BYTES)  # 16 bits in each of 4 channels
    packed, start = b"", 8
    while start + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[start : start + 8])
        packed += png[start + 8 : start + 8 + length] if kind == b"IDAT" else b""
        start += 12 + length
    try:
        unpacked = len(zlib.decompressobj().decompress(packed, most + 1))
    except zlib.error as error:
        raise element.refuse(f"the picture cannot be unpacked: {error}") from None
    if unpacked > most or 4 * width * height > _MOST_PICTURE_BYTES:
        raise element.refuse(f"the picture unpacks to more than {most} bytes")
    return max(unpacked, 4 * width * height)


def _expanded_size(element: _Element, attached: int) -> int:
    """Return what an element counts as, where each ``attach`` adds at most ``attached``."""
    size = element.weight + sum(_expanded_size(child, attached) for child in element.children())
    if element.tag == "attach":
        size += attached
    if element.tag == "replicate":
        count = element.get("count", "1").strip()
        if not count.isdecimal():
            raise element.refuse(f"count is {count[:40]!r}, need a decimal integer")
        size *= max(1, int(count[:20]))
    return size
