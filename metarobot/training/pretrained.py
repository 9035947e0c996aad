"""Trained policies that come with the package: a run of every family, by the name of its preset.

`scripts/ship.py` makes them.
"""

from __future__ import annotations

from pathlib import Path

from metarobot import policies
from metarobot.envs import nearest_name
from metarobot.presets import PRESETS
from metarobot.training.run_layout import RunError

FOLDER = Path(policies.__file__).resolve().parent / "pretrained"
"""Where they are: ``pretrained/grip`` is a run folder, with an evaluation and a card."""
EVALUATION_FILE = "evaluation.json"
"""What was measured of a run when it was added to the package."""


def pretrained_names() -> tuple[str, ...]:
    """Return the presets whose policies come with the package."""
    return tuple(name for name in PRESETS if (FOLDER / name).is_dir())


def find_run(path: Path) -> Path:
    """Return the folder of a run: what is there under this path, or a run of the package.

    Args:
        path: A folder, or the name of one that comes with the package.

    Raises:
        RunError: It is nearly the name of one.
    """
    name = str(path)
    if path.exists() or len(path.parts) != 1:
        return path
    if name in pretrained_names():
        return FOLDER / name
    if hint := nearest_name(name, pretrained_names()):
        raise RunError(f"no run folder at {path}, nor policies of that name in the package{hint}")
    return path
