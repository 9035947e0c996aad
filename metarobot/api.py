"""Public functions of the package: train, load, adapt, evaluate, film, explain, play, export.

`metarobot` exports most of them by their names; the command line calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from metarobot.adaptation.policy import SUFFIX, AdaptablePolicy, load_policy_file
from metarobot.adaptation.run import Run
from metarobot.algorithms import (
    STANDARD_ALGORITHMS,
    algorithm_class,
    option_readers,
    register_algorithm,
    require_readers,
)
from metarobot.config import COMMON_NAMES, RunConfig, find_preset, require_known
from metarobot.console import StageDisplay, listen_for_stop, make_console, print_line, say
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.table import Evaluation
from metarobot.io import require_absent, require_writable
from metarobot.learning.distributed import join_workers
from metarobot.machine import float32_by_default, prepare
from metarobot.rollout.episodes import Episodes
from metarobot.training import load as training_load
from metarobot.training.load import (
    TrainedPolicy,
    TrainedRun,
    choose_variant,
    find_scene,
    require_alike,
)
from metarobot.training.progress import TrainingDisplay

if TYPE_CHECKING:
    from metarobot.evaluation.explain import Explanation
    from metarobot.evaluation.protocol import ExplanationConfig
    from metarobot.options import EvaluateOptions, TrainOptions
    from metarobot.reporting.film_config import GridSize, RenderConfig
    from metarobot.reporting.films import RenderedAdaptation, RenderedGrid

__all__ = [
    "AdaptablePolicy",
    "Episodes",
    "Evaluation",
    "Run",
    "evaluate",
    "load_policy",
    "load_run",
    "register_algorithm",
    "render",
    "train",
]


@float32_by_default()
def train(
    preset: str | RunConfig,
    *,
    algorithms: Sequence[str] = (),
    out: str | Path | None = None,
    overwrite: bool = False,
    initial_policy: str | Path | None = None,
    wandb: bool = False,
    **options: Unpack[TrainOptions],
) -> Run:
    """Train policies of a task family, as ``metarobot train`` does, and show the progress.

    Example::

        run = mr.train("grip", seed=0)

    Args:
        preset: Settings to begin with: "grip", "slide", .., see ``metarobot list``; or the id of a
            registered family; or a whole configuration.
        algorithms: Algorithms to train, one after the other; by default latent and maml, and
            their two references.
        out: Folder of the run; ``runs/PRESET-seedSEED`` when None.
        overwrite: Replace a run that is there.
        initial_policy: File with the parameters to begin with; random when None.
        wandb: Log every metric to Weights & Biases as well.
        **options: Fields of the configuration, such as ``seed`` and ``total_steps``, and options of
            the algorithms, such as ``inner_lr``. Type checkers know those of the package; pass one
            of an algorithm of yours in ``options={"my_option": 2.0}``.

    Returns:
        The run, whose policies are read back from its folder.

    Raises:
        ValueError: A name or a number is not allowed.
        FileExistsError: There is a run in the folder.
    """
    names = tuple(dict.fromkeys(algorithms)) or STANDARD_ALGORITHMS
    for name in names:
        algorithm_class(name)  # says which names there are
    config = _with_fields(preset, names, options)
    from metarobot.training.run import default_run_folder, train_run  # reading needs no trainer

    folder = default_run_folder(config) if out is None else Path(out)
    prepare()
    with (
        join_workers() as workers,
        TrainingDisplay(names, config.total_steps, wandb=folder if wandb else None) as display,
    ):
        train_run(
            config,
            names,
            folder,
            display,
            overwrite=overwrite,
            initial_policy=None if initial_policy is None else Path(initial_policy),
            workers=workers,
        )
    return load_run(folder)


def resume(folder: Path, *, wandb: bool = False, **values: Any) -> tuple[str, ...]:
    """Resume a run, as ``metarobot train --resume`` does, and show the progress.

    Args:
        folder: The run's folder.
        wandb: Log every metric to Weights & Biases as well.
        **values: Other arguments of `resume_run`.

    Returns:
        The algorithms that this call finished.

    Raises:
        ValueError: There is no such run, or it cannot be resumed here.
    """
    from metarobot.training.run import resume_run

    prepare()
    with (
        join_workers() as workers,
        TrainingDisplay(wandb=folder if wandb else None) as display,
    ):
        return resume_run(folder, display, workers=workers, **values)


def _with_fields(
    preset: str | RunConfig, algorithms: Sequence[str], fields: Mapping[str, Any]
) -> RunConfig:
    """Return a preset with other values of common fields and of options."""
    fields = {**fields}
    fields |= fields.pop("options", {})
    common = {name: value for name, value in fields.items() if name in COMMON_NAMES}
    options = {name: value for name, value in fields.items() if name not in COMMON_NAMES}
    require_known(fields, (*COMMON_NAMES, *option_readers()), "field or option")
    require_readers(options, algorithms)
    config = find_preset(preset) if isinstance(preset, str) else preset
    return replace(config, **common).with_options(**options)


def load_run(path: str | Path, *, best: bool = False) -> Run:
    """Read the policies of a run; nothing in its folder is executed.

    Example::

        run = mr.load_run("grip")
        run = mr.load_run("runs/grip-seed0")

    Args:
        path: Folder of the run, or the name of one that comes with the package: `list_families`
            names them.
        best: Take the policies with the best smoothed return in training, not the last.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is damaged, or holds something else.
    """
    return Run(training_load.load_run(Path(path), best=best))


def load_policy(
    path: str | Path, algorithm: str | None = None, *, best: bool = False
) -> AdaptablePolicy:
    """Read a policy of a run, or one that was saved; nothing in the file is executed.

    Example::

        policy = mr.load_policy("grip", "latent")
        policy = mr.load_policy("runs/grip-seed0", "latent")
        adapted = mr.load_policy("adapted.safetensors")

    Args:
        path: As of `load_run`; or a file that `AdaptablePolicy.save` has written, which ends in
            .safetensors.
        algorithm: Algorithm of the policy; by default that of the file, or the first of a run that
            adapts: latent, maml, others.
        best: Of a run, take the policy with the best smoothed return in training, not the last.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is damaged, or holds no such policy.
    """
    return choose_policy(Path(path), algorithm, best=best, quiet=True)


@float32_by_default()
def evaluate(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    out: str | Path,
    films: int = 4,
    best: bool = False,
    variant: str | None = None,
    scene: Path | None = None,
    config: EvaluationConfig | None = None,
    video: Path | None = None,
    command: str = "",
    **options: Unpack[EvaluateOptions],
) -> Evaluation:
    """Measure adaptation on tasks never trained on, as ``metarobot evaluate`` does.

    Example::

        mr.evaluate(run, out="results/grip")

    Args:
        runs: A run or its folder, or several seeds of one family.
        out: Folder for the numbers, pictures and the report.
        films: Films of the worst tasks in the report, where this machine has OpenGL.
        best: Of folders, measure the policies with the best smoothed return in training.
        variant: Variant of the family, a name or a .toml file; "none" for the family itself, None
            for the tasks that the runs were trained on.
        scene: Place of the runs' scene, if it was one of the user's and has moved.
        config: Sizes of the measurement; the defaults, with variants measured too, when None.
        video: MP4 to show in the report.
        command: Command line that reproduces the report.
        **options: Fields of ``EvaluationConfig``, such as ``num_tasks``.

    Returns:
        The evaluation: curves, headroom and heat map, with `to_dict` and `from_dict`.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The runs do not go together, or a number is not allowed.
    """
    from metarobot.reporting.report import evaluate_to_folder  # training needs no pictures

    several = [runs] if isinstance(runs, (Run, str, Path)) else runs
    trained = [_trained(run, best) for run in several]
    require_alike(trained)
    trained = [find_scene(run, scene) for run in trained]
    for run in trained:
        if run.unfinished:
            say(f"note: {run.path} was interrupted: {', '.join(run.unfinished)}")
    prepare()
    with StageDisplay() as stages:
        return evaluate_to_folder(
            trained,
            Path(out),
            replace(config or EvaluationConfig(robustness=True), **options),
            variant=choose_variant(trained[0], variant),
            num_films=films,
            video=video,
            commands=[command] if command else [],
            progress=stages,
        )


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
            it the nominal task is filmed, not the task that the policy was adapted to.
        seed: Seed of the start.

    Returns:
        The return of the episode.

    Raises:
        ValueError: The file ends otherwise, the family does not allow the task, or ffmpeg failed.
        OpenGLError: This machine cannot render.
    """
    from metarobot.reporting.films import render_policy
    from metarobot.reporting.video import require_film_name

    require_film_name(Path(out))
    prepare()
    return render_policy(policy, Path(out), task, seed)


