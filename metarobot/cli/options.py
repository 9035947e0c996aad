"""The options of most commands; others have files of their own beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metarobot.algorithms import STANDARD_ALGORITHMS, algorithm_class
from metarobot.cli.train_options import given_options, preset_config
from metarobot.config import RunConfig
from metarobot.envs import SceneRecord, Variant
from metarobot.envs.checks import is_integer, require_integers
from metarobot.evaluation.explain import ExplanationConfig
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.reporting.films import MOST_FILMS, RenderConfig


@dataclass(frozen=True, kw_only=True)
class OutsideOptions:
    """How a command comes to know a task family or an algorithm from outside the package."""

    module: str | None = None
    """Module that registers a task family or an algorithm of yours, such as my_package.my_family;
    imported first. A run does not import it by itself."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand(OutsideOptions):
    """Train the algorithms of one task family and one seed, each with the same budget."""

    config: Any
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
    algorithms: tuple[str, ...] = ()
    """Who to train: meta-learners, and the references they are compared with; latent, maml,
    domain_randomisation and oracle if not given. One of yours is named MODULE:NAME. With --resume:
    whom the run gets besides."""
    initial_policy: Path | None = None
    """Begin with the parameters in this .safetensors file, of a run or from `metarobot import`,
    instead of random ones."""
    overwrite: bool = False
    """Replace a run that is there already."""
    resume: Path | None = None
    """Run folder to go on with, as if never interrupted; its configuration must be this one.
    `metarobot train --resume RUN` takes the configuration from the folder."""
    wandb: bool = False
    """Log every metric to Weights & Biases as well: needs `pip install 'metarobot[wandb]'`; with
    WANDB_MODE=offline nothing leaves this machine."""
    given: tyro.conf.Suppress[tyro.conf.Fixed[tuple[str, ...]]] = ()
    """Names of the options that the user gave."""

    @property
    def trained(self) -> tuple[str, ...]:
        """Who is trained in a new run."""
        return self.algorithms or STANDARD_ALGORITHMS

    def run_config(self, variant: Variant | None, scene: SceneRecord | None) -> RunConfig:
        """Return what is trained.

        Args:
            variant: The variant of the family, None for the family as it is.
            scene: A scene of the user's, None for the family's own.

        Raises:
            ValueError: None of those who are trained reads an option that was given.
        """
        options = given_options(self.config, self.given, self.trained)
        preset = replace(preset_config(self.config), variant=variant, scene=scene)
        return preset.with_options(**options)

    def __post_init__(self) -> None:
        """Refuse unknown algorithms, and to begin twice."""
        require_algorithms(self.algorithms)
        if self.initial_policy is not None and self.resume is not None:
            raise ValueError("--initial-policy does not go with --resume, which has begun already")


