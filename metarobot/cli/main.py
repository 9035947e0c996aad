"""The command line: parse, call, and say what went wrong in one line.

Commands import what they need themselves, so that ``metarobot --help`` does not wait for torch.
"""

from __future__ import annotations

import difflib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metarobot.cli.parent import end_with_parent
from metarobot.opengl import OpenGLError
from metarobot.output import unfailing_streams
from metarobot.printable import print_line, printable
from metarobot.training.interruption import (
    InterruptedCommandError,
    InterruptedTrainingError,
    Unwinding,
    unwind_on_signals,
)

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.cli.options import TrainCommand
    from metarobot.config import RunConfig
    from metarobot.evaluation.result import Evaluation

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit codes: all is well; the input or the machine is not fit; Ctrl-C."""

_HELP = ("help", "-h", "--help")

_FIRST_SPEAKS_WITHIN_S = 60.0
"""How long other processes wait for the first one to say what is wrong with the input."""

_EXPECTED = (
    InterruptedTrainingError,
    KeyboardInterrupt,
    MemoryError,
    OSError,
    OpenGLError,
    ValueError,
)
"""What ends a command with one line; anything else is a defect, and shows its traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; those of the process when None.

    Returns:
        The exit code: 0, 2 after a one-line error on stderr, 130 after Ctrl-C, 143 after SIGTERM.
    """
    end_with_parent()
    with unfailing_streams() as output, unwind_on_signals() as unwinding:
        code = _run(list(sys.argv[1:] if argv is None else argv), unwinding)
        problem = output.problem()
        if problem and code == OK:
            why = problem.strerror or str(problem)
            return _say(f"error: standard output could not be written: {why}", BAD_INPUT)
        return code


def _run(arguments: list[str], unwinding: Unwinding) -> int:
    """Run one command, and say in one line what stops it."""
    try:
        return _dispatch(arguments)
    except BaseException as error:
        if unwinding.signal_number and not isinstance(error, InterruptedTrainingError):
            # Whatever a library has made of the exception on the way out.
            error = InterruptedCommandError(unwinding.signal_number)
        if not isinstance(error, _EXPECTED):
            raise
        message, code = _explain(error)
        # What stops all processes of a run is said by the first one.
        if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":
            if isinstance(error, InterruptedTrainingError):
                return code
            if isinstance(error, ValueError):
                # Were this one quicker, torchrun would end the first before it has spoken.  As
                # things are it ends this one here, unless only this one's input is bad.
                time.sleep(_FIRST_SPEAKS_WITHIN_S)
        return _say(message, code)


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the line that says what went wrong, and the exit code."""
    if isinstance(error, (InterruptedTrainingError, InterruptedCommandError)):
        return str(error), 128 + error.signal_number
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, MemoryError):
        return "error: there is not enough memory for sizes like these", BAD_INPUT
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"error: {name}{error.strerror or error}", BAD_INPUT
    return f"error: {error}", BAD_INPUT


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        raise ValueError(f"name a command, one of {', '.join(COMMANDS)}; see `metarobot help`")
    name, *rest = arguments
    if name in _HELP:
        of = [word for word in rest if word not in _HELP]
        if of:
            return _dispatch([*of, "--help"])
        print(_help())
        return OK
    if name == "--version" and not rest:
        from metarobot import __version__

        print(f"metarobot {__version__}")
        return OK
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no command {name!r}, allowed: {', '.join(COMMANDS)}{hint}")
    try:
        return COMMANDS[name][0](rest, f"metarobot {name}")
    except SystemExit as exit_:  # help was asked for and printed
        return int(exit_.code or OK)


def _train(arguments: list[str], prog: str) -> int:
    from metarobot.cli.options import ResumeCommand
    from metarobot.cli.outside import import_family
    from metarobot.cli.parsing import parse_train
    from metarobot.learning.distributed import restarted_by_torchrun
    from metarobot.training.run_creation import default_run_folder

    if arguments:
        arguments = [import_family(arguments[0]), *arguments[1:]]
    command = parse_train(arguments, prog)
    if isinstance(command, ResumeCommand):
        return _resume_training(command.resume, None, command.algorithms, command.total_steps)
    config = training_config(command)
    out = command.resume or command.out or default_run_folder(config)
    if command.resume or (restarted_by_torchrun() and out.exists()):
        return _resume_training(out, config, command.algorithms if command.resume else ())
    return _run_training(
        out,
        config,
        command.trained,
        overwrite=command.overwrite,
        initial_policy=command.initial_policy,
    )


