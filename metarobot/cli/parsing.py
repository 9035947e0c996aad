"""Parser of options: tyro, with errors in one line, and the user's modules imported first.

Only modules named on the command line are imported. A module that a file names, such as the
configuration of a run or a variant, never is: a file may come from a stranger.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from metarobot.envs import FAMILIES, TaskError, nearest_name

OptionsT = TypeVar("OptionsT")
RunArgument = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
"""Positional argument: the run of a command."""
MARKERS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.FlagCreatePairsOff,
)
"""tyro's markers for the spelling of options."""
_LONGEST_MESSAGE = 600
"""Most characters of tyro's message that an error shows."""
_TAKES_EMPTY_WORDS = "--ignore-label"  # an empty cell
_HELP_TEXT = " " * 8  # how far tyro indents the help text of an option that it names
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, kw_only=True)
class OutsideOptions:
    """Option to import a task family or an algorithm from outside the package."""

    module: str | None = None
    """Module that registers a task family or an algorithm of yours, such as my_package.my_family;
    imported first. Name it again for every command: a run does not import it."""


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(OutsideOptions):
    """Options that name a policy of a run."""

    run: RunArgument
    """Run folder, or the name of a run of the package."""
    algorithm: str | None = None
    """Algorithm of the policy; if not given, the first of latent, maml, others that adapts."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""


def parse(options: type[OptionsT], arguments: Sequence[str], prog: str) -> OptionsT:
    """Parse the arguments after a command's name; ``prog`` is the command as it was called.

    Raises:
        ValueError: The arguments are wrong; the message is one line.
        SystemExit: Help was asked for and printed.
    """
    _check_words(arguments)
    arguments = import_outside(arguments)
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(options, args=list(arguments), prog=prog, config=MARKERS)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise ValueError(one_line(complaint.getvalue())) from None


def arguments_of(options: Any, *without: str, **changed: Any) -> dict[str, Any]:
    """Return options, except some, as arguments of the function that a command calls."""
    names = (field.name for field in fields(options))
    return {n: getattr(options, n) for n in names if n not in ("module", *without)} | changed


def option_names(arguments: Sequence[str]) -> set[str]:
    """Return the field names of the options given: ``inner_lr`` for ``--inner-lr=0.1``."""
    words = (word.partition("=")[0] for word in arguments if word.startswith("--"))
    return {word[2:].removeprefix("no-").replace("-", "_") for word in words}


def _check_words(arguments: Sequence[str]) -> None:
    """Refuse an empty argument, which tyro takes for the working folder, and repeated options."""
    given: list[str] = []
    for word in arguments:
        option, is_set, value = word.partition("=")
        is_option = option.startswith("--")
        is_empty = not word and given[-1:] != [_TAKES_EMPTY_WORDS]
        if is_empty or (is_option and is_set and not value):
            of = option or "".join(given[-1:])
            raise ValueError(f"{of} is given an empty word" if of else "an argument is empty")
        if is_option:
            option = option.replace("_", "-")
            if option in given:
                raise ValueError(f"{option} is given twice")
            given.append(option)


def one_line(box: str) -> str:
    """Condense tyro's boxed message to its first paragraph and its suggestion.

    tyro's hook for errors is private, and may change with any release; if the box changes, only the
    layout of errors suffers.
    """
    first, *others = _paragraphs(box)
    # Remove names of fields and classes; the names of options stay.
    text = re.sub(r"^Error parsing (\w+: )?", "", " ".join(first)) or "wrong arguments"
    if len(text) > _LONGEST_MESSAGE:  # of digits by the thousand
        text = f"{text[:_LONGEST_MESSAGE]}..."
    for paragraph in others:
        if paragraph[:1] == ["Perhaps you meant:"] and len(paragraph) > 1:
            text += f", did you mean {paragraph[1].split()[0].rstrip(',')}?"
    quoted = re.findall(r"'([^']*)'", text)
    if text.lower().startswith("invalid choice") and len(quoted) > 2:
        text = text.rstrip(".") + nearest_name(quoted[0], quoted[2:])
    return text[0].lower() + text[1:]


def _paragraphs(box: str) -> list[list[str]]:
    """Return the paragraphs between a box's rules, without the help texts that it repeats.

    On an ASCII terminal rules are hyphens, and the title has one as well.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    paragraphs: list[list[str]] = [[]]
    for line in plain.splitlines():
        text = re.sub(r"^(│ |  )", "", line).rstrip("│ ")
        if text.strip("─- ") == "" and text:
            paragraphs.append([])
        elif text and not text.startswith(("╭", "╰", _HELP_TEXT)):
            paragraphs[-1].append(text.strip())
    has_title = len(paragraphs) > 1 and "╭" not in plain
    return paragraphs[has_title:]


def parse_task(settings: Sequence[str]) -> dict[str, float] | None:
    """Parse NAME=VALUE settings; None if there is none.

    Raises:
        ValueError: A setting has another form, or sets a name twice.
    """
    task: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name in task:
            raise ValueError(f"--task sets {name} twice")
        try:
            task[name] = float(value)
        except ValueError:
            example = "block_mass_kg=1.5"
            raise ValueError(
                f"--task takes NAME=VALUE such as {example}, got {setting!r}"
            ) from None
    return task or None


def outside_modules(arguments: Sequence[str]) -> list[str]:
    """Return the user's modules that the arguments name.

    A process that trains for this one imports them too.
    """
    preset = arguments[0] if arguments else ""
    family = [preset.partition(":")[0]] if ":" in preset and not preset.startswith("-") else []
    return [*family, *_split_modules(arguments)[1]]


def import_outside(arguments: Sequence[str]) -> list[str]:
    """Import the modules that ``--module`` and ``--algorithms MODULE:NAME`` name.

    Called before options are parsed, because an algorithm adds options.

    Returns:
        The arguments, with every algorithm by its name alone.
    """
    plain, modules = _split_modules(arguments)
    for module in modules:
        import_outside_module(module)
    return plain


def _split_modules(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments without the modules of algorithms, and all modules."""
    plain, modules, option = list[str](), list[str](), ""
    for word in arguments:
        head, value = "", word
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            head = option + equals
        if option == "--module" and value:
            modules.append(value)
            option = ""
        elif option in ("--algorithm", "--algorithms") and ":" in value:
            module, _, value = value.partition(":")
            modules.append(module)
        plain.append(head + value)
    return plain, modules


def import_family(word: str) -> str:
    """Import the module of a family, as in ``my_package.my_family:my/Push-v0``; return its id.

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


def import_outside_module(name: str) -> None:
    """Import a module that registers a family or an algorithm, also from the working folder.

    Raises:
        TaskError: There is no such module, or it fails; the message is one line.
    """
    if not _MODULE.fullmatch(name):
        raise TaskError(f"a module's name is like my_package.my_family, got {name!r}")
    find_in_working_folder()
    try:
        importlib.import_module(name)
    except TaskError:  # from `register_family`, already one line
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(f"the module {name} cannot be imported: {why}") from error


def find_in_working_folder() -> None:
    """Append the working folder to Python's path: installed modules take precedence."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
