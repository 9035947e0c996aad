"""The machine: threads, versions, memory, OpenGL, and imports when used.

At import only the standard library is needed: `import_mujoco` comes before everything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")

MOST_THREADS = 1024
"""More than any machine has; with tens of thousands, libraries end the process."""
_PACKAGES = ("metarobot", "torch", "mujoco", "numpy", "gymnasium")


def prepare() -> None:
    """Make the process ready for work: silent MuJoCo, threads, freed memory kept."""
    silence_mujoco()
    set_threads()
    keep_freed_memory()


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Make new tensors float32; afterwards the caller's own default and threads hold again.

    For the public functions: parameters are float32, and torch does not multiply mixed dtypes.
    """
    global _threads
    import torch

    before = torch.get_default_dtype(), torch.get_num_threads(), _threads
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        dtype, torch_threads, _threads = before
        torch.set_default_dtype(dtype)
        torch.set_num_threads(torch_threads)


INSTALL_METAWORLD = "pip install --no-deps metaworld==3.1.1"
"""Not an extra: Meta-World asks for a MuJoCo that is too old for this package."""


class MissingExtraError(ImportError, ValueError):
    """A package of an extra is not installed; the message names the extra, in one line."""


@contextlib.contextmanager
def extra(name: str, user: str) -> Iterator[None]:
    """Import packages that an extra installs.

    Args:
        name: The extra, as in ``pip install 'metarobot[NAME]'``.
        user: Purpose of the packages, the subject of the message.

    Raises:
        MissingExtraError: One of them is missing.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        install = f"`pip install 'metarobot[{name}]'`"
        raise MissingExtraError(f"{user} needs {install} ({reason})") from error


def choose_num_threads(wanted: int = 0) -> int:
    """Return the number of threads: as wanted, else OMP_NUM_THREADS, else the physical cores.

    Hyperthreads do not help: the second one of a core waits for the same arithmetic units.
    """
    if wanted > 0:
        return wanted
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wish.isdecimal() and wish.isascii() and len(wish) < 10 and int(wish) > 0:
        return min(int(wish), MOST_THREADS)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return min(_physical_cores(), len(usable) or sys.maxsize)


_threads: int | None = None
"""Threads of this package's own work; None until they are set."""


def set_threads(wanted: int = 0) -> int:
    """Set the number of threads of simulations and of `map_on_threads`, and return it.

    Each operation of torch takes one thread: most are too small for several, which would sleep in
    between, and waking them takes longer than the operation.

    Args:
        wanted: See `choose_num_threads`.
    """
    global _threads
    import torch

    _threads = choose_num_threads(wanted)
    torch.set_num_threads(1)
    return _threads


def num_threads() -> int:
    """Return the number of threads that was set, else torch's."""
    import torch

    return torch.get_num_threads() if _threads is None else _threads


def map_on_threads(function: Callable[[PartT], ResultT], parts: Sequence[PartT]) -> list[ResultT]:
    """Return what a function makes of each part of the work, in their order, on all threads.

    Args:
        function: Called on one of the threads; torch's operations in it take that one alone.
        parts: Parts that do not depend on each other.
    """
    import torch

    threads, grad_enabled = num_threads(), torch.is_grad_enabled()
    nested = threading.current_thread().name.startswith(_THREAD_NAME)
    if threads == 1 or len(parts) == 1 or nested:
        return [function(part) for part in parts]

    def call(part: PartT) -> ResultT:
        with torch.set_grad_enabled(grad_enabled):  # a setting of each thread
            return function(part)

    return list(_pool(threads, os.getpid()).map(call, parts))


_THREAD_NAME = "metarobot-part"
"""Prefix of the names of the threads of `map_on_threads`."""


@functools.cache
def _pool(threads: int, process_id: int) -> ThreadPoolExecutor:
    """Return the threads of this process, which a process that is forked from it lacks."""
    import torch

    del process_id
    started, of_caller = threading.Barrier(threads), torch.get_num_threads()

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, _THREAD_NAME, initializer=start)
    list(pool.map(lambda _: None, range(threads)))
    torch.set_num_threads(of_caller)  # threads that start later take the number that was set last
    return pool


def provenance(threads: int) -> dict[str, Any]:
    """Return versions, machine and command line, on which a result may depend."""
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
    return {package: version_of(package) for package in _PACKAGES}


