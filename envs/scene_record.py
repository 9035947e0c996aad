"""A user's scene as a run remembers it: where it was, and a hash of all that it was made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarobot.envs.scene import SceneError
from metarobot.envs.scene_files import SceneFiles
from metarobot.envs.user_scene import DEFAULT_LIMITS

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_PATH = 4096


@dataclass(frozen=True, kw_only=True)
class SceneRecord:
    """A scene that is loaded only as long as its files are what they were."""

    path: str
    """The MJCF file, an absolute path."""
    sha256: str
    """SHA-256 of everything that the scene reads, as it was gathered for MuJoCo."""

    def __post_init__(self) -> None:
        """Check that both are what they are said to be."""
        if not isinstance(self.path, str) or not 0 < len(self.path) <= _LONGEST_PATH:
            raise SceneError("a scene's path must be a text of at most 4096 characters")
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise SceneError("a scene's sha256 must be 64 hexadecimal digits")

    @classmethod
    def of(cls, path: Path | str) -> SceneRecord:
        """Gather the files of a scene and record them; nothing is compiled.

        Raises:
            SceneError: The scene is not allowed.
        """
        try:
            sha256 = SceneFiles(Path(path), DEFAULT_LIMITS).sha256
        except SceneError as error:
            raise SceneError(f"{path}: {error}") from None
        return cls(path=str(Path(path).absolute()), sha256=sha256)

    @classmethod
    def from_dict(cls, values: Any) -> SceneRecord:
        """Read a record from its two values.

        Raises:
            SceneError: They are no record.
        """
        if not isinstance(values, Mapping) or {*values} != {"path", "sha256"}:
            raise SceneError("scene must be a table of path and sha256, or none")
        return cls(**values)

    def to_dict(self) -> dict[str, str]:
        """Return both values, as JSON can hold them."""
        return {"path": self.path, "sha256": self.sha256}

    def moved_to(self, path: Path | str) -> SceneRecord:
        """Return the record of the same scene at another place.

        Raises:
            SceneError: What is there is another scene.
        """
        there = SceneRecord.of(path)
        if there.sha256 != self.sha256:
            raise SceneError(
                f"{path} is another scene than that of the run: SHA-256 {there.sha256[:12]}..., "
                f"the run's is {self.sha256[:12]}..."
            )
        return there
