"""`metarobot doctor`: checks of the installation.

Packages are imported within the checks, so that a broken one is reported, not raised.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metarobot.cli.console import BAD_INPUT, OK
from metarobot.console import make_console, print_line, printable
from metarobot.machine import (
    INSTALL_METAWORLD,
    choose_num_threads,
    opengl_problem,
    working_gl_backend,
)

if TYPE_CHECKING:
    from rich.console import Console

MINIMUM_PYTHON = (3, 11)
# Import name -> (distribution, minimum version); a test holds them against pyproject.toml.
DEPENDENCIES = {
    "torch": ("torch", "2.10"),
    "gymnasium": ("gymnasium", "1.1"),
    "mujoco": ("mujoco", "3.17"),
    "numpy": ("numpy", "2.1"),
    "scipy": ("scipy", "1.14"),
    "safetensors": ("safetensors", "0.5"),
    "msgspec": ("msgspec", "0.19"),
    "PIL": ("pillow", "11.1"),
    "rich": ("rich", "13.9"),
    "shtab": ("shtab", "1.7"),
}
EXTRAS = {
    "train": {
        "jinja2": ("jinja2", "3.1"),
        "matplotlib": ("matplotlib", "3.10"),
        "pandas": ("pandas", "2.2"),
        "sklearn": ("scikit-learn", "1.6"),
        "tensorboard": ("tensorboard", "2.19"),
    },
    "film": {"imageio": ("imageio", "2.37")},
    "sb3": {"stable_baselines3": ("stable-baselines3", "2.7")},
}
"""The same of extras, whose absence is a warning."""
METAWORLD_VERSION = INSTALL_METAWORLD.rpartition("==")[2]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of one check."""

    name: str
    ok: bool
    detail: str
    """Result: a version, a number, the first line of an error."""
    remedy: str = ""
    """Advice if it is not ok."""
    required: bool = True
    """Whether training is impossible without it; otherwise a failure is a warning."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check the installation."""

    runs_folder: Path = Path("runs")
    """Folder in which runs will be written."""


def run(arguments: list[str], prog: str) -> int:
    """Run all checks."""
    from metarobot.cli.parsing import parse  # imports checked packages

    options = parse(Options, arguments, prog)
    failed = print_report(make_console(), run_checks(options.runs_folder))
    return BAD_INPUT if failed else OK


def run_checks(runs_folder: Path = Path("runs")) -> list[Check]:
    """Check everything metarobot needs; imports and the renderer take a few seconds.

    Args:
        runs_folder: Folder in which runs will be written; it is not created.
    """
    wanted = ".".join(map(str, MINIMUM_PYTHON))
    python = Check(
        name="Python",
        ok=sys.version_info[:2] >= MINIMUM_PYTHON,
        detail=f"{platform.python_version()} (needs {wanted})",
        remedy=f"install Python {wanted} or newer",
    )
    problem = _import_problem("mujoco.batch")
    batch = Check(
        name="mujoco.batch",
        ok=not problem,
        detail=problem or "steps all simulations at once",
        remedy="pip install 'mujoco>=3.17'",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = f"{cores} cores, {choose_num_threads()} threads"
    ffmpeg, version = _attempt(
        lambda: f"version {importlib.import_module('imageio_ffmpeg').get_ffmpeg_version()}"
    )
    return [
        python,
        *(_check_dependency(name, *wanted) for name, wanted in DEPENDENCIES.items()),
        *(
            _check_dependency(name, *wanted, extra=extra)
            for extra, modules in EXTRAS.items()
            for name, wanted in modules.items()
        ),
        dataclasses.replace(
            _check_dependency("metaworld", "metaworld", METAWORLD_VERSION),
            remedy=f"{INSTALL_METAWORLD} (only the families of Meta-World need it)",
            required=False,
        ),
        batch,
        _check_package("metarobot.envs"),
        _check_package("metarobot.policies"),
        _check_runs_folder(runs_folder),
        Check(name="processor", ok=True, detail=used),
        Check(
            name="ffmpeg",
            ok=ffmpeg,
            detail=version,
            remedy="pip install 'metarobot[film]' (only videos need it)",
            required=False,
        ),
        _check_opengl(),
    ]


def print_report(console: Console, checks: list[Check]) -> int:
    """Print the checks as a table, with the remedies below, and return how many failed.

    Returns:
        The number of required checks that failed; warnings do not count.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "check", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        mark = ("FAILED", "bold red") if check.required else ("warning", "yellow")
        mark = ("ok", "green") if check.ok else mark
        # Text, not markup: an error message may hold square brackets.
        table.add_row(Text(*mark), Text(check.name), Text(printable(check.detail)))
    console.print(table)
    wrong = [check for check in checks if not check.ok]
    for check in wrong:
        print_line(console, f"{check.name}: {check.remedy}")
    failed = sum(check.required for check in wrong)
    counts = f"{len(checks) - len(wrong)} ok, {len(wrong) - failed} warnings, {failed} failed"
    print_line(console, counts)
    return failed


def _check_dependency(module: str, distribution: str, minimum: str, extra: str = "") -> Check:
    wanted = f"metarobot[{extra}]" if extra else f"{distribution}>={minimum}"
    detail, ok = _import_problem(module), False
    if not detail:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            detail = "version unknown"
        else:
            detail = f"{version} (needs {minimum})"
            ok = _version_key(version) >= _version_key(minimum)
    remedy = f"pip install '{wanted}'"
    return Check(name=distribution, ok=ok, detail=detail, remedy=remedy, required=not extra)


def _check_package(name: str) -> Check:
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        spec = None
    # A link that git checked out as a text file is not found; a stray folder has no origin.
    return Check(
        name=name,
        ok=spec is not None and spec.origin is not None,
        detail=(spec and spec.origin) or "not found",
        remedy="pip install . ; in a checkout on Windows: git config core.symlinks true, then "
        "git checkout -- metarobot src",
    )


def _check_runs_folder(folder: Path) -> Check:
    """Check the folder, or its nearest existing parent."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return Check(
        name="runs folder",
        ok=existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
        detail=str(folder),
        remedy=f"make {existing} a writable folder, or choose another for the runs",
    )


def _check_opengl() -> Check:
    backend = working_gl_backend()
    return Check(
        name="OpenGL",
        ok=backend is not None,
        detail=f"renders with MUJOCO_GL={backend}" if backend else "nothing renders",
        remedy=f"{opengl_problem()} (only videos need it)" if not backend else "",
        required=False,
    )


def _import_problem(module: str) -> str:
    """Import a module; return "" or its error in one line."""
    ok, detail = _attempt(lambda: importlib.import_module(module).__name__)
    return "" if ok else detail


def _attempt(look: Callable[[], str]) -> tuple[bool, str]:
    """Call a function that may raise anything; return (True, text) or (False, error line)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return True, look()
    except Exception as error:
        return False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _version_key(version: str) -> tuple[int, ...]:
    """Return the leading numbers, enough to compare releases: "2.13.0+cpu" -> (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
