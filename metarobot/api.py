"""The doors of the package as functions: train, load, evaluate, render.

`metarobot` exports them by their names; the command line is the same doors with options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarobot import machine
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import Run, load_run_or_policy
from metarobot.algorithms import (
    STANDARD_ALGORITHMS,
    algorithm_class,
    option_readers,
    register_algorithm,
    require_readers,
)
from metarobot.config import COMMON_NAMES, RunConfig, find_preset, require_known
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.table import Evaluation
from metarobot.machine import float32_by_default
from metarobot.progress import StageDisplay, TrainingDisplay
from metarobot.reporting.films import render_policy
from metarobot.reporting.report import evaluate_to_folder
from metarobot.reporting.video import require_film_name
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import load_run

__all__ = [
    "AdaptablePolicy",
    "Episodes",
    "Evaluation",
    "Run",
    "evaluate",
    "load",
    "register_algorithm",
    "render",
    "train",
]


@float32_by_default()
def train(
    preset: str,
    *,
    algorithms: Sequence[str] = (),
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Run:
    """Train policies of a task family, as ``metarobot train`` does, and show the progress.

    Example::

        run = mr.train("grip", seed=0)

    Args:
        preset: Settings to begin with: "grip", "slide", .., see ``metarobot list``; or the id of a
            registered family.
        algorithms: Who is trained, one after the other; by default latent and maml, and
            their two references.
        seed: Seed of every draw.
        out: Folder of the run; ``runs/PRESET-seedSEED`` when None.
        overwrite: Replace a run that is there.
        **options: Other fields of the configuration, such as ``total_steps``, and options of the
            algorithms, such as ``inner_lr``.

    Returns:
        The run, whose policies are read back from its folder.

    Raises:
        ValueError: A name or a number is not allowed.
        FileExistsError: There is a run in the folder.
    """
    names = tuple(dict.fromkeys(algorithms)) or STANDARD_ALGORITHMS
    config = _run_config(preset, names, {"seed": seed, **options})
    from metarobot.training.run import default_run_folder, train_run  # reading needs no trainer

    folder = default_run_folder(config) if out is None else Path(out)
    machine.prepare()
    with TrainingDisplay(names, config.total_steps) as display:
        train_run(config, names, folder, display, overwrite=overwrite)
    return Run(load_run(folder))


def _run_config(preset: str, algorithms: Sequence[str], fields: Mapping[str, Any]) -> RunConfig:
    """Return a preset with other values of common fields and of options."""
    common = {name: value for name, value in fields.items() if name in COMMON_NAMES}
    options = {name: value for name, value in fields.items() if name not in COMMON_NAMES}
    for name in algorithms:
        algorithm_class(name)  # says which names there are
    require_known(fields, (*COMMON_NAMES, *option_readers()), "field or option")
    require_readers(options, algorithms)
    return replace(find_preset(preset), **common).with_options(**options)


def load(path: str | Path, *, best: bool = False) -> Any:
    """Read a run, or a policy that was saved; nothing in the file is executed.

    Example::

        policy = mr.load("grip")["latent"]
        policy = mr.load("runs/grip-seed0")["latent"]
        adapted = mr.load("adapted.safetensors")

    Args:
        path: Folder of a run, the name of one that comes with the package (``metarobot list``
            names them), or a file that `AdaptablePolicy.save` has written.
        best: Of a run, take the policies with the best smoothed return in training, not the last.

    Returns:
        A `Run` for a folder, an `AdaptablePolicy` for a file. Its type is Any, so that the lines
        above pass a type checker.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is damaged, or holds something else.
    """
    return load_run_or_policy(Path(path), best=best)


@float32_by_default()
def evaluate(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    out: str | Path,
    films: int = 4,
    **options: Any,
) -> Evaluation:
    """Measure adaptation on tasks never trained on, as ``metarobot evaluate`` does.

    Example::

        mr.evaluate(run, out="results/grip")

    Args:
        runs: A run or its folder, or several seeds of one family.
        out: Folder for the numbers, pictures and the report.
        films: Films of the worst tasks in the report, where this machine has OpenGL.
        **options: Fields of ``EvaluationConfig``, such as ``num_tasks``.

    Returns:
        The evaluation: curves, headroom and heat map, with `to_dict` and `from_dict`.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The runs do not go together, or a number is not allowed.
    """
    several = [runs] if isinstance(runs, (Run, str, Path)) else runs
    trained = [run.trained if isinstance(run, Run) else load_run(Path(run)) for run in several]
    machine.prepare()
    with StageDisplay() as stages:
        config = EvaluationConfig(**{"robustness": True, **options})
        return evaluate_to_folder(trained, Path(out), config, num_films=films, progress=stages)


@float32_by_default()
def render(
    policy: AdaptablePolicy,
    out: str | Path,
    *,
    task: Mapping[str, float] | None = None,
    seed: int = 0,
) -> float:
    """Film one episode of a policy in its family's simulation, without action noise.

    Example::

        mr.render(adapted, "after.mp4", task={"payload_kg": 2.0})

    Args:
        policy: A trained or an adapted policy.
        out: File to write, ending in .mp4, .webp or .gif.
        task: Task parameters, in the units of their names; those not named are nominal. Without
            it the nominal task is filmed, whatever task the policy was adapted to.
        seed: Seed of the start.

    Returns:
        The return of the episode.

    Raises:
        ValueError: The file ends otherwise, the family does not allow the task, or ffmpeg failed.
        OpenGLError: This machine cannot render.
    """
    require_film_name(Path(out))
    machine.prepare()
    return render_policy(policy, Path(out), task, seed)