def _trained(run: Run | str | Path, best: bool) -> TrainedRun:
    """Return a run that is there, or read it from its folder."""
    return (run if isinstance(run, Run) else load_run(run, best=best)).trained


def choose_learner(
    run: TrainedRun, named: str | None, *, adapts: bool = True, quiet: bool = False
) -> str:
    """Return the named algorithm of a run, or the first that adapts.

    Args:
        run: The run.
        named: Name of the algorithm; None for the first that adapts.
        adapts: Whether it must adapt.
        quiet: Whether not to print the alternatives.

    Raises:
        ValueError: The run holds none of that name, or none that adapts.
    """
    name, able = named or run.first_learner, run.learners if adapts else tuple(run.policies)
    if name not in able:
        wanted = f"{name} that adapts" if adapts else name
        raise ValueError(f"{run.path} holds no {wanted}, only {', '.join(able) or 'others'}")
    others = ", ".join(each for each in run.learners if each != name)
    if named is None and others and not quiet:
        print_line(make_console(), f"{name} adapts; algorithm may also be: {others}")
    return name


def choose_policy(
    path: Path,
    named: str | None = None,
    *,
    best: bool = False,
    adapts: bool = False,
    quiet: bool = False,
) -> AdaptablePolicy:
    """Return the policy of a file, or that of a run as `choose_learner` chooses it.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, or holds no such policy.
    """
    if path.suffix != SUFFIX or path.is_dir():
        run = load_run(path, best=best)
        return run[choose_learner(run.trained, named, adapts=adapts, quiet=quiet)]
    if best:
        raise ValueError(f"{path} holds one policy: best goes with a run's folder")
    policy = load_policy_file(path)
    if named not in (None, policy.config.algorithm):
        held = policy.config.algorithm
        raise ValueError(f"{path} holds a policy of {held} alone: {named} needs a run")
    return policy


