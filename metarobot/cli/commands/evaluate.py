"""`metarobot evaluate`."""

from __future__ import annotations

from metarobot.cli.console import OK, conclude, prepare, say, shell_line
from metarobot.cli.options import EvaluateCommand
from metarobot.cli.parsing import parse
from metarobot.progress import StageDisplay
from metarobot.reporting.report import evaluate_to_folder
from metarobot.training.load import choose_variant, find_scene, load_runs


def run(arguments: list[str], prog: str) -> int:
    """Evaluate runs."""
    command = parse(EvaluateCommand, arguments, prog)
    console = prepare()
    runs = load_runs(command.runs, best=command.best)
    runs = [find_scene(run, command.scene) for run in runs]
    variant = choose_variant(runs[0], command.variant)
    for run in runs:
        if run.unfinished:
            say(f"note: {run.path} was interrupted: {', '.join(run.unfinished)}", OK)
    with StageDisplay(console) as stages:
        evaluation = evaluate_to_folder(
            runs,
            command.out,
            command.config,
            variant=variant,
            video=command.video,
            num_films=command.films,
            commands=[shell_line(prog, arguments)],
            progress=stages,
        )
    conclude(evaluation, command.out, console)
    return OK
