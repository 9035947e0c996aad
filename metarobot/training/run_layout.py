"""What a run folder holds, and what is refused in its place.

A run is one task family, one seed and some algorithms trained with the same budget::

    RUN/
      latent/  maml/  oracle/  ...    one folder an algorithm that is trained, or is to be
        config.json          resolved TrainConfig, versions, machine, command line
        policy.safetensors   θ at the last checkpoint
        curve.csv            one row a meta-iteration
        done.json            cost; missing, or of a smaller budget, until the budget is spent
        checkpoints/         what training needs to go on
        events.out.tfevents  TensorBoard

A run folder may come from a stranger. So each of these is a plain file or folder of a sensible
size, or no command touches the run. Other files are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from metarobot.algorithms import ALGORITHMS, is_algorithm_name
from metarobot.io import MAX_FILE_BYTES, Folder, FolderError, parse_json

CONFIG_FILE, POLICY_FILE = "config.json", "policy.safetensors"
CURVE_FILE, DONE_FILE = "curve.csv", "done.json"
CHECKPOINT_FOLDER = "checkpoints"
EVENTS_PREFIX = "events.out.tfevents."
MAX_CONFIG_BYTES, MAX_CURVE_BYTES = 2**20, 64 * 2**20

_MAX_BYTES = {
    CONFIG_FILE: MAX_CONFIG_BYTES,
    POLICY_FILE: MAX_FILE_BYTES,
    CURVE_FILE: MAX_CURVE_BYTES,
    DONE_FILE: MAX_CONFIG_BYTES,
}
_FOLDERS = (CHECKPOINT_FOLDER,)


class RunError(ValueError):
    """A run folder is missing, incomplete, unreadable or inconsistent."""


@contextmanager
def as_run_error(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a RunError that names it."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        text = str(error)
        raise RunError(text if str(path) in text else f"{path}: {text}") from error


@contextmanager
def refusals_as_run_errors() -> Iterator[None]:
    """Turn the refusal of what stands in a folder into a RunError; errors of the system stay."""
    try:
        yield
    except FolderError as error:
        raise RunError(str(error)) from error


@contextmanager
def hold_run(run: Folder) -> Iterator[None]:
    """Keep others from training in the same folder, for as long as this process does.

    Raises:
        RunError: Another process is training there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(run.lock())
        except BlockingIOError:
            raise RunError(f"{run} is being trained by another process") from None
        yield


def algorithms_there(run: Folder) -> list[str]:
    """Return the algorithms that have left something in their folder, in their usual order.

    Raises:
        RunError: What stands in the place of one of their files or folders is something else.
    """
    with refusals_as_run_errors():
        found = [algorithm for algorithm in ALGORITHMS if (run / algorithm).exists()]
        found += _outside_algorithms(run)
        for algorithm in found:
            _check_algorithm(run / algorithm)
        return [algorithm for algorithm in found if _holds_algorithm(run / algorithm)]


def _outside_algorithms(run: Folder) -> list[str]:
    """Return the folders that are of an algorithm which is not registered, as they say themselves.

    Folders of others, which may have any name, are left alone.
    """
    folders = [name for name, kind in run.kinds().items() if kind == "folder"]
    named = [name for name in folders if name not in ALGORITHMS and is_algorithm_name(name)]
    return [name for name in named if _configured(run / name) == name]


def _configured(folder: Folder) -> object:
    """Return the algorithm that a folder's configuration is of, None where it holds none."""
    try:
        facts = parse_json(folder.read(CONFIG_FILE, MAX_CONFIG_BYTES), folder.path / CONFIG_FILE)
        return facts["train"]["algorithm"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_algorithm(folder: Folder) -> None:
    """Remove the files of an algorithm; whatever else is in its folder stays."""
    for name in folder.names():
        if _is_ours(name):
            folder.remove(name)
    for name in _FOLDERS:
        below = folder / name
        for entry in below.names():
            below.remove(entry)
        below.remove_if_empty()
    folder.remove_if_empty()


def _holds_algorithm(folder: Folder) -> bool:
    """Whether more than somebody else's files is in a folder."""
    return any(_is_ours(name) or name in _FOLDERS for name in folder.names())


def _is_ours(name: str) -> bool:
    return name in _MAX_BYTES or name.startswith(EVENTS_PREFIX)


def _check_algorithm(folder: Folder) -> None:
    """Refuse what is no file or folder of an algorithm, or longer than any of ours."""
    kinds = folder.kinds()
    ours = {name: _MAX_BYTES.get(name, MAX_FILE_BYTES) for name in kinds if _is_ours(name)}
    folder.require_files(ours)
    folder.require_replaceable(*_MAX_BYTES)  # not only after the whole budget
    for name, kind in kinds.items():
        if name in _FOLDERS:
            below = folder / name
            below.require_files(dict.fromkeys(below.names(), MAX_FILE_BYTES))
        elif name not in ours and kind not in ("file", "folder"):
            raise FolderError(f"{folder.path / name} is a {kind} file, which no run holds")
