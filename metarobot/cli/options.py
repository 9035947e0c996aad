"""The options of every command, and their parser: what is wrong with them is said in one line."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from metarobot.algorithms import ALGORITHMS, STANDARD_ALGORITHMS, algorithm_class
from metarobot.cli.train_options import Preset, given_options, preset_config
from metarobot.config import RunConfig
from metarobot.envs import Variant
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.presets import PRESETS
from metarobot.reporting.adaptation_video import RenderConfig


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train the algorithms of one task family and one seed, each with the same budget."""

    config: Preset
    """Preset: a task family with the configuration that suits it."""
    out: Path | None = None
    """Run folder to make; runs/FAMILY-seedSEED if not given, runs/FAMILY-VARIANT-seedSEED for a
    variant."""
    variant: str | None = None
    """Train on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names."""
    algorithms: tuple[str, ...] = ()
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
    def trained(self) -> tuple[str, ...]:
        """Who is trained in a new run."""
        return self.algorithms or STANDARD_ALGORITHMS

    def run_config(self, variant: Variant | None) -> RunConfig:
        """Return what is trained, on a variant or on none.

        Raises:
            ValueError: None of those who are trained reads an option that was given.
        """
        options = given_options(self.config, self.trained)
        return replace(preset_config(self.config), variant=variant).with_options(**options)

    def __post_init__(self) -> None:
        """Refuse unknown algorithms, and to begin twice."""
        _require_algorithms(self.algorithms)
        if self.initial_policy is not None and self.resume is not None:
            raise ValueError("--initial-policy does not go with --resume, which has begun already")


@dataclass(frozen=True, kw_only=True)
class ResumeCommand:
    """Go on with a run that was interrupted, as if it never had been, or give it more to do."""

    resume: Path
    """Run folder."""
    algorithms: tuple[str, ...] = ()
    """Algorithms that the run gets besides, trained with its configuration."""
    total_steps: int | None = None
    """New budget of control steps of every algorithm, at least the present one. The result is that
    of a run which had it from the beginning."""

    def __post_init__(self) -> None:
        """Refuse unknown algorithms."""
        _require_algorithms(self.algorithms)


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
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
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How much is measured."""

    def __post_init__(self) -> None:
        """Refuse to evaluate nothing."""
        if not self.runs:
            raise ValueError("name at least one run folder")


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Train several algorithms with one budget and hold them against each other on held-out tasks.

    What is trained or measured already is kept: interrupted, the same command goes on.
    """

    preset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PRESET")]
    """Task family, with the configuration that suits it: a preset of `metarobot train`."""
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Who is trained. Random actions, and where domain randomisation is there its fine-tuning and
    learning from scratch, stand beside them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    total_steps: int | None = None
    """Budget of simulated control steps of every training; the preset's if not given."""
    out: Path | None = None
    """Folder for a run folder a seed, comparison.json, comparison.csv and comparison.png;
    runs/compare-PRESET if not given."""
    num_threads: int = 0
    """Threads of the simulator and of torch; 0 takes every processor."""
    test_tasks: int = 40
    """Held-out tasks per split."""
    num_adaptation_steps: int = 3
    """Adaptation steps taken on each."""

    def __post_init__(self) -> None:
        """Refuse an unknown preset, and to compare nobody."""
        if self.preset not in PRESETS:
            raise ValueError(_no_preset(self.preset))
        _require_algorithms(self.algorithms)
        if not self.algorithms or not self.seeds:
            raise ValueError(
                "name at least one algorithm with --algorithms, and one seed with --seeds"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds names a seed twice: {' '.join(map(str, self.seeds))}")


@dataclass(frozen=True, kw_only=True)
class RenderCommand:
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
        if self.replay is not None and self.variant is not None:
            raise ValueError("--variant does not go with --replay, which has its own conditions")


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a trained initialisation as a Stable-Baselines3 PPO model."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    out: Path
    """The .zip to write, for PPO.load."""
    algorithm: str = "maml"
    """Whose policy."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""


@dataclass(frozen=True, kw_only=True)
class ImportCommand:
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
class ListCommand:
    """List the task families with their task parameters, splits and observations."""

    family: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[FAMILY]")] = None
    """Show one family alone, with its variants: a preset of `metarobot train`, or its id."""


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Check the installation."""

    runs_folder: Path = Path("runs")
    """Where runs are to be written."""


CommandT = TypeVar("CommandT")
_LONGEST_COMPLAINT = 600
"""Characters of tyro's complaint that an error shows."""
_WITH_RESUME = ("--resume", "--algorithms", "--total-steps", "--help")
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
            return tyro.cli(command, args=list(arguments), prog=prog, config=markers)
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
    if arguments and arguments[0].startswith("--resume"):
        _check_resume_options(arguments)
        command = parse(ResumeCommand, arguments, prog)
    else:
        _check_preset(arguments)
        command = parse(TrainCommand, arguments, prog)
    if "--algorithms" in arguments and not command.algorithms:
        raise ValueError(f"--algorithms must name at least one of {', '.join(ALGORITHMS)}")
    return command


def _check_resume_options(arguments: Sequence[str]) -> None:
    """Refuse options that a run has already."""
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in _WITH_RESUME:
            raise ValueError(
                f"{name} does not go with --resume RUN, which goes on with the configuration in "
                "the folder: possible are --algorithms and --total-steps"
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
    if name in (*PRESETS, "-h", "--help"):
        return
    if not name or name.startswith("-"):
        raise ValueError(f"name a preset first, one of {', '.join(PRESETS)}, or --resume a run")
    raise ValueError(_no_preset(name))


def _no_preset(name: str) -> str:
    close = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"no preset {name!r}, allowed: {', '.join(PRESETS)}{hint}"


def _require_algorithms(names: Sequence[str]) -> None:
    """Refuse an unknown algorithm by naming the nearest."""
    for name in names:
        algorithm_class(name)


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
