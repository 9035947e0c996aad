"""The files that a user's scene reads: found, bounded, and gathered before MuJoCo sees any.

MuJoCo follows whatever path a scene names.  So the scene is read here first, and MuJoCo gets a
private copy of it that holds the checked bytes and nothing else.  Files are looked for as MuJoCo
does: those that an include or an attached model names beside the file that names them, then
beside the model; meshes, height fields and textures from the model's folder with ``meshdir`` or
``texturedir``.  What is in none of these places may be one of the package's own, by its bare name.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metarobot.envs.scene import SceneError, SceneLimits
from metarobot.envs.scene_physics import check_physics
from metarobot.envs.scene_xml import Element, SceneWriter, parse_xml

PACKAGE_FOLDER = Path(__file__).resolve().parent
"""Where the package's own scenes are."""
SCENE_FILE = "scene.xml"
"""Name of the scene itself among the gathered files."""

_SUFFIXES = {
    "mesh": (".stl", ".obj", ".msh"),
    "hfield": (".png",),
    "texture": (".png",),
    "model": (".xml",),
    "include": (".xml",),
}
"""What may name a file, and of which kinds."""
_FOLDERS = ("assetdir", "meshdir", "texturedir")
_FORBIDDEN_TAGS = ("extension", "plugin", "flexcomp", "flex", "deformable", "composite", "skin")
_PART = re.compile(r"(?!\.)[\w .+()-]{1,200}")


@dataclass(frozen=True)
class _Source:
    """A file: where it is, and who led to it."""

    root: Path
    """The user's folder or the package's, resolved."""
    name: PurePosixPath
    """Its path from there."""
    chain: tuple[Path, ...] = ()
    """The files that include or attach one another up to this one."""

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def private_name(self) -> str:
        """Its path among the gathered files, where no scene file can be."""
        folder = "package" if self.root == PACKAGE_FOLDER else "files"
        return f"{folder}/{self.name}"


