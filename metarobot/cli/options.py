"""The options of every command, and their parser: what is wrong with them is said in one line."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from metarobot.cli.outside import import_family_module
from metarobot.config import (
    ALGORITHM_NAMES,
    STANDARD_ALGORITHMS,
    AlgorithmName,
    TrainConfig,
)
from metarobot.envs import SceneRecord, Variant
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.presets import PRESETS, find_preset
from metarobot.reporting.adaptation_video import RenderConfig

_Hidden = tyro.conf.Suppress[tyro.conf.Fixed[str]]


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainConfig):
    """The fields of a TrainConfig that are options; the preset names the family."""

    env_id: _Hidden = "metarobot/Grip-v0"
    variant: tyro.conf.Suppress[tyro.conf.Fixed[Variant | None]] = None
    scene: tyro.conf.Suppress[tyro.conf.Fixed[SceneRecord | None]] = None
    algorithm: tyro.conf.Suppress[tyro.conf.Fixed[str]] = "maml"


if TYPE_CHECKING:
    Preset = TrainOptions
else:
    Preset = Annotated[
        tyro.extras.subcommand_type_from_defaults(
            {name: TrainOptions(**vars(preset)) for name, preset in PRESETS.items()}
        ),
        tyro.conf.arg(name=""),
    ]


@dataclass(frozen=True, kw_only=True)
class OutsideOptions:
    """How a command comes to know a task family from outside the package."""

    module: str | None = None
    """Module that registers a task family of yours, such as my_package.my_family; imported first.
    A run of such a family does not import it by itself."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train the algorithms of one task family and one seed, each with the same budget."""

    config: Preset
    """Preset: a task family with the configuration that suits it. A family of yours is named
    MODULE:ID, such as my_package.my_family:my/Push-v0."""
    out: Path | None = None
    """Run folder to make; runs/FAMILY-seedSEED if not given, runs/FAMILY-VARIANT-seedSEED for a
    variant."""
    variant: str | None = None
    """Train on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names."""
    scene: Path | None = None
    """Train in a scene of yours, an MJCF file, instead of the family's own: docs/scenes.md."""
    algorithms: tuple[AlgorithmName, ...] = ()
    """Who to train: meta-learners, and the references they are compared with; maml,
    domain_randomisation and oracle if not given. With --resume: whom the run gets besides."""
    initial_policy: Path | None = None
    """Begin with the parameters in this .safetensors file, of a run or from `metarobot import`,
    instead of random ones."""
    overwrite: bool = False
    """Replace a run that is there already."""
    resume: Path | None = None
    """Run folder to go on with, as if never interrupted; its configuration must be this one.
    `metarobot train --resume RUN` takes the configuration from the folder."""

    @property
    def trained(self) -> tuple[AlgorithmName, ...]:
        """Who is trained in a new run."""
        return self.algorithms or STANDARD_ALGORITHMS

    def __post_init__(self) -> None:
        """Refuse to begin twice."""
        if self.initial_policy is not None and self.resume is not None:
            raise ValueError("--initial-policy does not go with --resume, which has begun already")


@dataclass(frozen=True, kw_only=True)
class ResumeCommand(OutsideOptions):
    """Go on with a run that was interrupted, as if it never had been, or give it more to do."""

    resume: Path
    """Run folder."""
    algorithms: tuple[AlgorithmName, ...] = ()
    """Algorithms that the run gets besides, trained with its configuration."""
    total_steps: int | None = None
    """New budget of control steps of every algorithm, at least the present one. The result is that
    of a run which had it from the beginning."""


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(OutsideOptions):
    """Measure adaptation on tasks never trained on, and write the report."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")]
    """Run folders: several seeds of one task family."""
    out: Path
    """Folder for evaluation.json, evaluation.csv, the pictures and report.html."""
    video: Path | None = None
    """MP4 from `metarobot render` to show in the report, up to 64 MiB."""
    best: bool = False
    """Measure the policies with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Measure on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names. Runs trained on a variant are measured on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the runs is now, if they were trained in one of yours that has moved."""
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How much is measured."""

    def __post_init__(self) -> None:
        """Refuse to evaluate nothing."""
        if not self.runs:
            raise ValueError("name at least one run folder")


