"""MJCF as a tree of elements: parsed without trust, and written anew.

What MuJoCo gets to read is written from the tree, one element a line, so that it sees what was
checked and nothing else: no comments, no processing instructions, no text, no declared entities.
Every line remembers where it came from, for MuJoCo's complaints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from metarobot.envs.scene import SceneError, SceneLimits

_NOT_A_NUMBER = re.compile(r"[+-]?(nan(\(.*\))?|inf(inity)?)", re.IGNORECASE)


@dataclass
class Element:
    """One XML element."""

    tag: str
    """Its name."""
    attributes: dict[str, str]
    """Its attributes."""
    place: str
    """Where it stands, as ``arm.xml line 7``."""
    children: list[Element] = field(default_factory=list)
    """The elements in it."""

    def walk(self) -> Iterator[Element]:
        """Yield this element and all in it, in the order of the document."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse_xml(data: bytes, name: str, limits: SceneLimits) -> Element:
    """Parse one file.

    Args:
        data: Its contents.
        name: Its name, for messages.
        limits: How many elements are allowed, and how deep.

    Returns:
        The root element.

    Raises:
        SceneError: It is no well-formed UTF-8 XML, has a document type (the only place to define
            entities), or a number in it is not finite.
    """
    if not data.strip():
        raise SceneError(f"{name} is empty")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise SceneError(f"{name} is not XML: it is not UTF-8 text") from None
    builder = _TreeBuilder(name, limits)
    try:
        return builder.parse(data)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise SceneError(f"{name} line {error.lineno} is not well-formed XML: {reason}") from None


class _TreeBuilder:
    """Expat's events made into a tree."""

    def __init__(self, name: str, limits: SceneLimits) -> None:
        self._name = name
        self._limits = limits
        self._open: list[Element] = []
        self._root: Element | None = None
        self._count = 0

    def parse(self, data: bytes) -> Element:
        # Whatever encoding the file declares, MuJoCo reads UTF-8.
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = lambda _tag: self._open.pop()
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.Parse(data, True)
        assert self._root is not None  # well-formed XML has a root
        return self._root

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        place = f"{self._name} line {self._parser.CurrentLineNumber}"
        self._count += 1
        if self._count > self._limits.elements:
            raise SceneError(f"{self._name} has more than {self._limits.elements} elements")
        if len(self._open) >= self._limits.element_depth:
            raise SceneError(f"{place}: elements nest deeper than {self._limits.element_depth}")
        for attribute, value in attributes.items():
            _check_numbers(attribute, value, place)
        element = Element(tag, attributes, place)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _refuse_doctype(self, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise SceneError(f"{self._name} line {line}: a document type (DOCTYPE) is not allowed")


def _check_numbers(attribute: str, value: str, place: str) -> None:
    """Refuse numbers that are not finite; MuJoCo would quietly replace some of them."""
    for token in value.split():
        try:
            finite = math.isfinite(float(token))
        except ValueError:
            finite = not _NOT_A_NUMBER.fullmatch(token)
        if not finite:
            raise SceneError(f"{place}: {attribute} has {token[:40]!r}, need a finite number")


class SceneWriter:
    """Writes the models of one scene, with a line number of its own for every element."""

    def __init__(self) -> None:
        self._places: list[str] = []

    def write(self, root: Element) -> bytes:
        """Return the XML of one model, below as many blank lines as were written before."""
        lines = [""] * len(self._places)
        self._write(root, lines)
        return "\n".join(lines).encode()

    def _write(self, element: Element, lines: list[str]) -> None:
        attributes = "".join(f" {k}={quoteattr(v)}" for k, v in element.attributes.items())
        self._places.append(element.place)
        if not element.children:
            lines.append(f"<{element.tag}{attributes}/>")
            return
        lines.append(f"<{element.tag}{attributes}>")
        for child in element.children:
            self._write(child, lines)
        lines[-1] += f"</{element.tag}>"

    def translate(self, complaint: str) -> str:
        """Say where the lines that MuJoCo complains about stand in the user's files."""

        def place(match: re.Match[str]) -> str:
            line = int(match[1])
            return self._places[line - 1] if 0 < line <= len(self._places) else match[0]

        return re.sub(r"\bline (\d+)", place, complaint)
