"""Families and algorithms from outside the package: the user names the module of each.

Only what stands on the command line is imported. A module that a file names, such as the
configuration of a run or a variant, never is: a file may come from a stranger.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from metarobot.envs import FAMILIES, TaskError, nearest_name

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def import_outside_module(name: str) -> None:
    """Import a module that registers a family or an algorithm, also from the working folder.

    Args:
        name: Its dotted name, such as ``my_package.my_family``.

    Raises:
        TaskError: There is no such module, or it fails; the message is one line.
    """
    if not _MODULE.fullmatch(name):
        raise TaskError(f"a module's name is like my_package.my_family, got {name!r}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing here hides an installed module
    try:
        importlib.import_module(name)
    except TaskError:  # of `register_family`, which says what is missing
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(f"the module {name} cannot be imported: {why}") from error


def import_family(word: str) -> str:
    """Import the module that a word such as ``my_package.my_family:my/Push-v0`` names.

    Args:
        word: What was typed where a family is asked for.

    Returns:
        The family's id; a word without a colon as it is.

    Raises:
        TaskError: The module cannot be imported, or registers no such family.
    """
    module, colon, env_id = word.partition(":")
    if not colon:
        return word
    import_outside_module(module)
    if env_id not in FAMILIES:
        hint = nearest_name(env_id, FAMILIES)
        raise TaskError(f"{module} registers no task family {env_id!r}{hint}")
    return env_id


def import_outside(arguments: Sequence[str]) -> list[str]:
    """Import the modules that ``--module`` and ``--algorithms MODULE:NAME`` name.

    That comes before an option is parsed, because an algorithm brings options of its own.

    Args:
        arguments: What follows a command's name.

    Returns:
        The arguments, with every algorithm by its name alone.

    Raises:
        TaskError: A module cannot be imported.
        ValueError: A module registers no algorithm of that name.
    """
    plain, option = [], ""
    for word in arguments:  # most commands name no module, and import none
        head, value = "", word
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            head = option + equals
        if option == "--module" and value:
            import_outside_module(value)
            option = ""
        elif option in ("--algorithm", "--algorithms"):
            value = _import_algorithm(value)
        plain.append(head + value)
    return plain


def _import_algorithm(word: str) -> str:
    """Import the module that a word such as ``my_package.my_module:my_maml`` names, if it does."""
    module, colon, name = word.partition(":")
    if not colon:
        return word
    import_outside_module(module)
    from metarobot.algorithms import algorithm_class

    algorithm_class(name)  # says which names there are
    return name
