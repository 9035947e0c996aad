"""Options of a command: a frozen dataclass, read by argparse, with errors in one line.

Only modules named on the command line are imported. A module that a file names, such as the
configuration of a run or a variant, never is: a file may come from a stranger.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NoReturn,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from metarobot.config import docstrings
from metarobot.envs import FAMILIES, TaskError, nearest_name
from metarobot.envs.checks import show

OptionsT = TypeVar("OptionsT")
_WIDEST = 100
"""Characters of a line of help."""
_MOST_CHOICES = 30
"""Characters of choices that stand in the place of a value."""
_TAKES_EMPTY_WORDS = "--ignore-label"  # an empty cell
_NOT_IMPORTED = {"Variant": Any, "SceneRecord": Any}
"""Types of fields that are not options; their modules would import MuJoCo."""
_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "NAME", Path: "PATH"}
_UNITS = {"_s": "SECONDS", "_hz": "HZ"}
"""Name of a value by the ending of its field, which is a unit."""
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Argument(NamedTuple):
    """Appearance of a field: ``Annotated[Path, Argument("RUN", positional=True)]``."""

    metavar: str = ""
    """Name of its value; by default it follows from the type and the unit."""
    positional: bool = False
    """Whether it is given by its place."""
    name: str = ""
    """Option, if not called as the field."""


RunArgument = Annotated[Path, Argument("RUN", positional=True)]
"""Positional argument: the run of a command."""
TaskArgument = Annotated[tuple[str, ...], Argument("NAME=VALUE")]
"""Values of task parameters; `parse_task` reads them."""


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


class Parser(argparse.ArgumentParser):
    """Parser of a command's words; its arguments are fields of dataclasses.

    Args:
        prog: The command as it was called.
        about: Its description, a docstring.
        shown: Fields that ``--help`` shows, all if empty; ``--help-all`` shows every one.
        everything: Whether ``--help-all`` is asked for.
    """

    def __init__(
        self, prog: str, about: str, shown: Collection[str] = (), *, everything: bool = False
    ) -> None:
        super().__init__(
            prog,
            usage=f"{prog} [options]",
            description=filled(cleandoc(about)),
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=30, width=_width()
            ),
            allow_abbrev=False,
        )
        self._shown = () if everything else shown
        self._names = ["-h", "--help"]
        if shown:
            self.add_argument("--help-all", action="help", help="show every option and exit")
            self._names.append("--help-all")

    def add(
        self,
        options: type,
        names: Iterable[str] | None = None,
        *,
        values: Any = None,
        title: str = "",
        sparse: bool = False,
    ) -> None:
        """Add an argument for every field of a dataclass.

        Args:
            options: The dataclass; a field that is one itself becomes a group of arguments.
            names: Its fields, in the order of help; all by default.
            values: Values to show as defaults, as attributes; by default those of the fields.
            title: Title of the group of arguments in help.
            sparse: Whether `read` returns only what is given, and help shows `values` alone.
        """
        group = self.add_argument_group(title) if title else self
        known = {each.name: each for each in fields(options)}
        types, texts = _types(options), docstrings(options)
        if names is None:  # what is required comes first
            names = sorted(known, key=lambda n: (_default(known[n]) is not MISSING, n == "module"))
        for name in names:
            default = getattr(values, name, None) if values or sparse else _default(known[name])
            text = texts.get(name, "")
            if is_dataclass(types[name]):
                self.add(types[name], values=default, title=text.rstrip(".").lower())  # type: ignore
            else:
                self._add(group, name, types[name], default, text, sparse)

    def _add(
        self, group: Any, name: str, of_type: Any, default: Any, text: str, sparse: bool
    ) -> None:
        """Add one argument."""
        shape, kind = Argument(), of_type
        if get_origin(kind) is Annotated:
            kind, shape = get_args(kind)
        if type(None) in get_args(kind):
            kind = get_args(kind)[0]
        several = get_origin(kind) is tuple
        kind = get_args(kind)[0] if several else kind
        required = default is MISSING
        option = f"--{(shape.name or name).replace('_', '-')}"
        how: dict[str, Any] = {"default": argparse.SUPPRESS if sparse or required else default}
        if kind is bool:
            option = f"--no-{option[2:]}" if default else option
            text += " (on by default: this turns it off)" * bool(default)
            how |= {"action": "store_false" if default else "store_true", "dest": name}
        else:
            choices = get_args(kind) if get_origin(kind) is Literal else ()
            metavar = shape.metavar or _metavar(name, kind, choices)
            how |= {"type": _reader(kind, choices), "metavar": metavar}
            if choices and "{" not in metavar:
                text += f" One of {', '.join(choices)}."
            text += _shown_default(default, shape.positional)
        if several:
            how["nargs"] = "*" if not required and (default or shape.positional) else "+"
        elif shape.positional and not required:
            how["nargs"] = "?"
        hidden = self._shown and name not in self._shown
        how["help"] = argparse.SUPPRESS if hidden else text.strip().replace("%", "%%")
        if shape.positional:
            mark = f"{how['metavar']}{' ...' * several}"
            mark = mark if required else f"[{mark}]"
            self.usage = f"{str(self.usage).removesuffix(' [options]')} {mark} [options]"
            group.add_argument(name, **how)
        else:
            self._names.append(option)
            group.add_argument(option, **{"dest": name, "required": required} | how)

    def error(self, message: str) -> NoReturn:
        """Refuse words; argparse calls it."""
        raise ValueError(re.sub(r"^argument (\S+): ", r"\1 ", message))

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse words.

        Raises:
            ValueError: They are wrong; the message is one line.
            SystemExit: Help was asked for and printed.
        """
        found, others = self.parse_known_args(self._checked(words))
        if others:
            raise ValueError(f"unexpected argument {show(others[0])}")
        return found

    def _checked(self, words: Sequence[str]) -> list[str]:
        """Return words with hyphens in options; refuse empty words, and wrong or double options."""
        given, checked = list[str](), list[str]()
        for word in words:
            option, is_set, value = word.partition("=")
            is_option = option.startswith("--")
            is_empty = not word and given[-1:] != [_TAKES_EMPTY_WORDS]
            if is_empty or (is_option and is_set and not value):
                of = option or "".join(given[-1:])
                raise ValueError(f"{of} is given an empty word" if of else "an argument is empty")
            if is_option:
                option = option.replace("_", "-")
                if option not in self._names:
                    near = difflib.get_close_matches(option, self._names, n=1)
                    hint = f", did you mean {near[0]}?" if near else ""
                    raise ValueError(f"no option {show(option)}{hint}")
                if option in given:
                    raise ValueError(f"{option} is given twice")
                given.append(option)
            checked.append(f"{option}{is_set}{value}" if is_option else word)
        return checked


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST) - 2


