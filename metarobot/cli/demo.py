"""The demonstration: everything once, small enough for minutes on two cores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from metarobot.algorithms import STANDARD_ALGORITHMS
from metarobot.cli.shipped import (
    SHIPPED_HEAT_MAP,
    SHIPPED_VIDEO,
    film_if_possible,
    show_shipped,
)
from metarobot.config import PRESETS, RunConfig
from metarobot.console import print_line
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.table import Evaluation
from metarobot.io import Folder
from metarobot.progress import StageDisplay, TrainingDisplay
from metarobot.reporting.films import film_chosen_task
from metarobot.reporting.report import PRODUCTS, REPORT_FILE, evaluate_to_folder
from metarobot.training.load import load_run
from metarobot.training.run import is_there, train_run

FAMILY = "grip"
SLIPPERY = {"block_mass_kg": 1.5, "pad_friction": 0.21}
"""A task beyond the training range, on which the difference shows."""
VIDEO_FILE = "adaptation.mp4"
NUM_FILMS = 2
"""Films of the worst tasks in the report."""
# Half the preset's episodes per task: twice as many meta-updates from a small budget.
TRAINING = replace(PRESETS[FAMILY], total_steps=300_000, episodes_per_task=10)
EVALUATION = EvaluationConfig(
    num_tasks=50,
    adaptation_episodes=(1, 2, 5, 10, 20),
    num_blocks=1,
    grid_size=7,
    heat_map_episodes=(1, 5),
)
QUICK_TRAINING = replace(TRAINING, total_steps=16_000, num_tasks=8, episodes_per_task=10)
QUICK_EVALUATION = EvaluationConfig(
    num_tasks=8,
    adaptation_episodes=(1, 5, 10),
    num_blocks=2,
    episodes_per_block=10,
    test_episodes=2,
    grid_size=3,
    heat_map_episodes=(1, 5),
)


def run_demo(
    out: Path, console: Console, *, seed: int = 0, quick: bool = False, overwrite: bool = False
) -> Evaluation:
    """Show trained policies of Grip, then train, evaluate, film and report on small ones.

    Args:
        out: Folder to make: ``shipped_heat_map.png`` and ``shipped_adaptation.mp4``, ``run/``, the
            evaluation's files, ``adaptation.mp4`` and ``report.html``.
        console: Where to show the progress.
        seed: Seed of the training.
        quick: Only check that everything works.
        overwrite: Replace a demo that is there already.

    Returns:
        The evaluation, which evaluation.json holds.

    Raises:
        RunError: The folder is in use.
        FolderError: Something other than a file or folder is in the place of one of ours.
    """
    training: RunConfig = replace(QUICK_TRAINING if quick else TRAINING, seed=seed)
    evaluation = QUICK_EVALUATION if quick else EVALUATION
    folder = Folder(out)
    folder.make()
    folder.require_files(*PRODUCTS, VIDEO_FILE, SHIPPED_HEAT_MAP, SHIPPED_VIDEO)
    is_there(out / "run", overwrite=overwrite)  # or refuses, before anything is shown
    shipped = show_shipped(FAMILY, SLIPPERY, out, console)
    print_line(console, "Now a policy of your own, small enough for minutes:")
    with TrainingDisplay(STANDARD_ALGORITHMS, training.total_steps, console) as display:
        train_run(training, STANDARD_ALGORITHMS, out / "run", display, overwrite=overwrite)
    run = load_run(out / "run")
    for file in (REPORT_FILE, VIDEO_FILE):  # which tell of another run
        folder.remove(file)
    video = out / VIDEO_FILE
    choice = film_if_possible(lambda: film_chosen_task(run, video), console)
    flags = f" --seed {seed}" * (seed != 0) + " --quick" * quick
    with StageDisplay(console) as stages:
        return evaluate_to_folder(
            [run],
            out,
            evaluation,
            video=video if choice else None,
            demonstration=replace(shipped, choice=choice or ""),
            num_films=0 if quick else NUM_FILMS,
            commands=[f"metarobot demo{flags}"],
            progress=stages,
        )