def training_config(command: TrainCommand) -> RunConfig:
    """Return what the trainings of a command have in common."""
    from metarobot.envs import SceneRecord, find_variant

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
) -> int:
    """Train the algorithms into a new folder."""
    from metarobot.cli.progress import TrainingDisplay
    from metarobot.learning.distributed import join_workers
    from metarobot.training.runs import train_run

    console = prepare()
    with join_workers() as workers:
        console.quiet = not workers.first
        with TrainingDisplay(algorithms, config.total_steps, console) as display:
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
) -> int:
    """Go on with what is in a folder, and with what it gets besides."""
    from metarobot.cli.progress import TrainingDisplay
    from metarobot.learning.distributed import join_workers
    from metarobot.training.runs import resume_run

    console = prepare()
    with join_workers() as workers:
        console.quiet = not workers.first
        with TrainingDisplay((), config.total_steps if config else 0, console) as display:
            trained = resume_run(
                out,
                display,
                expected=config,
                algorithms=algorithms,
                total_steps=total_steps,
                workers=workers,
            )
    done = (
        f"trained {', '.join(trained)}" if trained else "nothing to do, all algorithms are trained"
    )
    print_line(console, f"{done}: {out}")
    return OK


def _evaluate(arguments: list[str], prog: str) -> int:
    from metarobot.cli.options import EvaluateCommand
    from metarobot.cli.parsing import parse
    from metarobot.cli.progress import StageDisplay
    from metarobot.reporting.folder import evaluate_to_folder
    from metarobot.training.load import choose_variant, find_scene, load_runs

    command = parse(EvaluateCommand, arguments, prog)
    console = prepare()
    runs = load_runs(command.runs, best=command.best)
    runs = [find_scene(run, command.scene) for run in runs]
    variant = choose_variant(runs[0], command.variant)
    for run in runs:
        if run.unfinished:
            _say(f"note: {run.path} was interrupted: {', '.join(run.unfinished)}", OK)
    with StageDisplay(console) as stages:
        evaluation = evaluate_to_folder(
            runs,
            command.out,
            command.config,
            variant=variant,
            video=command.video,
            commands=[_shell_line(prog, arguments)],
            progress=stages,
        )
    _conclude(evaluation, command.out, console)
    return OK


