"""`metarobot compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarobot.algorithms import configure, make_policy
from metarobot.cli import jobs
from metarobot.cli.commands.train import training_config
from metarobot.cli.compare_options import parse_compare
from metarobot.cli.console import OK, conclude, prepare, shell_line
from metarobot.cli.trainings import plan_trainings
from metarobot.config import TrainConfig
from metarobot.envs import file_name
from metarobot.evaluation.references import measured_names
from metarobot.machine import InterruptedCommandError, choose_num_threads
from metarobot.progress import StageDisplay
from metarobot.reporting.report import evaluate_to_folder, prepare_evaluation
from metarobot.training.load import TrainedPolicy, TrainedRun, choose_variant, load_runs


def run(arguments: list[str], prog: str) -> int:
    """Train what is missing, and evaluate all of it."""
    comparison = parse_compare(arguments, prog)
    command, config = comparison.command, training_config(comparison.training)
    measured = command.evaluation
    console = prepare()
    out = command.out or Path("runs") / f"compare-{file_name(config.env_id)}"
    prepare_evaluation(out, keep_scores=True)  # before what takes hours
    configs = [configure(config, name) for name in command.algorithms]
    measured.require_memory(configs)
    if measured.rewards == "hidden":
        measured_names(_before_training(configs), measured)
    share = 0 if command.cluster else max(1, choose_num_threads() // command.jobs)
    trainings, folders = plan_trainings(comparison, config, command.runs or out, share)
    engine = (
        jobs.engine_on_cluster(command.cluster)
        if command.cluster
        else jobs.engine_here(command.jobs)
    )
    with StageDisplay(console) as stages:
        if trainings:
            try:
                with engine as found:
                    jobs.run_trainings(trainings, found, stages)
            except InterruptedCommandError as error:
                way_on = "the same command goes on with it"
                raise InterruptedCommandError(error.signal_number, way_on) from None
        runs = load_runs(folders)
        evaluation = evaluate_to_folder(
            runs,
            out,
            measured,
            variant=choose_variant(runs[0], None),
            commands=[shell_line(prog, arguments)],
            keep_scores=True,
            progress=stages,
        )
    conclude(evaluation, out, console)
    return OK


def _before_training(configs: Sequence[TrainConfig]) -> TrainedRun:
    """Return what a seed is going to be, with no parameters yet: who adapts, and needs what."""
    policies = {each.algorithm: TrainedPolicy(make_policy(each), {}, each) for each in configs}
    return TrainedRun(seed=configs[0].seed, env_id=configs[0].env_id, policies=policies)
