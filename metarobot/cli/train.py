"""`metarobot train`: its options are common fields and the options of all algorithms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar

from metarobot.algorithms import (
    ALGORITHMS,
    STANDARD_ALGORITHMS,
    option_readers,
    options_class,
    require_algorithm,
    require_readers,
)
from metarobot.cli.console import OK
from metarobot.cli.parsing import (
    Argument,
    OutsideOptions,
    Parser,
    arguments_of,
    build,
    filled,
    import_family,
    import_outside,
    parse,
)
from metarobot.config import (
    COMMON_NAMES,
    MOST_LAYERS,
    MOST_UNITS,
    PRESETS,
    CommonConfig,
    RunConfig,
    find_preset,
)
from metarobot.console import make_console, print_line

_NOT_OPTIONS = ("env_id", "variant", "scene")
"""Common fields that preset, --variant and --scene set."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OutsideOptions):
    """Options of commands that train; `training_parser` adds those of the configuration."""

    preset: Annotated[str, Argument("PRESET", positional=True)]
    """Task family, with its default configuration; MODULE:ID for one of yours, such as
    my_package.my_family:my/Push-v0."""
    variant: str | None = None
    """Train on a variant of the family: a .toml file, or the name of one that `metarobot list
    FAMILY` names."""
    scene: Path | None = None
    """Train in a scene of yours, an MJCF file, instead of the family's own: docs/scenes.md."""
    initial_policy: Path | None = None
    """Begin with the parameters in this .safetensors file, of a run or from `metarobot import`,
    instead of random ones."""
    wandb: bool = False
    """Log every metric to Weights & Biases as well: needs `pip install 'metarobot[wandb]'`; with
    WANDB_MODE=offline nothing leaves this machine."""

    def config(self, algorithms: Sequence[str], given: Mapping[str, Any]) -> RunConfig:
        """Return the configuration of a run.

        Args:
            algorithms: Algorithms to train.
            given: Fields and options on the command line; every algorithm gets those it reads.

        Raises:
            ValueError: None of the algorithms reads an option that was given.
        """
        from metarobot.envs import SceneRecord, find_variant  # after help: they import MuJoCo

        if given.get("hidden_sizes") == ():
            raise ValueError(
                f"--hidden-sizes must name the width of every layer: 1 to {MOST_LAYERS} integers "
                f"in [1, {MOST_UNITS}]"
            )
        options = {name: value for name, value in given.items() if name not in COMMON_NAMES}
        require_readers(options, algorithms)
        common = {name: value for name, value in given.items() if name in COMMON_NAMES}
        variant = None if self.variant in (None, "none") else find_variant(self.variant)
        scene = None if self.scene is None else SceneRecord.of(self.scene)
        preset = replace(find_preset(self.preset), **common, variant=variant, scene=scene)
        return preset.with_options(**options)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainingOptions):
    """Train the algorithms of one task family and one seed, each with the same budget."""

    out: Path | None = None
    """Run folder to make; runs/FAMILY-seedSEED if not given, runs/FAMILY-VARIANT-seedSEED for a
    variant."""
    algorithms: tuple[str, ...] = ()
    """Meta-learners to train, and references to compare them with; latent, maml,
    domain_randomisation and oracle if not given. MODULE:NAME for one of yours. With --resume:
    algorithms to add to the run."""
    overwrite: bool = False
    """Replace a run that is there already."""
    resume: Path | None = None
    """Run folder to resume exactly; its configuration must be this one.
    `metarobot train --resume RUN` takes the configuration from the folder."""

    def __post_init__(self) -> None:
        """Refuse unknown algorithms, and --initial-policy with --resume."""
        require_algorithms(self.algorithms)
        if self.initial_policy is not None and self.resume is not None:
            raise ValueError("--initial-policy does not go with --resume: the run has begun")


SHOWN = (
    *("preset", "algorithms", "seed", "total_steps", "out", "resume", "overwrite", "variant"),
    *("scene", "num_tasks", "episodes_per_task", "hidden_sizes", "num_threads"),
)
"""Options that ``metarobot train --help`` shows."""


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(OutsideOptions):
    """Resume an interrupted run exactly, or extend its budget or its algorithms."""

    resume: Path
    """Run folder."""
    algorithms: tuple[str, ...] = ()
    """Algorithms to add to the run, trained with its configuration."""
    total_steps: int | None = None
    """New budget of control steps of every algorithm, at least the present one. The result is that
    of a run with this budget from the beginning."""
    num_threads: int | None = None
    """Threads from now on, 0 for every processor; those of the run if not given."""
    wandb: bool = False
    """Log every metric to Weights & Biases as well, as in a new run."""

    def __post_init__(self) -> None:
        """Refuse unknown algorithms."""
        require_algorithms(self.algorithms)


TrainingT = TypeVar("TrainingT", bound=TrainingOptions)


def make_parser(prog: str) -> Parser:
    """Return the parser with every option, for completion."""
    return training_parser(TrainOptions, prog, "", SHOWN, everything=True)


