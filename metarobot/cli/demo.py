"""`metarobot demo`: train, evaluate, film and report within minutes on two cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from metarobot.algorithms import STANDARD_ALGORITHMS
from metarobot.cli.console import prepare, print_evaluation
from metarobot.cli.list import measured_of
from metarobot.cli.parsing import parse
from metarobot.config import PRESETS, RunConfig
from metarobot.console import StageDisplay, print_line
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.io import Folder
from metarobot.machine import OpenGLError, require_opengl
from metarobot.training.run_folder import FOLDER

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.reporting.report import Demonstration

SHIPPED_HEAT_MAP, SHIPPED_VIDEO = "shipped_heat_map.png", "shipped_adaptation.mp4"
Filmed = TypeVar("Filmed")
FAMILY = "grip"
SLIPPERY = {"block_mass_kg": 1.5, "pad_friction": 0.21}
"""Task beyond the training range, on which adaptation makes a visible difference."""
VIDEO_FILE = "adaptation.mp4"
NUM_FILMS = 2
"""Films of the worst tasks in the report."""
# Half the preset's episodes per task: twice as many meta-updates from a small budget.
TRAINING = replace(PRESETS[FAMILY], total_steps=200_000, episodes_per_task=10)
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


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train on Grip, evaluate on unseen payloads and frictions, film it and write the report."""

    out: Path = Path("runs/demo")
    """Folder to make."""
    seed: int = 0
    """Seed of the training."""
    quick: bool = False
    """Check in about a minute that everything works; far too short to learn much."""
    overwrite: bool = False
    """Replace a demo that is there already."""


def run(arguments: list[str], prog: str) -> int:
    """Show trained policies of Grip, then train, evaluate, film and report on small ones."""
    options = parse(Options, arguments, prog)
    # After help, which does not wait for torch.
    from metarobot.api import train
    from metarobot.reporting.films import film_chosen_task
    from metarobot.reporting.report import PRODUCTS, REPORT_FILE, evaluate_to_folder
    from metarobot.training.run import require_free

    console, out = prepare(), options.out
    training: RunConfig = replace(QUICK_TRAINING if options.quick else TRAINING, seed=options.seed)
    folder = Folder(out)
    folder.make()
    folder.require_files(*PRODUCTS, VIDEO_FILE, SHIPPED_HEAT_MAP, SHIPPED_VIDEO)
    if not options.overwrite:
        require_free(out / "run")  # before anything is shown
    shipped = show_shipped(FAMILY, SLIPPERY, out, console)
    print_line(console, "Now a policy of your own, small enough for minutes:")
    run = train(
        training, algorithms=STANDARD_ALGORITHMS, out=out / "run", overwrite=options.overwrite
    )
    for file in (REPORT_FILE, VIDEO_FILE):  # which tell of another run
        folder.remove(file)
    video = out / VIDEO_FILE
    choice = film_if_possible(lambda: film_chosen_task(run.trained, video), console)
    flags = f" --seed {options.seed}" * (options.seed != 0) + " --quick" * options.quick
    with StageDisplay(console) as stages:
        evaluation = evaluate_to_folder(
            [run.trained],
            out,
            QUICK_EVALUATION if options.quick else EVALUATION,
            video=video if choice else None,
            demonstration=replace(shipped, choice=choice or ""),
            num_films=0 if options.quick else NUM_FILMS,
            commands=[f"metarobot demo{flags}"],
            progress=stages,
        )
    code = print_evaluation(evaluation, out)
    print_line(console, f"play with this policy in the browser: metarobot play {out / 'run'}")
    return code


def show_shipped(
    name: str, task: Mapping[str, float], out: Path, console: Console
) -> Demonstration:
    """Print and draw the results of a family's shipped policies, and film one that adapts.

    Returns:
        Results and film, for a report.
    """
    from metarobot.reporting.films import CHOSEN, render_adaptation
    from metarobot.reporting.heat_map import heat_map
    from metarobot.reporting.report import Demonstration
    from metarobot.reporting.style import png_bytes
    from metarobot.reporting.words import where_they_hold
    from metarobot.training.load import load_run

    measured, folder = measured_of(name), Folder(out)
    print_line(console, f"First, the {name} policies that come with the package, trained in full:")
    for sentence in where_they_hold(measured):
        print_line(console, f"  {sentence}")
    folder.write(SHIPPED_HEAT_MAP, png_bytes(heat_map(measured)))
    print_line(console, f"  heat map: {out / SHIPPED_HEAT_MAP}")
    run, path = load_run(FOLDER / name), out / SHIPPED_VIDEO
    filmed = film_if_possible(lambda: render_adaptation(run, path, task=task, note=CHOSEN), console)
    if filmed:
        print_line(console, f"  video: {path}")
    return Demonstration(shipped=measured, film=folder.read(SHIPPED_VIDEO) if filmed else None)


def film_if_possible(film: Callable[[], Filmed], console: Console) -> Filmed | None:
    """Film, or print the reason if this machine cannot, such as missing OpenGL."""
    from metarobot.reporting.video import VideoError

    try:
        require_opengl()
        return film()
    except (OpenGLError, VideoError) as error:
        print_line(console, f"no video: {error}")
        return None