def _compare(arguments: list[str], prog: str) -> int:
    from metarobot.algorithms import configure
    from metarobot.cli.compare_options import parse_compare
    from metarobot.cli.jobs import engine_here, engine_on_cluster, run_trainings
    from metarobot.cli.progress import StageDisplay
    from metarobot.cli.trainings import plan_trainings
    from metarobot.envs import file_name
    from metarobot.reporting.folder import evaluate_to_folder, prepare_evaluation
    from metarobot.training.interruption import comparison_interruptions
    from metarobot.training.load import choose_variant, load_runs
    from metarobot.training.provenance import choose_num_threads

    comparison = parse_compare(arguments, prog)
    command, config = comparison.command, training_config(comparison.training)
    measured = command.evaluation
    console = prepare()
    out = command.out or Path("runs") / f"compare-{file_name(config.env_id)}"
    prepare_evaluation(out, keep_scores=True)  # before what takes hours
    measured.require_memory(configure(config, name) for name in command.algorithms)
    share = 0 if command.cluster else max(1, choose_num_threads() // command.jobs)
    trainings, folders = plan_trainings(comparison, config, command.runs or out, share)
    engine = engine_on_cluster(command.cluster) if command.cluster else engine_here(command.jobs)
    with StageDisplay(console) as stages:
        if trainings:
            with comparison_interruptions(), engine as found:
                run_trainings(trainings, found, stages)
        runs = load_runs(folders)
        evaluation = evaluate_to_folder(
            runs,
            out,
            measured,
            variant=choose_variant(runs[0], None),
            commands=[_shell_line(prog, arguments)],
            keep_scores=True,
            progress=stages,
        )
    _conclude(evaluation, out, console)
    return OK


def _render(arguments: list[str], prog: str) -> int:
    from metarobot.cli.options import RenderCommand
    from metarobot.cli.parsing import parse, parse_task
    from metarobot.named_files import require_writable
    from metarobot.opengl import require_opengl
    from metarobot.reporting.adaptation_video import render_adaptation
    from metarobot.reporting.replay_video import render_replay
    from metarobot.reporting.video import VideoError
    from metarobot.training.load import choose_variant, find_scene, load_run
    from metarobot.training.replay import Replay

    command = parse(RenderCommand, arguments, prog)
    task = parse_task(command.task)
    if command.out.suffix.lower() != ".mp4":
        raise ValueError(f"--out must end in .mp4, got {command.out}")
    console = prepare()
    require_writable(command.out)
    try:
        if command.run is not None:
            run = find_scene(load_run(command.run, best=command.best), command.scene)
            variant = choose_variant(run, command.variant)
            require_opengl()
            shown = render_adaptation(run, command.out, command.config, task, variant)
            task, returns = shown.task, (shown.return_before, shown.return_after)
        else:
            replay = Replay.load(command.replay or Path())
            require_opengl()
            slow_motion = command.config.slow_motion
            clips = render_replay(replay, command.out, command.episode, slow_motion)
            task, returns = replay.task, [sum(clip.rewards) for clip in clips]
    except VideoError as error:
        raise ValueError(str(error)) from error
    values = ", ".join(f"{name} {value:.3g}" for name, value in task.items())
    change = " -> ".join(f"{value:.2f}" for value in returns)
    print_line(console, f"{values}: return {change}")
    print_line(console, f"video: {command.out}")
    return OK


def _adapt(arguments: list[str], prog: str) -> int:
    from metarobot.adaptation.file import require_suffix
    from metarobot.adaptation.run import Run, load_run_or_policy
    from metarobot.cli.options import AdaptCommand
    from metarobot.cli.parsing import parse, parse_task
    from metarobot.cli.robots import make_robot
    from metarobot.named_files import require_writable

    command = parse(AdaptCommand, arguments, prog)
    task = parse_task(command.task)
    require_suffix(command.out)
    console = prepare()
    require_writable(command.out)
    found = load_run_or_policy(command.run, best=command.best)
    if isinstance(found, Run) and command.algorithm not in found:
        raise ValueError(f"{command.run} holds no {command.algorithm}, only {', '.join(found)}")
    policy = found[command.algorithm] if isinstance(found, Run) else found
    robot = make_robot(policy, command.env, task)
    try:
        adapted = policy.adapt(
            robot, episodes=command.episodes, steps=command.steps, seed=command.seed
        )
    finally:
        robot.close()
    adapted.save(command.out)
    print_line(console, f"adapted by {adapted.num_episodes} episodes: {command.out}")
    return OK


def _export(arguments: list[str], prog: str) -> int:
    from metarobot.cli.options import ExportCommand
    from metarobot.cli.parsing import parse
    from metarobot.named_files import require_writable
    from metarobot.sb3 import export_ppo
    from metarobot.training.load import load_run

    command = parse(ExportCommand, arguments, prog)
    if command.out.suffix != ".zip":
        raise ValueError(f"--out must end in .zip, got {command.out}")
    console = prepare()
    require_writable(command.out)
    policies = load_run(command.run, best=command.best).policies
    if command.algorithm not in policies:
        raise ValueError(f"{command.run} holds no {command.algorithm}, only {', '.join(policies)}")
    export_ppo(policies[command.algorithm], command.out)
    print_line(console, f"exported {command.algorithm}: {command.out}")
    return OK


def _import(arguments: list[str], prog: str) -> int:
    from metarobot.cli.options import ImportCommand
    from metarobot.cli.parsing import parse
    from metarobot.named_files import require_writable, write_file
    from metarobot.sb3 import import_ppo
    from metarobot.training.checkpoints import policy_bytes

    command = parse(ImportCommand, arguments, prog)
    if command.out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {command.out}")
    console = prepare()
    require_writable(command.out)
    trained = import_ppo(command.model, command.env_id)
    write_file(command.out, policy_bytes(trained.config, trained.params, iteration=0))
    sizes = " ".join(map(str, trained.config.hidden_sizes))
    print_line(console, f"imported, hidden sizes {sizes}: {command.out}")
    return OK


def _demo(arguments: list[str], prog: str) -> int:
    from metarobot.cli.demo import run_demo
    from metarobot.cli.options import DemoCommand
    from metarobot.cli.parsing import parse

    command = parse(DemoCommand, arguments, prog)
    console = prepare()
    evaluation = run_demo(
        command.out,
        console,
        seed=command.seed,
        quick=command.quick,
        overwrite=command.overwrite,
    )
    _conclude(evaluation, command.out, console)
    return OK


def _list(arguments: list[str], prog: str) -> int:
    from metarobot.cli.listing import find_env_id, print_families, print_variants
    from metarobot.cli.options import ListCommand
    from metarobot.cli.outside import import_family
    from metarobot.cli.parsing import parse
    from metarobot.envs import FAMILIES

    name = parse(ListCommand, arguments, prog).family
    env_ids = [*FAMILIES] if name is None else [find_env_id(import_family(name))]
    print_families(env_ids)
    print_variants(env_ids)
    return OK


def _doctor(arguments: list[str], prog: str) -> int:
    from metarobot.cli.doctor import print_report, run_checks
    from metarobot.cli.options import DoctorCommand
    from metarobot.cli.parsing import parse

    command = parse(DoctorCommand, arguments, prog)
    failed = print_report(prepare(), run_checks(command.runs_folder))
    return BAD_INPUT if failed else OK


COMMANDS: dict[str, tuple[Callable[[list[str], str], int], str]] = {
    "demo": (_demo, "train, evaluate, film and report on one family, in minutes"),
    "train": (_train, "train the algorithms of a task family"),
    "evaluate": (_evaluate, "measure adaptation on tasks never trained on, and write the report"),
    "compare": (_compare, "train several algorithms, and evaluate them on the same tasks"),
    "render": (_render, "film one task before and after adaptation"),
    "adapt": (_adapt, "adapt a trained policy to a robot, in a few episodes"),
    "export": (_export, "write a trained policy as a Stable-Baselines3 PPO model"),
    "import": (_import, "read the policy of such a model that you trust, to begin with"),
    "list": (_list, "list the task families, their task parameters and observations"),
    "doctor": (_doctor, "check the installation"),
}
"""Every command, and what it does."""


def _help() -> str:
    lines = [f"  {name:<10}{meaning}" for name, (_, meaning) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: metarobot COMMAND [options]",
            "",
            "Meta-learn robot policies that adapt to a new payload, surface or drive.",
            "",
            *lines,
            "",
            "metarobot help COMMAND lists the options; metarobot --version the version.",
        ]
    )


def prepare() -> Console:
    """Silence MuJoCo's log file, choose torch's threads and memory, and return the console."""
    import torch

    from metarobot.cli.listing import make_console
    from metarobot.envs import silence_mujoco
    from metarobot.training.heap import keep_freed_memory
    from metarobot.training.provenance import choose_num_threads

    silence_mujoco()
    torch.set_num_threads(choose_num_threads())
    keep_freed_memory()
    return make_console()


def _conclude(evaluation: Evaluation, out: Path, console: Console) -> None:
    """Print the verdict of an evaluation, and where its report is."""
    from metarobot.reporting.folder import REPORT_FILE
    from metarobot.reporting.verdicts import verdicts

    for verdict in verdicts(evaluation):
        print_line(console, verdict)
    print_line(console, f"report: {out / REPORT_FILE}")


def _shell_line(prog: str, arguments: list[str]) -> str:
    import shlex

    return f"{prog} {shlex.join(arguments)}"


def _say(message: str, code: int) -> int:
    """Print one line on stderr and return the exit code."""
    print(f"metarobot: {printable(message)}", file=sys.stderr)
    return code
