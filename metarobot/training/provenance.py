"""What a result may depend on besides its configuration: versions, source, machine, threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import metarobot
from metarobot import __version__
from metarobot.envs.checks import MOST_THREADS

_PACKAGES = ("torch", "mujoco", "numpy", "gymnasium")


def choose_num_threads(wanted: int = 0) -> int:
    """Return how many threads to use: as wanted, else OMP_NUM_THREADS, else the physical cores.

    Hyperthreads do not help: the second one of a core waits for the same arithmetic units.
    """
    if wanted > 0:
        return wanted
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and told.isascii() and len(told) < 10 and int(told) > 0:
        return min(int(told), MOST_THREADS)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return min(_physical_cores(), len(usable) or sys.maxsize)


def provenance(threads: int) -> dict[str, Any]:
    """Return what a result may depend on besides its configuration."""
    return {
        "versions": {"python": platform.python_version(), **versions()},
        "git_revision": _git_revision(),
        "machine": {
            "cpu": _cpu_model(),
            "threads": threads,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def versions() -> dict[str, str]:
    """Return the versions of this package and of those that the numbers come from."""
    return {"metarobot": __version__, **{package: version(package) for package in _PACKAGES}}


def _git_revision() -> str | None:
    """Return the commit of the source tree the package runs from, if it runs from one."""
    package = Path(metarobot.__file__).resolve().parent
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
        if Path(top) != package.parent:  # installed into an environment inside another repository
            return None
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return result.stdout.strip()


def _cpu_model() -> str:
    for block in _cpuinfo():
        if "model name" in block:
            return block["model name"]
    return platform.processor() or platform.machine()


def _physical_cores() -> int:
    cores = {(block.get("physical id"), block.get("core id")) for block in _cpuinfo()}
    if not cores or (None, None) in cores:  # no Linux on x86: nothing says which threads are twins
        return os.cpu_count() or 1
    return len(cores)


def _cpuinfo() -> list[dict[str, str]]:
    """Return /proc/cpuinfo, one dict a logical processor; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block)}
        for block in blocks
    ]