def training_parser(
    own: type[TrainingOptions],
    prog: str,
    preset: str,
    shown: Sequence[str],
    without: Iterable[str] = (),
    *,
    everything: bool = False,
) -> Parser:
    """Return the parser of a command that trains.

    Args:
        own: Options of the command besides those of the configuration.
        prog: The command as it was called.
        preset: Preset whose values help shows as defaults; none if empty.
        shown: As of `Parser`, and so is ``everything``.
        without: Fields of the configuration that are not options.
        everything: Whether help shows every option.
    """
    parser = Parser(prog, own.__doc__ or "", shown, everything=everything)
    values = find_preset(preset) if preset else None
    names = [name for name in COMMON_NAMES if name not in (*_NOT_OPTIONS, *without)]
    known = [*own.__dataclass_fields__]
    first = [name for name in shown if name in known]
    parser.add(own, [*first, *(name for name in known if name not in first)])
    parser.add(CommonConfig, names, values=values, title="configuration", sparse=True)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, readers in option_readers().items():
        groups.setdefault(readers, []).append(name)
    for readers, names in groups.items():
        title = f"read by {', '.join(readers)}"
        _add_options(parser, readers[0], names, values, title)
    parser.epilog = filled(
        f"presets: {', '.join(PRESETS)}\n\n"
        f"{prog} --help ALGORITHM shows the options of one: {', '.join(ALGORITHMS)}"
    )
    return parser


def _add_options(
    parser: Parser, algorithm: str, names: Iterable[str], preset: RunConfig | None, title: str
) -> None:
    options = options_class(algorithm)
    values = SimpleNamespace(**vars(options()) | dict(preset.options)) if preset else None
    parser.add(options, names, values=values, title=title, sparse=True)


def print_algorithm_help(prog: str, preset: str, algorithm: str) -> None:
    """Print the options of one algorithm, with the defaults of a preset, its own if empty."""
    require_algorithm(algorithm)
    values = find_preset(preset) if preset else RunConfig()
    options = options_class(algorithm)
    parser = Parser(f"{prog} {preset or 'PRESET'} --algorithms {algorithm}", options.__doc__ or "")
    names = options.names(free=True)
    _add_options(parser, algorithm, names, values, f"options of {algorithm}")
    parser.print_help()


def require_algorithms(names: Sequence[str]) -> None:
    """Refuse an unknown algorithm, and one that is named twice."""
    for name in names:
        require_algorithm(name)
        if list(names).count(name) > 1:
            raise ValueError(f"--algorithms names {name} twice: name it once")


def parse_training(
    own: type[TrainingT],
    arguments: Sequence[str],
    prog: str,
    shown: Sequence[str],
    without: Iterable[str] = (),
) -> tuple[TrainingT, dict[str, Any]]:
    """Parse the arguments of a command that trains, which begin with a preset.

    Args:
        own: Options of the command besides those of the configuration.
        arguments: The words.
        prog: The command as it was called.
        shown: As of `Parser`.
        without: Fields of the configuration that are not options.

    Returns:
        The options of the command, and the fields and options of the configuration given.

    Raises:
        ValueError: The arguments are wrong.
        SystemExit: Help was asked for and printed.
    """
    name, *rest = arguments or [""]
    if is_help := name in ("-h", "--help", "--help-all"):
        name, rest = "", [*arguments]
    if (not name or name.startswith("-")) and not is_help:
        raise ValueError(f"name a preset first, one of {', '.join(PRESETS)}, or --resume a run")
    name = import_family(name)
    rest = import_outside(rest)  # before options are known: an algorithm brings its own
    if rest[-2:-1] in (["-h"], ["--help"]):
        print_algorithm_help(prog, name, rest[-1])
        raise SystemExit(OK)
    everything = "--help-all" in rest
    parser = training_parser(own, prog, name, shown, without, everything=everything)
    found = parser.read([name, *rest] if name else rest)
    options = build(own, found)
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(found).items()
        if name in {*COMMON_NAMES, *option_readers()} - {*own.__dataclass_fields__}
    }
    return options, given


_WITH_RESUME = ("--algorithms", "--total-steps", "--num-threads", "--wandb", "--module")
_NOTHING = "nothing to do, all algorithms are trained"


def _refuse_with_resume(options: Iterable[str]) -> None:
    """Refuse options of a new run with ``--resume``."""
    for option in options:
        if option not in ("--resume", "--help", *_WITH_RESUME):
            raise ValueError(
                f"{option} does not go with --resume RUN, which goes on with the configuration in "
                f"the folder: possible are {', '.join(_WITH_RESUME)}"
            )


def run(arguments: list[str], prog: str) -> int:
    """Train a new run, or resume one."""
    words = [word.partition("=")[0].replace("_", "-") for word in arguments if word[:2] == "--"]
    if "--resume" in words and arguments[0].startswith("-"):
        _refuse_with_resume(words)
        resumed = parse(ResumeOptions, arguments, prog)
        return _resume(resumed.resume, **arguments_of(resumed, "resume"))
    options, given = parse_training(TrainOptions, arguments, prog, SHOWN)
    algorithms = options.algorithms or STANDARD_ALGORITHMS
    config = options.config(algorithms, given)
    from metarobot.api import train  # after help and refusals, which do not wait for torch
    from metarobot.learning.distributed import restarted_by_torchrun
    from metarobot.training.run import default_run_folder

    out = options.resume or options.out or default_run_folder(config)
    if options.resume or (restarted_by_torchrun() and out.exists()):
        besides = options.algorithms if options.resume else ()
        return _resume(out, expected=config, algorithms=besides, wandb=options.wandb)
    train(
        config,
        algorithms=algorithms,
        out=out,
        overwrite=options.overwrite,
        initial_policy=options.initial_policy,
        wandb=options.wandb,
    )
    print_line(make_console(), f"trained {', '.join(algorithms)}: {out}")
    return OK


def _resume(folder: Path, **values: Any) -> int:
    from metarobot.api import resume  # after help, which does not wait for torch

    trained = resume(folder, **values)
    done = f"trained {', '.join(trained)}" if trained else _NOTHING
    print_line(make_console(), f"{done}: {folder}")
    return OK
