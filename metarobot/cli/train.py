"""`metarobot train`: its options are common fields and the options of all algorithms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from metarobot.algorithms import (
    ALGORITHMS,
    STANDARD_ALGORITHMS,
    algorithm_class,
    option_readers,
    require_readers,
)
from metarobot.api import resume, train
from metarobot.cli.console import OK
from metarobot.cli.parsing import OutsideOptions, import_family, import_outside, option_names, parse
from metarobot.config import (
    COMMON_NAMES,
    MOST_LAYERS,
    MOST_UNITS,
    PRESETS,
    CommonConfig,
    RunConfig,
    docstrings,
    find_preset,
)
from metarobot.console import make_console, print_line
from metarobot.envs import SceneRecord, find_variant
from metarobot.learning.distributed import restarted_by_torchrun
from metarobot.training.run import default_run_folder

_HIDDEN = ("env_id", "variant", "scene")
"""Common fields that are not options: preset, --variant and --scene set them."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OutsideOptions):
    """Options of commands that train; `options_class` adds those of the configuration."""

    preset: Any
    """Task family, with its default configuration; MODULE:ID for one of yours, such as
    my_package.my_family:my/Push-v0."""
    variant: str | None = None
    """Train on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names."""
    scene: Path | None = None
    """Train in a scene of yours, an MJCF file, instead of the family's own: docs/scenes.md."""
    initial_policy: Path | None = None
    """Begin with the parameters in this .safetensors file, of a run or from `metarobot import`,
    instead of random ones."""
    wandb: bool = False
    """Log every metric to Weights & Biases as well: needs `pip install 'metarobot[wandb]'`; with
    WANDB_MODE=offline nothing leaves this machine."""

    def config(self, algorithms: Sequence[str], given: set[str]) -> RunConfig:
        """Return the configuration of a run.

        Args:
            algorithms: Algorithms to train.
            given: Options on the command line; every algorithm that reads them gets them.

        Raises:
            ValueError: None of the algorithms reads an option that was given.
        """
        if "hidden_sizes" in given and not getattr(self, "hidden_sizes", True):
            raise ValueError(
                f"--hidden-sizes must name the width of every layer: 1 to {MOST_LAYERS} integers "
                f"in [1, {MOST_UNITS}]"
            )
        options = {name: getattr(self, name) for name in option_readers() if name in given}
        require_readers(options, algorithms)
        there = (name for name in COMMON_NAMES if hasattr(self, name) and name not in _HIDDEN)
        variant = None if self.variant in (None, "none") else find_variant(self.variant)
        scene = None if self.scene is None else SceneRecord.of(self.scene)
        common = {name: getattr(self, name) for name in there}
        preset = dataclasses.replace(
            find_preset(self.preset), **common, variant=variant, scene=scene
        )
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


def options_class(own: type[TrainingOptions], preset: str = "", *without: str) -> Any:
    """Return the options of a command that trains, with a preset's values.

    Args:
        own: Class with the other options of the command.
        preset: The preset, or a family's id; the defaults if empty.
        without: Fields of the configuration that are not options.
    """
    values = find_preset(preset) if preset else RunConfig()
    names = tuple(dict.fromkeys([*PRESETS, *filter(None, [preset])]))
    declared: list[tuple[str, Any, Any]] = [
        ("preset", tyro.conf.Positional[Literal[names]], field())  # pyright: ignore
    ]
    kinds, texts = (
        get_type_hints(CommonConfig, localns={"Variant": Any, "SceneRecord": Any}),
        docstrings(CommonConfig),
    )
    for name in COMMON_NAMES:
        if name not in (*_HIDDEN, *without):
            kind = Annotated[kinds[name], tyro.conf.arg(help=texts[name])]
            declared.append((name, kind, field(default=getattr(values, name))))
    for name, readers in option_readers().items():
        options = ALGORITHMS[readers[0]].options_class
        text = f"{docstrings(options).get(name, '')} Read by {', '.join(readers)}."
        kind = Annotated[get_type_hints(options)[name], tyro.conf.arg(help=text.strip())]
        default = values.options.get(name, getattr(options(), name))
        declared.append((name, kind, field(default=default)))
    made = make_dataclass(own.__name__, declared, bases=(own,), frozen=True, kw_only=True)
    made.__doc__ = own.__doc__
    return made


Options = options_class(TrainOptions)
_WITH_RESUME = ("algorithms", "total_steps", "num_threads", "wandb", "module")
_NOTHING = "nothing to do, all algorithms are trained"


def require_algorithms(names: Sequence[str]) -> None:
    """Refuse an unknown algorithm, and one that is named twice."""
    for name in names:
        algorithm_class(name)
        if list(names).count(name) > 1:
            raise ValueError(f"--algorithms names {name} twice: name it once")


def parse_training(
    own: type[TrainingOptions], arguments: Sequence[str], prog: str, *without: str
) -> Any:
    """Parse the arguments of a command that trains, which begin with a preset.

    Its options are those of `options_class`.
    """
    name, *rest = arguments or [""]
    if name in ("-h", "--help"):
        return parse(options_class(own, "", *without), arguments, prog)
    if not name or name.startswith("-"):
        raise ValueError(f"name a preset first, one of {', '.join(PRESETS)}, or --resume a run")
    name = import_family(name)
    rest = import_outside(rest)  # before options are known: an algorithm brings its own
    options = parse(options_class(own, name, *without), [name, *rest], prog)
    _require_names(option_names(rest), options.algorithms)
    return options


def _require_names(given: set[str], algorithms: Sequence[str]) -> None:
    """Refuse ``--algorithms`` without a name."""
    if "algorithms" in given and not algorithms:
        raise ValueError(f"--algorithms must name at least one of {', '.join(ALGORITHMS)}")


def _refuse_with_resume(given: set[str]) -> None:
    """Refuse options of a new run with ``--resume``."""
    if others := sorted(given - {"resume", "help", *_WITH_RESUME}):
        name, *possible = (f"--{each.replace('_', '-')}" for each in (others[0], *_WITH_RESUME))
        raise ValueError(
            f"{name} does not go with --resume RUN, which goes on with the configuration in the "
            f"folder: possible are {', '.join(possible)}"
        )


def run(arguments: list[str], prog: str) -> int:
    """Train a new run, or resume one."""
    given = option_names(arguments)
    if "resume" in given and arguments[0].startswith("-"):
        _refuse_with_resume(given)
        resumed = parse(ResumeOptions, arguments, prog)
        _require_names(given, resumed.algorithms)
        values = {name: getattr(resumed, name) for name in ("total_steps", "num_threads", "wandb")}
        return _resume(resumed.resume, algorithms=resumed.algorithms, **values)
    options = parse_training(TrainOptions, arguments, prog)
    algorithms = options.algorithms or STANDARD_ALGORITHMS
    config = options.config(algorithms, given)
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
    trained = resume(folder, **values)
    done = f"trained {', '.join(trained)}" if trained else _NOTHING
    print_line(make_console(), f"{done}: {folder}")
    return OK
