"""`metarobot train`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from metarobot.cli.console import OK, prepare
from metarobot.cli.options import ResumeCommand, TrainCommand
from metarobot.cli.outside import import_family
from metarobot.cli.parsing import parse_train
from metarobot.cli.wandb_display import WandbDisplay
from metarobot.config import RunConfig
from metarobot.console import print_line
from metarobot.envs import SceneRecord, find_variant
from metarobot.learning.distributed import join_workers, restarted_by_torchrun
from metarobot.progress import TrainingDisplay
from metarobot.training.run import default_run_folder, resume_run, train_run


def run(arguments: list[str], prog: str) -> int:
    """Train a new run, or go on with one."""
    if arguments:
        arguments = [import_family(arguments[0]), *arguments[1:]]
    command = parse_train(arguments, prog)
    if isinstance(command, ResumeCommand):
        return _resume_training(
            command.resume,
            None,
            command.algorithms,
            command.total_steps,
            command.num_threads,
            wandb=command.wandb,
        )
    config = training_config(command)
    out = command.resume or command.out or default_run_folder(config)
    if command.resume or (restarted_by_torchrun() and out.exists()):
        algorithms = command.algorithms if command.resume else ()
        return _resume_training(out, config, algorithms, wandb=command.wandb)
    return _run_training(
        out,
        config,
        command.trained,
        overwrite=command.overwrite,
        initial_policy=command.initial_policy,
        wandb=command.wandb,
    )


def training_config(command: TrainCommand) -> RunConfig:
    """Return what the trainings of a command have in common."""
    variant = None if command.variant in (None, "none") else find_variant(command.variant)
    scene = None if command.scene is None else SceneRecord.of(command.scene)
    return command.run_config(variant, scene)


def _run_training(
    out: Path,
    config: RunConfig,
    algorithms: Sequence[str],
    *,
    overwrite: bool,
    initial_policy: Path | None,
    wandb: bool,
) -> int:
    """Train the algorithms into a new folder."""
    console = prepare()
    with join_workers() as workers:
        console.quiet = not workers.first
        shown = TrainingDisplay(algorithms, config.total_steps, console)
        with shown, _tracked(shown, out, wandb and workers.first) as display:
            train_run(
                config,
                algorithms,
                out,
                display,
                overwrite=overwrite,
                initial_policy=initial_policy,
                workers=workers,
            )
    print_line(console, f"trained {', '.join(algorithms)}: {out}")
    return OK


def _resume_training(
    out: Path,
    config: RunConfig | None,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
    num_threads: int | None = None,
    *,
    wandb: bool,
) -> int:
    """Go on with what is in a folder, and with what it gets besides."""
    console = prepare()
    with join_workers() as workers:
        console.quiet = not workers.first
        shown = TrainingDisplay((), config.total_steps if config else 0, console)
        with shown, _tracked(shown, out, wandb and workers.first) as display:
            trained = resume_run(
                out,
                display,
                expected=config,
                algorithms=algorithms,
                total_steps=total_steps,
                num_threads=num_threads,
                workers=workers,
            )
    done = (
        f"trained {', '.join(trained)}" if trained else "nothing to do, all algorithms are trained"
    )
    print_line(console, f"{done}: {out}")
    return OK


def _tracked(
    display: TrainingDisplay, run: Path, wandb: bool
) -> AbstractContextManager[TrainingDisplay | WandbDisplay]:
    """Return a display that also sends to Weights & Biases, if asked for."""
    return WandbDisplay(display, run) if wandb else nullcontext(display)
