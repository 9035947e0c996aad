"""Compile a scene in a process of its own, which ends when it takes too long or too much memory.

A script, run by ``user_scene.py`` in a folder that holds nothing but the scene's files.  It
imports nothing of this package, so that it starts quickly.  It leaves ``scene.mjb``, or the reason
why there is none in ``error.txt``.  This bounds accidents and hostile scenes alike, but it is no
sandbox: the process has the user's rights.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import mujoco

_mj: Any = mujoco

FIRST_STEPS = 20
"""Steps simulated from the keyframe: what is endless or fatal in them is so here."""


def limit_process(cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Limit this process, as far as the system can: it gets a signal or no memory beyond."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only limit
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = int(used.ru_utime + used.ru_stime) + 1
    limits = {
        "RLIMIT_CPU": spent_s + cpu_s,
        "RLIMIT_AS": _address_space_bytes() + memory_bytes,
        "RLIMIT_FSIZE": file_bytes,
        "RLIMIT_CORE": 0,
    }
    for name, value in limits.items():
        with contextlib.suppress(AttributeError, OSError, ValueError):  # not everywhere allowed
            # A second later the hard limit kills a process that does not heed SIGXCPU.
            resource.setrlimit(getattr(resource, name), (value, value + (name == "RLIMIT_CPU")))


def _address_space_bytes() -> int:
    """Return the address space that this process has now; 2 GiB where it cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 2**31
    import resource

    return pages * resource.getpagesize()


def compile_here(scene: str, compiled: str, model_bytes: int) -> None:
    """Compile ``scene`` into the binary model ``compiled``, and try its first steps."""
    log = _mj.MjLogConfig.get()
    log.logto_file = log.logto_console = False
    log.set()
    model = _mj.MjModel.from_xml_path(scene)
    size = _mj.mj_sizeModel(model)
    if size > model_bytes:
        raise ValueError(f"the compiled model takes {size} bytes, allowed: {model_bytes}")
    data = _mj.MjData(model)
    if model.nkey:
        _mj.mj_resetDataKeyframe(model, data, 0)
    _mj.mj_step(model, data, FIRST_STEPS)
    _mj.mj_saveModel(model, compiled)


def main() -> None:
    """Compile as the JSON argument says."""
    order = json.loads(sys.argv[1])
    limit_process(order["cpu_s"], order["memory_bytes"], order["model_bytes"] + 2**20)
    try:
        compile_here(order["scene"], order["compiled"], order["model_bytes"])
    except (MemoryError, RuntimeError) as error:  # MuJoCo has no name for a lack of memory
        Path(order["error"]).write_text(f"{error} Perhaps it needs too much memory")
    except Exception as error:
        Path(order["error"]).write_text(str(error)[:2000], errors="replace")


if __name__ == "__main__":
    main()