@dataclass(frozen=True, kw_only=True)
class RenderCommand(OutsideOptions):
    """Film one task before and after adaptation, side by side."""

    run: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder."""
    replay: Path | None = None
    """Instead of a run: a file from its refused/ folder, whose episodes are shown as they were."""
    episode: int = 0
    """Number of the episode that --replay shows."""
    best: bool = False
    """Show the policy with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Film a variant of the family: a .toml file, or the name of one that `metarobot list` names.
    A run trained on a variant is filmed on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    out: Path = Path("adaptation.mp4")
    """MP4 to write."""
    task: tuple[str, ...] = ()
    """Task to film, as NAME=VALUE ..., all else nominal; drawn from the split if not given."""
    config: RenderConfig = field(default_factory=RenderConfig)
    """What is filmed."""

    def __post_init__(self) -> None:
        """Refuse to film nothing, or two things."""
        if (self.run is None) == (self.replay is None):
            raise ValueError("name a run folder, or a file with --replay")
        if self.replay is not None and self.task:
            raise ValueError("--task does not go with --replay, which has its own task")
        if self.replay is not None and self.scene is not None:
            raise ValueError("--scene does not go with --replay, which has its own conditions")
        if self.replay is not None and self.variant is not None:
            raise ValueError("--variant does not go with --replay, which has its own conditions")


@dataclass(frozen=True, kw_only=True)
class AdaptCommand(OutsideOptions):
    """Adapt a trained policy to a robot, and keep the adapted policy in a file."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or the file of an adapted policy to go on with."""
    out: Path
    """File to write, ending in .safetensors."""
    episodes: int
    """Adaptation episodes before each adaptation step."""
    steps: int = 1
    """Adaptation steps."""
    seed: int = 0
    """Seed of the action noise, and of the robot's first reset."""
    algorithm: AlgorithmName = "maml"
    """Whose policy of the run is adapted."""
    best: bool = False
    """Take the policy with the best smoothed return in training, not the last one."""
    env: str | None = None
    """Gymnasium id of the robot, as my_module:my/Robot-v0; by default the family's simulation."""
    task: tuple[str, ...] = ()
    """Task of the family's simulation, as payload_kg=4; those not named are nominal."""

    def __post_init__(self) -> None:
        """Refuse a task for a robot that holds its own."""
        if self.env is not None and self.task:
            raise ValueError("--task sets the family's simulation: leave it out with --env")


@dataclass(frozen=True, kw_only=True)
class ExportCommand(OutsideOptions):
    """Write a trained initialisation as a Stable-Baselines3 PPO model."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    out: Path
    """The .zip to write, for PPO.load."""
    algorithm: AlgorithmName = "maml"
    """Whose policy."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""


@dataclass(frozen=True, kw_only=True)
class ImportCommand(OutsideOptions):
    """Read the policy of a Stable-Baselines3 PPO model, for `metarobot train --initial-policy`.

    Stable-Baselines3 unpickles the file, which can run any code: import only what you trust.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.zip")]
    """What PPO.save has written."""
    env_id: str
    """Task family that it was trained on, such as metarobot/Grip-v0."""
    out: Path
    """The .safetensors to write."""


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Train on Grip, evaluate on unseen payloads and frictions, film it and write the report."""

    out: Path = Path("runs/demo")
    """Folder to make."""
    seed: int = 0
    """Seed of the training."""
    quick: bool = False
    """Check in about a minute that everything works; far too short to learn much."""
    overwrite: bool = False
    """Replace a demo that is there already."""


