"""The agents of a run are replaced as one: a process that is killed leaves the old or the new ones.

The new agents are prepared in a folder inside the run. Renaming it is the moment from which they
count, and what is left to do is then the same for whoever comes next::

    RUN/.prepared     new agents are being prepared: if this is left over, it is thrown away
    RUN/.replacing    they count; the files of the old agents are being removed
    RUN/.placing      the old ones are gone; the new ones are being moved to their places
"""

from __future__ import annotations

from metarobot.config import AGENTS
from metarobot.folder import Folder
from metarobot.training.run_layout import agents_there, remove_agent

PREPARED = ".prepared"
_REPLACING, _PLACING = ".replacing", ".placing"


def replace_agents(run: Folder) -> None:
    """Let the agents in PREPARED take the place of all that are there; others' files stay."""
    run.move(PREPARED, run, _REPLACING)
    finish_replacement(run)


def is_being_replaced(run: Folder) -> bool:
    """Whether a process has died while it replaced the agents of a run."""
    return any(run.kind(name) is not None for name in (_REPLACING, _PLACING))


def finish_replacement(run: Folder) -> None:
    """Do what is left to do; nothing, mostly. The caller holds the run.

    Raises:
        FolderError: A link, or something else that no run holds, is in the way.
    """
    if (run / _REPLACING).exists():
        for agent in agents_there(run):
            remove_agent(run / agent)
        run.move(_REPLACING, run, _PLACING)
    place_agents(run, run / _PLACING)


def place_agents(run: Folder, prepared: Folder) -> None:
    """Move prepared agents to their places, and remove what they were prepared in."""
    for agent in AGENTS:
        if not (prepared / agent).exists():
            continue
        if not (run / agent).exists():
            prepared.move(agent, run)
            continue
        # A folder that somebody else's files have kept.
        for name in (prepared / agent).names():
            (prepared / agent).move(name, run / agent)
    prepared.remove_tree()