class SceneFiles:
    """The files of one scene.

    Args:
        scene: The scene's XML file.
        limits: How many files are allowed, and how large.

    Raises:
        SceneError: A path leaves the scene's folder, a limit is exceeded, or an element is not
            allowed.
    """

    def __init__(self, scene: Path, limits: SceneLimits) -> None:
        self._limits = limits
        self._writer = SceneWriter()
        self._total_bytes = 0
        self._elements = 0
        self._models = 0
        self._read_files = 0
        self.contents: dict[str, bytes] = {}
        """Names to contents, as MuJoCo is to find them."""
        if scene.suffix.lower() != ".xml":
            raise SceneError("a scene is an .xml file")
        folder = scene.parent.resolve()
        self._folder = folder
        self._gather_model(_Source(folder, PurePosixPath(scene.name)), SCENE_FILE)

    @property
    def sha256(self) -> str:
        """Hash of all names and contents: equal for a copy of the scene in another folder."""
        digest = hashlib.sha256()
        for name, data in sorted(self.contents.items()):
            digest.update(f"{len(name)} {name} {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()

    def translate(self, complaint: str) -> str:
        """Say where the lines that MuJoCo complains about stand in the user's files."""
        return self._writer.translate(complaint)

    def _gather_model(self, source: _Source, private_name: str) -> None:
        """Gather a model with all that it includes, attaches and loads."""
        root = self._parse(source)
        if root.tag != "mujoco":
            raise SceneError(f"{root.place}: the root element is {root.tag!r}, need 'mujoco'")
        includers = {id(root): source}
        self._include(root, 1, source, source, includers, {source.path})
        check_physics(root)
        folders = _asset_folders(root)
        for element, includer in _walk_with_source(root, source, includers):
            self._gather_element(element, includer, source, folders)
        self.contents[private_name] = self._writer.write(root)

    def _include(
        self,
        element: Element,
        depth: int,
        source: _Source,
        model: _Source,
        includers: dict[int, _Source],
        seen: set[Path],
    ) -> None:
        """Put the elements of included files in the place of ``include``, as MuJoCo would."""
        if depth > self._limits.element_depth:
            raise SceneError(f"{element.place}: elements nest deeper than {depth - 1}")
        children = []
        for child in element.children:
            if child.tag != "include":
                self._include(child, depth + 1, source, model, includers, seen)
                children.append(child)
                continue
            included = self._find_file(child, "file", (source, model), "")
            if included.path in seen:
                raise SceneError(f"{child.place}: {included.name} is included twice")
            seen.add(included.path)
            root = self._parse(included)
            self._include(root, depth, included, model, includers, seen)
            for grandchild in root.children:
                includers.setdefault(id(grandchild), included)
            children.extend(root.children)
        element.children = children

    def _gather_element(
        self, element: Element, includer: _Source, model: _Source, folders: dict[str, str]
    ) -> None:
        """Check one element and gather the files that it names."""
        if element.tag in _FORBIDDEN_TAGS:
            raise SceneError(f"{element.place}: element {element.tag!r} is not allowed in a scene")
        if "content_type" in element.attributes:
            raise SceneError(f"{element.place}: content_type is not allowed, the suffix decides")
        for attribute in [a for a in element.attributes if a.startswith("file")]:
            if element.tag == "model":
                child = self._find_file(element, attribute, (includer, model), "")
                self._models += 1
                private_name = f"{self._models}.xml"
                self._gather_model(child, private_name)
            else:
                folder = folders["texturedir" if element.tag == "texture" else "meshdir"]
                asset = self._find_file(element, attribute, (model,), folder)
                private_name = asset.private_name
                if private_name not in self.contents:
                    self.contents[private_name] = self._read(asset)
            element.attributes[attribute] = private_name

    def _find_file(
        self, element: Element, attribute: str, bases: tuple[_Source, ...], folder: str
    ) -> _Source:
        """Find the file that an attribute names."""
        where, given = element.place, element.attributes.get(attribute, "")
        if element.tag not in _SUFFIXES:
            raise SceneError(f"{where}: element {element.tag!r} may not read a file")
        name = _safe_path(given, where)
        if name.suffix.lower() not in _SUFFIXES[element.tag]:
            allowed = ", ".join(_SUFFIXES[element.tag])
            raise SceneError(f"{where}: {element.tag} file {given!r} is not of type {allowed}")
        if folder:
            name = _safe_path(folder, where) / name
        candidates = [_Source(base.root, base.name.parent / name, base.chain) for base in bases]
        candidates.append(_Source(PACKAGE_FOLDER, name))
        for found, base in zip(candidates, (*bases, bases[0]), strict=True):
            bare_or_own = found.root != PACKAGE_FOLDER or len(found.name.parts) == 1
            if bare_or_own and os.path.lexists(found.path):
                return self._chained(found, base, where)
        ours = ", ".join(sorted(path.name for path in PACKAGE_FOLDER.glob("*.xml")))
        raise SceneError(
            f"{where}: no file {given!r} in the scene's folder; the package has {ours}"
        )

    def _chained(self, found: _Source, base: _Source, where: str) -> _Source:
        """Refuse files that lead to themselves, or through too many others."""
        chain = (*base.chain, base.path)
        if found.path in chain:
            raise SceneError(f"{where}: {found.name} includes or attaches itself")
        if len(chain) >= self._limits.file_depth:
            raise SceneError(f"{where}: files lead to one another more than {len(chain)} deep")
        return _Source(found.root, found.name, chain)

    def _parse(self, source: _Source) -> Element:
        root = parse_xml(self._read(source), str(source.name), self._limits)
        self._elements += sum(1 for _ in root.walk())
        if self._elements > self._limits.elements:
            raise SceneError(f"the scene has more than {self._limits.elements} elements")
        return root

    def _read(self, source: _Source) -> bytes:
        """Read one file, and no more of it than is allowed."""
        self._read_files += 1
        if self._read_files > self._limits.files:
            raise SceneError(f"the scene reads more than {self._limits.files} files")
        data = _read_regular(source, self._limits.file_bytes)
        self._total_bytes += len(data)
        if self._total_bytes > self._limits.total_bytes:
            raise SceneError(f"the scene's files take more than {self._limits.total_bytes} bytes")
        return data


def _walk_with_source(
    element: Element, source: _Source, includers: dict[int, _Source]
) -> Iterator[tuple[Element, _Source]]:
    """Yield every element with the file that it stands in."""
    source = includers.get(id(element), source)
    yield element, source
    for child in element.children:
        yield from _walk_with_source(child, source, includers)


def _asset_folders(root: Element) -> dict[str, str]:
    """Return a model's folders of meshes and textures; the last ``compiler`` decides."""
    folders: dict[str, str] = dict.fromkeys(_FOLDERS, "")
    for element in root.walk():
        if element.tag != "compiler":
            continue
        if element.attributes.pop("strippath", "false") != "false":
            raise SceneError(f"{element.place}: strippath is not allowed")
        for attribute in _FOLDERS:
            if attribute in element.attributes:
                folder = element.attributes.pop(attribute)
                _safe_path(folder, element.place)
                targets = _FOLDERS if attribute == "assetdir" else (attribute,)
                folders.update(dict.fromkeys(targets, folder))
    return folders


def _safe_path(given: str, where: str) -> PurePosixPath:
    """Return a relative path whose parts are plain names."""
    parts = [part for part in given.strip().rstrip("/").split("/") if part != "."]
    if given.startswith("/") or not parts or not all(_PART.fullmatch(part) for part in parts):
        raise SceneError(
            f"{where}: path {given[:100]!r} is not allowed: it must lead from the scene's folder "
            "into it, by plain names and forward slashes"
        )
    return PurePosixPath(*parts)


def _read_regular(source: _Source, max_bytes: int) -> bytes:
    """Read a regular file inside its root, whatever links lead to it."""
    try:
        path = source.path.resolve(strict=True)
        if not path.is_relative_to(source.root):
            raise SceneError(f"{source.name} is a link that leaves the scene's folder")
        # Not to wait for a pipe, nor to follow a link put there just now.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SceneError(f"{source.name} is not a regular file")
            data = file.read(max_bytes + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        reason = error.strerror if isinstance(error, OSError) else "links lead in a circle"
        raise SceneError(f"cannot read {source.name}: {reason}") from None
    if len(data) > max_bytes:
        raise SceneError(f"{source.name} is larger than {max_bytes} bytes")
    return data