@dataclass(frozen=True, kw_only=True)
class ListCommand(OutsideOptions):
    """List the task families with their task parameters, splits and observations."""

    family: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[FAMILY]")] = None
    """Show one family alone, with its variants: a preset of `metarobot train`, its id, or
    MODULE:ID."""


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Check the installation."""

    runs_folder: Path = Path("runs")
    """Where runs are to be written."""


CommandT = TypeVar("CommandT")
_LONGEST_COMPLAINT = 600
"""Characters of tyro's complaint that an error shows."""
_WITH_RESUME = ("--resume", "--algorithms", "--total-steps", "--module", "--help")
_HELP_TEXT = " " * 8  # how far tyro indents the help text of an option that it names


def parse(command: type[CommandT], arguments: Sequence[str], prog: str) -> CommandT:
    """Parse the arguments of one command.

    Args:
        command: Its options.
        arguments: What follows the command's name.
        prog: How the command was called, for its help.

    Raises:
        ValueError: The arguments are wrong, or `--module` names no module that can be imported;
            the message is one line.
        SystemExit: Help was asked for and printed.
    """
    markers = (
        tyro.conf.OmitArgPrefixes,
        tyro.conf.OmitSubcommandPrefixes,
        tyro.conf.CascadeSubcommandArgs,
        tyro.conf.FlagCreatePairsOff,
    )
    _check_words(arguments)
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            options = tyro.cli(command, args=list(arguments), prog=prog, config=markers)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise ValueError(one_line(complaint.getvalue())) from None
    if isinstance(options, OutsideOptions) and options.module is not None:
        import_family_module(options.module)
    return options


def parse_train(arguments: Sequence[str], prog: str) -> TrainCommand | ResumeCommand:
    """Parse the arguments of `metarobot train`: a preset with its options, or a run to resume.

    Raises:
        ValueError: The arguments are wrong; the message is one line.
        SystemExit: Help was asked for and printed.
    """
    if arguments and arguments[0].startswith("--resume"):
        _check_resume_options(arguments)
        command = parse(ResumeCommand, arguments, prog)
    else:
        _check_preset(arguments)
        command = parse(_train_command(arguments[0]), arguments, prog)
    if "--algorithms" in arguments and not command.algorithms:
        raise ValueError(f"--algorithms must name at least one of {', '.join(ALGORITHM_NAMES)}")
    return command


def _check_resume_options(arguments: Sequence[str]) -> None:
    """Refuse options that a run has already."""
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in _WITH_RESUME:
            raise ValueError(
                f"{name} does not go with --resume RUN, which goes on with the configuration in "
                "the folder: possible are --algorithms, --total-steps and --module"
            )


def _check_words(arguments: Sequence[str]) -> None:
    """Refuse what a parser would take for something else: nothing, or an option given twice."""
    given: set[str] = set()
    for before, word in zip(("", *arguments), arguments, strict=False):
        option, is_set, value = word.partition("=")
        if not word or (is_set and not value and option.startswith("--")):
            of = option or (before if before.startswith("--") else "")
            raise ValueError(f"{of} is given an empty word" if of else "an argument is empty")
        if "\0" in word:
            raise ValueError(f"{word!r} holds a null byte, which no name can")
        if option.startswith("--"):
            option = option.replace("_", "-")
            if option in given:
                raise ValueError(f"{option} is given twice")
            given.add(option)


def _check_preset(arguments: Sequence[str]) -> None:
    """Refuse a missing or unknown preset by naming those there are."""
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        return
    if not name or name.startswith("-"):
        raise ValueError(f"name a preset first, one of {', '.join(PRESETS)}, or --resume a run")
    find_preset(name)


def _train_command(name: str) -> type[TrainCommand]:
    """Return the options of `metarobot train`; a family of the user's is one more preset."""
    if name in PRESETS or name.startswith("-"):
        return TrainCommand
    presets = {**PRESETS, name: find_preset(name)}
    own = {key: TrainOptions(**vars(preset)) for key, preset in presets.items()}
    choice = Annotated[tyro.extras.subcommand_type_from_defaults(own), tyro.conf.arg(name="")]
    fields = [("config", choice)]
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