def filled(text: str) -> str:
    """Return paragraphs in lines as wide as help."""
    paragraphs = (" ".join(lines.split()) for lines in text.split("\n\n"))
    return "\n\n".join(textwrap.fill(lines, _width()) for lines in paragraphs)


@cache
def _types(options: type) -> dict[str, Any]:
    return get_type_hints(options, localns=_NOT_IMPORTED, include_extras=True)


def _default(field: Field[Any]) -> Any:
    """Return the default of a field, MISSING if it has none."""
    factory = field.default_factory
    return field.default if factory is MISSING else factory()


def _shown_default(default: Any, positional: bool) -> str:
    if default is MISSING:
        return "" if positional else " (required)"
    if default in (None, "", ()):
        return ""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f" (default: {shown})"


def _metavar(name: str, kind: Any, choices: tuple[str, ...]) -> str:
    if choices:
        listed = f"{{{','.join(choices)}}}"
        return listed if len(listed) <= _MOST_CHOICES else "NAME"
    units = (shown for ending, shown in _UNITS.items() if name.endswith(ending))
    return next(units, _METAVARS.get(kind, "VALUE"))


def _reader(kind: Any, choices: tuple[str, ...]) -> Callable[[str], Any]:
    """Return the function that reads a word, and raises argparse's error if it cannot."""

    def read(word: str) -> Any:
        if choices and word not in choices:
            allowed = f"one of {', '.join(choices)}{nearest_name(word, choices)}"
        elif kind not in (int, float):
            return kind(word) if kind is Path else word
        else:
            try:
                return kind(word)
            except ValueError:
                allowed = "an integer" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"takes {allowed}, got {show(word)}")

    return read


def parse(
    options: type[OptionsT], arguments: Sequence[str], prog: str, shown: Collection[str] = ()
) -> OptionsT:
    """Parse the arguments after a command's name.

    Args:
        options: The dataclass to return.
        arguments: The words.
        prog: The command as it was called.
        shown: As of `Parser`.

    Raises:
        ValueError: The arguments are wrong; the message is one line.
        SystemExit: Help was asked for and printed.
    """
    parser = Parser(prog, options.__doc__ or "", shown, everything="--help-all" in arguments)
    parser.add(options)
    return build(options, parser.read(import_outside(arguments)))


def build(options: type[OptionsT], found: argparse.Namespace, **others: Any) -> OptionsT:
    """Make a dataclass of what was found, and of other values."""
    values = {}
    for name in (each.name for each in fields(options)):  # type: ignore
        kind = _types(options)[name]
        if is_dataclass(kind):
            values[name] = build(kind, found)  # type: ignore
        elif hasattr(found, name):
            value = getattr(found, name)
            values[name] = tuple(value) if isinstance(value, list) else value
    return options(**values | others)


def arguments_of(options: Any, *without: str, **changed: Any) -> dict[str, Any]:
    """Return options, except some, as arguments of the function that a command calls."""
    names = (field.name for field in fields(options))
    return {n: getattr(options, n) for n in names if n not in ("module", *without)} | changed


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
