"""The options of the commands that show what there is: families, runs, the installation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metarobot.cli.options import OutsideOptions


@dataclass(frozen=True, kw_only=True)
class ListCommand(OutsideOptions):
    """List the task families with their task parameters, splits and observations."""

    family: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[FAMILY]")] = None
    """Show one family alone, with its variants: a preset of `metarobot train`, its id, or
    MODULE:ID."""


@dataclass(frozen=True, kw_only=True)
class RunsCommand(OutsideOptions):
    """List runs: how far each algorithm is, what it cost, and what it earns on training tasks."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")
    """A run folder, or a folder with runs in it or in its folders."""


@dataclass(frozen=True, kw_only=True)
class CompletionCommand:
    """Print what makes a shell complete commands and options: source it, or keep it in a file."""

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """Which shell."""


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Check the installation."""

    runs_folder: Path = Path("runs")
    """Where runs are to be written."""