def film(
    run: Path,
    out: Path,
    *,
    config: RenderConfig,
    task: Mapping[str, float] | None = None,
    grid: GridSize | None = None,
    best: bool = False,
    variant: str | None = None,
    scene: Path | None = None,
) -> RenderedAdaptation | RenderedGrid:
    """Film a task before and after adaptation, or a grid of tasks: ``metarobot render``.

    Args:
        run: Run folder, or the name of a run of the package.
        out: File to write, ending in .mp4, .webp or .gif.
        config: Settings of the film.
        task: Task parameters to set; a task is drawn if None.
        grid: Number of tasks, and their parameters; None for one task.
        best: As of `load`.
        variant: As of `evaluate`, and so is ``scene``.
        scene: Place of the run's scene, if it has moved.

    Raises:
        OpenGLError: This machine cannot render.
        ValueError: The run cannot be read, the family does not allow the task, or ffmpeg failed.
    """
    from metarobot.machine import require_opengl
    from metarobot.reporting.films import render_adaptation, render_grid
    from metarobot.reporting.video import VideoError, require_film_name

    require_film_name(out)
    prepare()
    if out.parent.exists():  # else it is made
        require_writable(out)
    found = find_scene(_trained(run, best), scene)
    require_opengl()
    choose_learner(found, config.algorithm)
    shown = choose_variant(found, variant)
    try:
        with StageDisplay() as stages:
            if grid is None:
                return render_adaptation(found, out, config, task, shown, progress=stages)
            return render_grid(found, out, grid, config, task, shown, progress=stages)
    except VideoError as error:
        raise ValueError(str(error)) from error


def explain(
    run: Path,
    out: Path,
    *,
    config: ExplanationConfig,
    algorithm: str | None = None,
    best: bool = False,
    scene: Path | None = None,
    task: Mapping[str, float] | None = None,
    command: str = "",
) -> Explanation:
    """Measure how adaptation depends on the task and changes behaviour: ``metarobot explain``.

    Args:
        run: Run folder, or the name of a run of the package.
        out: Folder for the numbers, the pictures and the page.
        config: Sizes of the measurement.
        algorithm: Algorithm that adapts; the first if None.
        best: As of `load`.
        scene: Place of the run's scene, if it has moved.
        task: One task to look at more closely.
        command: Command line that reproduces the page.

    Raises:
        ValueError: The run cannot be read, or the family does not allow the task.
    """
    from metarobot.reporting.explanation import explain_to_folder

    prepare()
    found = find_scene(_trained(run, best), scene)
    name = choose_learner(found, algorithm)
    console = make_console()

    def answer(sentences: Sequence[str]) -> None:
        for sentence in sentences:
            print_line(console, sentence)

    with StageDisplay(console) as stages:
        return explain_to_folder(
            found, name, out, config, task=task, command=command, progress=stages, answer=answer
        )