@dataclass(frozen=True, kw_only=True)
class ResumeCommand(OutsideOptions):
    """Go on with a run that was interrupted, as if it never had been, or give it more to do."""

    resume: Path
    """Run folder."""
    algorithms: tuple[str, ...] = ()
    """Algorithms that the run gets besides, trained with its configuration."""
    total_steps: int | None = None
    """New budget of control steps of every algorithm, at least the present one. The result is that
    of a run which had it from the beginning."""
    num_threads: int | None = None
    """Threads from here on, 0 for every processor; as the run began if not given."""
    wandb: bool = False
    """Log every metric to Weights & Biases as well, as in a new run."""

    def __post_init__(self) -> None:
        """Refuse unknown algorithms."""
        require_algorithms(self.algorithms)


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(OutsideOptions):
    """Measure adaptation on tasks never trained on, and write the report."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")]
    """Run folders: several seeds of one task family."""
    out: Path
    """Folder for evaluation.json, evaluation.csv, the pictures and report.html."""
    video: Path | None = None
    """MP4 from `metarobot render` to show in the report, up to 64 MiB."""
    films: int = 4
    """Films of the worst tasks in the report; needs OpenGL."""
    best: bool = False
    """Measure the policies with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Measure on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names. Runs trained on a variant are measured on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the runs is now, if they were trained in one of yours that has moved."""
    config: EvaluationConfig = field(default_factory=lambda: EvaluationConfig(robustness=True))
    """How much is measured."""

    def __post_init__(self) -> None:
        """Refuse to evaluate nothing, and more films than a report has room for."""
        if not self.runs:
            raise ValueError("name at least one run folder")
        if not is_integer(self.films, 0, MOST_FILMS):
            raise ValueError(f"films must be an integer in [0, {MOST_FILMS}], got {self.films}")


@dataclass(frozen=True, kw_only=True)
class ExplainCommand(OutsideOptions):
    """Show what adaptation senses of a task, and what it changes."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    out: Path
    """Folder for explanation.json, the pictures and explanation.html."""
    algorithm: str | None = None
    """Whose adaptation; the first of the run that adapts if not given."""
    task: tuple[str, ...] = ()
    """One task to look at more closely, as NAME=VALUE ..., all else nominal."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    config: ExplanationConfig = field(default_factory=ExplanationConfig)
    """How much is measured."""


@dataclass(frozen=True, kw_only=True)
class RenderCommand(OutsideOptions):
    """Film a task before and after adaptation, side by side; or many tasks, as a grid."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    best: bool = False
    """Show the policy with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Film a variant of the family: a .toml file, or the name of one that `metarobot list` names.
    A run trained on a variant is filmed on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    out: Path = Path("adaptation.mp4")
    """Film to write, ending in .mp4, .webp or .gif."""
    task: tuple[str, ...] = ()
    """Task to film, as NAME=VALUE ..., all else nominal; drawn from the split if not given. With
    --grid: the parameters that are the same in all tasks."""
    grid: str | None = None
    """Film a grid of tasks instead, columns x rows, such as 3x3: from the lowest to the highest
    value of two task parameters, training range and beyond."""
    grid_parameters: tuple[str, ...] = ()
    """Task parameters of the columns and the rows of --grid; those of the heat map if not given."""
    config: RenderConfig = field(default_factory=RenderConfig)
    """What is filmed."""

    def __post_init__(self) -> None:
        """Refuse parameters of no grid."""
        if self.grid_parameters and not self.grid:
            raise ValueError("--grid-parameters goes with --grid, such as --grid 3x3")


@dataclass(frozen=True, kw_only=True)
class PlayCommand(OutsideOptions):
    """Play with a policy in the browser: set the task, adapt, see before and after side by side."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    algorithm: str | None = None
    """Whose policy; if not given, latent, then maml, then any other that the run holds and that
    adapts. A reference that never adapts acts as well."""
    port: int = 8741
    """TCP port of the page, on the loopback address; 0 takes any that is free."""
    task: tuple[str, ...] = ()
    """Where the sliders stand in the beginning, as NAME=VALUE ..., all else nominal."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Play on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names. A run trained on a variant is played on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    seed: int = 0
    """Seed of the starts, and of the action noise of trials."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        # Each time that the policy forgets, another seed follows.
        require_integers(self, {"port": (0, 65_535), "seed": (0, 2**62)})


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
    algorithm: str | None = None
    """Whose policy of the run is adapted; if not given, latent, then maml, then any other that the
    run holds and that adapts."""
    best: bool = False
    """Take the policy with the best smoothed return in training, not the last one."""
    env: str | None = None
    """Gymnasium id of the robot, as my_module:my/Robot-v0; by default the family's simulation."""
    task: tuple[str, ...] = ()
    """Task of the family's simulation, as payload_kg=4; those not named are nominal."""
    variant: str | None = None
    """Variant of the family's simulation, such as late_network."""
    what_changed: bool = False
    """Say what has changed on the robot, from its first adaptation episode; for Reach and
    Grip."""

    def __post_init__(self) -> None:
        """Refuse a task for a robot that holds its own, and blocks of different policies."""
        if self.env is not None and (self.task or self.variant):
            name = "--task" if self.task else "--variant"
            raise ValueError(f"{name} sets the family's simulation: leave it out with --env")
        if self.what_changed and self.steps != 1:
            raise ValueError("--what-changed reads the episodes before one step: leave out --steps")


@dataclass(frozen=True, kw_only=True)
class ExportCommand(OutsideOptions):
    """Write a trained or an adapted policy as an ONNX file, or as a Stable-Baselines3 PPO model."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or the file of an adapted policy."""
    out: Path
    """File to write: the .onnx, or the .zip for PPO.load."""
    format: Literal["sb3", "onnx"] | None = None
    """What is written: a PPO model of Stable-Baselines3, which has a place for feed-forward
    policies alone, or an ONNX file, for every policy; as --out ends if not given."""
    algorithm: str | None = None
    """Whose policy of the run; if not given, maml, or for ONNX latent, then maml, then any other
    that the run holds and that adapts."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""
    overwrite: bool = False
    """Replace a file that is there already."""


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


def require_algorithms(names: Sequence[str]) -> None:
    """Refuse an unknown algorithm by naming the nearest, and one that is named twice."""
    for name in names:
        algorithm_class(name)
        if list(names).count(name) > 1:
            raise ValueError(f"--algorithms names {name} twice: name it once")