def version_of(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"


VERSION = version_of("metarobot")
"""Version of this package."""


def _git_revision() -> str | None:
    """Return the commit of the source tree the package runs from, if it runs from one."""
    package = Path(__file__).resolve().parent
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
    if not cores or (None, None) in cores:  # not Linux on x86: hyperthreads are unknown
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


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST_FROM_HEAP_BYTES = 32 * 2**20
"""Larger blocks come from the kernel: the maximum of glibc."""
_MOST_KEPT_BYTES = 2**31 - 1
"""Free memory at the end of the heap that is kept: the largest int."""


def keep_freed_memory() -> None:
    """Keep memory that tensors have freed for the next ones, where the C library is glibc."""
    try:
        library = ctypes.CDLL(None)
    except TypeError:  # Windows
        return
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


# OpenGL.  MuJoCo loads the backend that MUJOCO_GL names when it is imported, and where that is
# missing the import fails, for programs that never render as well.  So this package imports MuJoCo
# without OpenGL, and gives it a backend only where a picture is wanted.

_PLATFORM_BACKENDS = {"darwin": ("cgl", "glfw"), "win32": ("glfw",)}
BACKENDS = _PLATFORM_BACKENDS.get(sys.platform, ("egl", "osmesa", "glfw"))
"""MuJoCo's backends on this platform, best first: those that need no display."""
INSTALL_OPENGL = "`apt-get install libegl1 libopengl0` or `apt-get install libosmesa6`"
_REMEDIES = {
    "egl": "on Debian `apt-get install libegl1 libopengl0`",
    "osmesa": "on Debian `apt-get install libosmesa6`",
}
# MuJoCo's other words for MUJOCO_GL.
_ANY = ("", "1", "on", "true", "enable", "enabled")
_NONE = ("0", "off", "false", "disable", "disabled")
_OTHER_NAMES = {"glx": "glfw", "wgl": "glfw"}
_PROBE_TIMEOUT_S = 60.0
_ERROR_LENGTH = 120
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().shape == (16, 16, 3)
renderer.close()
"""


_process_that_renders: int | None = None
"""The process that has loaded OpenGL; in one that is forked from it, drivers wait forever."""


class OpenGLError(RuntimeError):
    """MuJoCo cannot render here; the message names the remedy, in one line."""


def import_mujoco() -> Any:
    """Import MuJoCo without OpenGL, for every value of MUJOCO_GL, unless it is imported already.

    ``mujoco.Renderer`` and ``mujoco.GLContext`` work all the same: they look for a backend when
    they are used.

    Returns:
        The module with its `batch`, of type Any: type checkers cannot see its compiled names.
    """
    if "mujoco" not in sys.modules:
        with _variable("MUJOCO_GL", "disable"):
            importlib.import_module("mujoco")
        _give_mujoco(_open_context)
    importlib.import_module("mujoco.batch")
    return sys.modules["mujoco"]


def silence_mujoco() -> None:
    """Keep MuJoCo from writing to MUJOCO_LOG.TXT in the working directory and to the terminal.

    Nothing is lost: the environments count the warnings of every simulation themselves.
    """
    log = importlib.import_module("mujoco").MjLogConfig.get()
    log.logto_file = log.logto_console = False
    log.set()


def make_renderer(model: Any, height_px: int, width_px: int) -> Any:
    """Make a ``mujoco.Renderer`` with the first backend that works and that MUJOCO_GL allows.

    Raises:
        OpenGLError: There is none.
    """
    _give_mujoco(_load_backend())
    try:
        return sys.modules["mujoco"].Renderer(model, height_px, width_px)
    except Exception as error:  # MuJoCo, PyOpenGL and GLFW each raise their own
        raise _not_here(error) from error


def working_gl_backend() -> str | None:
    """Return the first backend that MUJOCO_GL allows and that renders a picture, or None.

    The picture is rendered in a process of its own, as a broken driver can abort the process.
    """
    return next((backend for backend in _allowed_backends() if not _probe(backend)), None)


def opengl_problem() -> str | None:
    """Return None if this machine can render, else one line with the remedy."""
    if working_gl_backend() is not None:
        return None
    chosen = os.environ.get("MUJOCO_GL", "").strip()
    allowed = _allowed_backends()
    if allowed == BACKENDS:
        return f"MuJoCo cannot render, OpenGL is missing: on Debian {INSTALL_OPENGL}"
    if chosen.lower() in _NONE:
        return f"MUJOCO_GL={chosen} turns rendering off: unset it to render"
    if not allowed:
        return f"MUJOCO_GL={chosen[:_ERROR_LENGTH]!r} is not allowed, allowed: " + (
            f"{', '.join(BACKENDS)}, disable; or unset it, for the first that works"
        )
    others = [backend for backend in BACKENDS if not _probe(backend)]
    remedy = _REMEDIES.get(allowed[0], f"unset it, and on Debian {INSTALL_OPENGL}")
    if others:
        remedy = f"set MUJOCO_GL={others[0]}, or unset it"
    return f"MuJoCo cannot render with MUJOCO_GL={chosen} ({_probe(allowed[0])}): {remedy}"


def require_opengl() -> None:
    """Check that this machine can render.

    Raises:
        OpenGLError: No OpenGL backend works.
    """
    problem = opengl_problem()
    if problem:
        raise OpenGLError(problem)


def require_own_process() -> None:
    """Check that this process was not forked from one that has rendered: a driver would hang.

    Raises:
        OpenGLError: This process was forked from one that has rendered.
    """
    if _process_that_renders not in (None, os.getpid()):
        raise OpenGLError(
            "this process was forked from one that has rendered: OpenGL does not work in both; "
            "start processes by 'spawn', or render in one only"
        )


def _allowed_backends() -> tuple[str, ...]:
    """Return the backends that MUJOCO_GL allows: all, one or none."""
    name = os.environ.get("MUJOCO_GL", "").strip().lower()
    if name in _ANY:
        return BACKENDS
    name = _OTHER_NAMES.get(name, name)
    return (name,) if name in BACKENDS else ()


def _load_backend() -> Any:
    """Return MuJoCo's class of OpenGL contexts for the first backend that works.

    Raises:
        OpenGLError: None works.
    """
    global _process_that_renders
    require_own_process()
    require_opengl()
    _process_that_renders = os.getpid()
    try:
        return importlib.import_module(f"mujoco.{working_gl_backend()}").GLContext
    except Exception as error:  # another OpenGL is loaded in this process
        raise _not_here(error) from error


def _open_context(max_width: int, max_height: int) -> Any:
    """Stand in for ``mujoco.GLContext`` until a backend is chosen."""
    return _load_backend()(max_width, max_height)


def _give_mujoco(context_class: Any) -> None:
    """Make ``mujoco.Renderer`` and ``mujoco.GLContext`` use a class of OpenGL contexts."""
    modules: list[Any] = [
        importlib.import_module("mujoco.rendering.classic.gl_context"),  # the renderer's
        sys.modules["mujoco"],
    ]
    for module in modules:
        module.GLContext = context_class


def _not_here(error: Exception) -> OpenGLError:
    """Return an error for a backend that works in a process of its own, but not in this one."""
    lines = str(error).splitlines()
    reason = f"{type(error).__name__}: {lines[0] if lines else ''}"[:_ERROR_LENGTH]
    backend = working_gl_backend()
    return OpenGLError(
        f"MuJoCo renders with MUJOCO_GL={backend}, but not in this process ({reason}): "
        "render in a process of its own"
    )


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@functools.cache
def _probe(backend: str) -> str:
    """Render once with a backend; return "" or the last line of the error."""
    with tempfile.TemporaryDirectory() as folder:  # mujoco drops its log where it runs
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE],
                env={**os.environ, "MUJOCO_GL": backend},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no picture within {_PROBE_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    if not lines:
        return f"exit status {done.returncode}"
    if lines[-1].startswith("AttributeError: 'NoneType'"):  # PyOpenGL, about one it has not found
        return "its library is missing"
    if "OpenGL platform library has not been loaded" in lines[-1]:  # MuJoCo, after GLFW's failure
        return "there is no display"
    return lines[-1][:_ERROR_LENGTH]


# Imports when used: torch takes seconds to import and MuJoCo a tenth, and help needs neither.


@dataclass(frozen=True)
class Later(Generic[T]):
    """A class that is made when it is first asked for."""

    make: Callable[[], T]


class Registry(MutableMapping[str, T], Generic[T]):
    """Classes by name; the module of one is imported when its class is first asked for.

    Args:
        package: The package that holds the modules.
        places: ``module:Class`` by name.
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self._package = package
        self._found: dict[str, T | Later[T] | str] = {**places}

    def __getitem__(self, name: str) -> T:
        """Return a class."""
        found = self._found[name]
        if isinstance(found, str):
            module, _, class_name = found.partition(":")
            imported = importlib.import_module(f"{self._package}.{module}")
            found = self._found[name] = cast(T, getattr(imported, class_name))
        if isinstance(found, Later):
            found = self._found[name] = cast(T, found.make())
        return found

    def __setitem__(self, name: str, value: T | Later[T]) -> None:  # type: ignore[override]
        """Register a class."""
        self._found[name] = value

    def __delitem__(self, name: str) -> None:
        """Remove a class."""
        del self._found[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is one of this name; imports nothing."""
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; imports nothing."""
        return iter(self._found)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._found)


def names_of(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported when they are first used.

    Args:
        package: The package, ``__name__`` in its ``__init__.py``.
        places: Names by the module of the package that holds them.
    """
    modules = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