def play(
    run: Path,
    *,
    port: int,
    algorithm: str | None = None,
    best: bool = False,
    task: Mapping[str, float] | None = None,
    variant: str | None = None,
    scene: Path | None = None,
    seed: int = 0,
) -> None:
    """Play with a policy in the browser until Ctrl-C: ``metarobot play``.

    Args:
        run: Run folder, or the name of a run of the package.
        port: TCP port on the loopback address; 0 takes any that is free.
        algorithm: Algorithm whose policy acts; the first that adapts if None.
        best: As of `load`.
        task: Initial values of the sliders; by default one that the policy fails on before
            adapting and not after, as measured at the start.
        variant: As of `evaluate`, and so is ``scene``.
        scene: Place of the run's scene, if it has moved.
        seed: Seed of the starts, and of the action noise of trials.

    Raises:
        ValueError: The run cannot be read, or the family does not allow the task.
    """
    from metarobot.reporting.play.page import PlayPage
    from metarobot.reporting.play.server import LOOPBACK, serve
    from metarobot.reporting.play.session import PlaySession
    from metarobot.reporting.play.tasks import find_opening

    prepare()
    console = make_console()
    found = find_scene(_trained(run, best), scene)
    name = choose_learner(found, algorithm, adapts=False)
    shown = choose_variant(found, variant)
    with serve(port) as server, listen_for_stop() as request:
        options: dict[str, Any] = {"variant": shown, "seed": seed}
        session = PlaySession(found.policies[name], task=task, **options)
        print_line(console, "trying the policy on tasks beyond training")
        names = [name] if algorithm or task else found.learners
        first, tried = find_opening(found, names, shown, seed)
        if first != name:
            print_line(console, f"{name} needs no adapting there for success: {first} is shown")
            session.env.close()
            session = PlaySession(found.policies[first], **options)
        if not found.policies[first].finished:
            print_line(console, f"the training of {first} is not finished yet")
        if tried and not task:
            session.begin_task(tried[0].task)
        page, port = PlayPage(session, server, tried), server.get_port()
        elsewhere = f"ssh -L {port}:{LOOPBACK}:{port} THIS_MACHINE"
        print_line(console, f"open http://{LOOPBACK}:{port}")
        print_line(console, f"from another machine, first: {elsewhere}")
        print_line(console, "Ctrl-C ends it")
        page.run(stopped=lambda: bool(request.signal_number))


def export(
    run: Path,
    out: Path,
    *,
    format: Literal["sb3", "onnx"],
    algorithm: str | None = None,
    best: bool = False,
    overwrite: bool = False,
) -> str:
    """Write a policy as an ONNX file or a PPO model: ``metarobot export``.

    Args:
        run: Run folder, the name of a run of the package, or the file of an adapted policy.
        out: File to write.
        format: An ONNX file, for every policy, or a PPO model of Stable-Baselines3.
        algorithm: Algorithm whose policy is written; if None maml for PPO, else the first that
            adapts.
        best: As of `load`.
        overwrite: Replace a file that is there already.

    Returns:
        The algorithm.

    Raises:
        ValueError: There is no such policy, or the format has no place for it.
    """
    from metarobot.adaptation.onnx import export_onnx, require_onnx

    if format == "onnx":
        require_onnx()
    prepare()
    require_writable(out)
    if not overwrite:
        require_absent(out)
    is_run = run.suffix != ".safetensors" or run.is_dir()
    named = algorithm or ("maml" if format == "sb3" and is_run else None)
    policy = choose_policy(run, named, best=best)
    if format == "onnx":
        export_onnx(policy, out, overwrite=overwrite)
    else:
        from metarobot.sb3 import export_ppo  # Stable-Baselines3 takes seconds to import

        export_ppo(TrainedPolicy(policy.policy, policy.params, policy.config), out)
    return policy.config.algorithm
