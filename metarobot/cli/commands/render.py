"""`metarobot render`."""

from __future__ import annotations

from pathlib import Path

from metarobot import opengl
from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.options import RenderCommand
from metarobot.cli.parsing import parse, parse_task
from metarobot.named_files import require_writable
from metarobot.printable import print_line
from metarobot.reporting.adaptation_video import render_adaptation
from metarobot.reporting.replay_video import render_replay
from metarobot.reporting.video import VideoError
from metarobot.training.load import choose_variant, find_scene, load_run
from metarobot.training.replay import Replay


def run(arguments: list[str], prog: str) -> int:
    """Film an adaptation, or a replay."""
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
            opengl.require_opengl()
            announce_learner(run, command.config.algorithm, console)
            shown = render_adaptation(run, command.out, command.config, task, variant)
            task, returns = shown.task, shown.returns
        else:
            replay = Replay.load(command.replay or Path())
            opengl.require_opengl()
            slow_motion = command.config.slow_motion
            clips = render_replay(replay, command.out, command.episode, slow_motion)
            task, returns = replay.task, [sum(clip.rewards) for clip in clips]
    except VideoError as error:
        raise ValueError(str(error)) from error
    values = ", ".join(f"{name} {value:.3g}" for name, value in task.items())
    change = " -> ".join(f"{value:z.2f}" for value in returns)
    print_line(console, f"{values}: return {change}")
    print_line(console, f"video: {command.out}")
    return OK
