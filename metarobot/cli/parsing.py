"""The parser of every command's options: what is wrong with them is said in one line."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import make_dataclass, replace
from typing import TypeVar

import tyro

from metarobot.algorithms import ALGORITHMS
from metarobot.cli.options import ResumeCommand, TrainCommand
from metarobot.cli.outside import import_outside
from metarobot.cli.train_options import named_options, preset_choice
from metarobot.config import MOST_LAYERS, MOST_UNITS, PRESETS, find_preset
from metarobot.reporting.films import GridSize

CommandT = TypeVar("CommandT")
MARKERS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.CascadeSubcommandArgs,
    tyro.conf.FlagCreatePairsOff,
)
"""How options are spelled, and where they may stand."""
_LONGEST_COMPLAINT = 600
"""Characters of tyro's complaint that an error shows."""
_WITH_RESUME = ("--algorithms", "--total-steps", "--num-threads", "--wandb", "--module")
"""Options of a run that goes on by what its folder says."""
_TAKES_EMPTY_WORDS = "--ignore-label"  # an empty cell
_HELP_TEXT = " " * 8  # how far tyro indents the help text of an option that it names


def parse(command: type[CommandT], arguments: Sequence[str], prog: str) -> CommandT:
    """Parse the arguments of one command.

    Args:
        command: Its options.
        arguments: What follows the command's name.
        prog: How the command was called, for its help.

    Raises:
        ValueError: The arguments are wrong; the message is one line.
        SystemExit: Help was asked for and printed.
    """
    _check_words(arguments)
    arguments = import_outside(arguments)
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(command, args=list(arguments), prog=prog, config=MARKERS)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise ValueError(one_line(complaint.getvalue())) from None


def parse_train(arguments: Sequence[str], prog: str) -> TrainCommand | ResumeCommand:
    """Parse the arguments of `metarobot train`: a preset with its options, or a run to resume.

    Raises:
        ValueError: The arguments are wrong; the message is one line.
        SystemExit: Help was asked for and printed.
    """
    arguments = import_outside(arguments)  # before options are known: an algorithm brings its own
    has_preset = bool(arguments) and not arguments[0].startswith("-")
    if not has_preset and "--resume" in map(_option_name, arguments):
        _check_resume_options(arguments)
        command = parse(ResumeCommand, arguments, prog)
    else:
        _check_preset(arguments)
        command = parse(train_command(arguments[0]), arguments, prog)
        command = replace(command, given=named_options(arguments))
        if "--hidden-sizes" in map(_option_name, arguments):
            _check_widths(command.config.hidden_sizes)
    if "--algorithms" in arguments and not command.algorithms:
        raise ValueError(f"--algorithms must name at least one of {', '.join(ALGORITHMS)}")
    return command


def _check_widths(hidden_sizes: Sequence[int]) -> None:
    """Refuse an option that has lost its values: it would ask for a linear policy."""
    if not hidden_sizes:
        raise ValueError(
            f"--hidden-sizes must name the width of every layer: 1 to {MOST_LAYERS} integers in "
            f"[1, {MOST_UNITS}]"
        )


def _check_resume_options(arguments: Sequence[str]) -> None:
    """Refuse options that a run has already."""
    for argument in arguments:
        name = _option_name(argument)
        if name.startswith("--") and name not in (*_WITH_RESUME, "--resume", "--help"):
            raise ValueError(
                f"{name} does not go with --resume RUN, which goes on with the configuration in "
                f"the folder: possible are {', '.join(_WITH_RESUME)}"
            )


def _option_name(word: str) -> str:
    """Return the name of an option without its value, as it is spelled here."""
    return word.partition("=")[0].replace("_", "-")


def _check_words(arguments: Sequence[str]) -> None:
    """Refuse what a parser would take for something else: nothing, or an option given twice."""
    given: dict[str, None] = {}
    for before, word in zip(("", *arguments), arguments, strict=False):
        option, is_set, value = word.partition("=")
        if not word and [*given][-1:] == [_TAKES_EMPTY_WORDS]:
            continue
        if not word or (is_set and not value and option.startswith("--")):
            of = option or (before if before.startswith("--") else "")
            raise ValueError(f"{of} is given an empty word" if of else "an argument is empty")
        if "\0" in word:
            raise ValueError(f"{word!r} holds a null byte, which no name can")
        if option.startswith("--"):
            option = option.replace("_", "-")
            if option in given:
                raise ValueError(f"{option} is given twice")
            given[option] = None


def _check_preset(arguments: Sequence[str]) -> None:
    """Refuse a missing or unknown preset by naming those there are."""
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        return
    if not name or name.startswith("-"):
        raise ValueError(f"name a preset first, one of {', '.join(PRESETS)}, or --resume a run")
    find_preset(name)


def train_command(name: str = "") -> type[TrainCommand]:
    """Return the options of `metarobot train`; a family of the user's is one more preset."""
    presets = PRESETS if not name or name.startswith("-") else {**PRESETS, name: find_preset(name)}
    fields = [("config", preset_choice(presets))]
    return make_dataclass("TrainCommand", fields, bases=(TrainCommand,), frozen=True, kw_only=True)


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


def parse_grid(size: str | None, parameters: Sequence[str]) -> GridSize | None:
    """Parse COLUMNSxROWS; None if it was not given.

    Raises:
        ValueError: It has another form, or is too large.
    """
    if size is None:
        return None
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", size, re.ASCII)
    if not found:
        raise ValueError(f"--grid takes COLUMNSxROWS such as 3x3, got {size!r}")
    columns, rows = map(int, found.groups())
    return GridSize(columns=columns, rows=rows, parameters=tuple(parameters))


def one_line(box: str) -> str:
    """Condense tyro's boxed complaint to its first paragraph and the name it thinks was meant."""
    first, *others = _paragraphs(box)
    # The culprit is a field or class of ours unless it is an option, which keeps its name.
    text = re.sub(r"^Error parsing (\w+: )?", "", " ".join(first)) or "wrong arguments"
    if len(text) > _LONGEST_COMPLAINT:  # of digits by the thousand
        text = f"{text[:_LONGEST_COMPLAINT]}..."
    for paragraph in others:
        if paragraph[:1] == ["Perhaps you meant:"] and len(paragraph) > 1:
            text += f", did you mean {paragraph[1].split()[0].rstrip(',')}?"
    return text[0].lower() + text[1:] + _nearest_choice(text)


def _paragraphs(box: str) -> list[list[str]]:
    """Return the paragraphs between a box's rules, without the help texts that it repeats.

    Where the terminal knows no more than ASCII, rules are hyphens, and the title has one as well.
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


def _nearest_choice(text: str) -> str:
    """Name the nearest of the choices that a complaint quotes."""
    quoted = re.findall(r"'([^']*)'", text)
    if not text.lower().startswith("invalid choice") or len(quoted) < 3:
        return ""
    close = difflib.get_close_matches(quoted[0], quoted[2:], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
