"""The algorithms of a run are replaced as one: after a kill, the old or the new ones are there.

The new algorithms are prepared in a folder inside the run. Renaming it is the moment from which
they count, and what is left to do is then the same for whoever comes next::

    RUN/.prepared     new algorithms are being prepared: if this is left over, it is thrown away
    RUN/.replacing    they count; the files of the old algorithms are being removed
    RUN/.placing      the old ones are gone; the new ones are being moved to their places
"""

from __future__ import annotations

from metarobot.algorithms import is_algorithm_name
from metarobot.io import Folder
from metarobot.training.run_layout import algorithms_there, remove_algorithm

PREPARED = ".prepared"
_REPLACING, _PLACING = ".replacing", ".placing"


def replace_algorithms(run: Folder) -> None:
    """Let the algorithms in PREPARED take the place of all that are there; others' files stay."""
    run.move(PREPARED, run, _REPLACING)
    finish_replacement(run)


def is_being_replaced(run: Folder) -> bool:
    """Whether a process has died while it replaced the algorithms of a run."""
    return not {_REPLACING, _PLACING}.isdisjoint(run.names())


def finish_replacement(run: Folder) -> None:
    """Do what is left to do; nothing, mostly. The caller holds the run.

    Raises:
        FolderError: A link, or something else that no run holds, is in the way.
    """
    if (run / _REPLACING).exists():
        for algorithm in algorithms_there(run):
            remove_algorithm(run / algorithm)
        run.move(_REPLACING, run, _PLACING)
    place_algorithms(run, run / _PLACING)


def place_algorithms(run: Folder, prepared: Folder) -> None:
    """Move prepared algorithms to their places, and remove what they were prepared in."""
    for algorithm in filter(is_algorithm_name, prepared.names()):
        if not (prepared / algorithm).exists():
            continue
        if not (run / algorithm).exists():
            prepared.move(algorithm, run)
            continue
        # A folder that somebody else's files have kept.
        for name in (prepared / algorithm).names():
            (prepared / algorithm).move(name, run / algorithm)
    prepared.remove_tree()
