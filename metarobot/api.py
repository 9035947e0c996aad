"""Public functions of the package: train, load, adapt, evaluate, film, explain, play, export.

`metarobot` exports most of them by their names; the command line calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, overload

from metarobot.adaptation.episodes import Episodes
from metarobot.adaptation.hub import find_policy_file, write_hub_folder
from metarobot.adaptation.policy import SUFFIX, AdaptablePolicy, load_policy_file
from metarobot.adaptation.run import Run
from metarobot.algorithms import (
    ALGORITHMS,
    STANDARD_ALGORITHMS,
    algorithm_class,
    configure,
    make_policy,
    option_readers,
    register_algorithm,
    require_readers,
)
from metarobot.config import (
    COMMON_NAMES,
    InnerObjective,
    RunConfig,
    TrainConfig,
    Value,
    find_preset,
    require_known,
)
from metarobot.console import (
    InterruptedCommandError,
    StageDisplay,
    listen_for_stop,
    make_console,
    print_line,
    say,
)
from metarobot.envs import find_family, keep_processes, short_names
from metarobot.envs.checks import require_integer
from metarobot.envs.scene import SceneRecord
from metarobot.envs.tasks import Split
from metarobot.envs.variants import Variant
from metarobot.evaluation import table
from metarobot.evaluation.protocol import (
    COMPARISON,
    ActionNoise,
    EvaluationConfig,
    Rewards,
    Untrained,
)
from metarobot.io import require_absent, require_writable
from metarobot.learning.distributed import join_workers
from metarobot.machine import choose_num_threads, extra, own_settings, prepare, require_opengl
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
    import pandas as pd
    from matplotlib.figure import Figure

    from metarobot.config import RenderConfig
    from metarobot.evaluation.check import FamilyCheck
    from metarobot.evaluation.explain import Explanation
    from metarobot.evaluation.protocol import ExplanationConfig
    from metarobot.reporting.video import Film

__all__ = [
    "AdaptablePolicy",
    "Episodes",
    "Evaluation",
    "Run",
    "check_family",
    "compare",
    "evaluate",
    "explain",
    "export",
    "list_families",
    "load_policy",
    "load_run",
    "play",
    "register_algorithm",
    "render",
    "resume",
    "train",
]


# Keywords of the functions below, as editors and type checkers know them: names and types of the
# fields of a configuration, whose class has their meaning, their defaults and their bounds.


class TrainOptions(TypedDict, total=False):
    """Keywords of `metarobot.train`: fields of `RunConfig`, and options of all algorithms."""

    env_id: str
    variant: Variant | None
    scene: SceneRecord | None
    seed: int
    total_steps: int
    num_tasks: int
    episodes_per_task: int
    hidden_sizes: tuple[int, ...]
    initial_std: float
    normalise_outer: bool
    discount: float
    gae_lambda: float
    num_threads: int
    options: Mapping[str, Value]  # by name, for those of an algorithm from outside

    max_kl: float
    cg_iterations: int
    cg_damping: float
    line_search_steps: int
    line_search_decay: float
    fisher_episodes: int
    inner_lr: float
    inner_objective: InnerObjective
    normalise_inner: bool
    shrink_steps: bool
    value_prior: bool
    vary_episodes: bool
    adaptation_min_std: float
    num_adaptation_steps: int
    first_order: bool
    min_std: float
    outer_lr: float
    outer_epochs: int
    outer_max_kl: float
    clip_ratio: float
    inner_kl_penalty: float
    reptile_steps: int
    reptile_rate: float
    context_size: int
    support_episodes: int
    embedding_size: int
    encoder_epochs: int
    model_lr: float
    model_epochs: int
    model_batch: int
    num_weighed: int
    careful_share: float
    likelihood_power: float
    trial_episodes: int
    reward_products: bool
    latent_size: int
    student_episodes: int
    student_epochs: int
    student_lr: float
    task_products: bool


class EvaluateOptions(TypedDict, total=False):
    """Keywords of `metarobot.evaluate`: fields of `EvaluationConfig`."""

    num_tasks: int
    adaptation_episodes: tuple[int, ...]
    num_blocks: int
    episodes_per_block: int
    later_step_length: float
    test_episodes: int
    action_noise: ActionNoise
    rewards: Rewards
    untrained: tuple[Untrained, ...]
    splits: tuple[Split, ...]
    heat_map: bool
    grid_size: int
    heat_map_episodes: tuple[int, ...]
    robustness: bool
    seed: int


class RenderOptions(TypedDict, total=False):
    """Keywords of `metarobot.render`: fields of `RenderConfig`."""

    algorithm: str | None
    split: Split | None
    seed: int
    adaptation_episodes: tuple[int, ...]
    contact_forces: bool
    slow_motion: float


class ExplainOptions(TypedDict, total=False):
    """Keywords of `metarobot.explain`: fields of `ExplanationConfig`."""

    num_tasks: int
    adaptation_episodes: tuple[int, ...]
    num_identified: int
    seed: int


class Evaluation(table.Evaluation):
    """What an evaluation has measured, with the sentences and figures of its report."""

    @classmethod
    def of(cls, measured: table.Evaluation) -> Self:
        """Return the same evaluation, with the methods of this class."""
        return cls(**{field.name: getattr(measured, field.name) for field in fields(measured)})

    def summary(self) -> str:
        """Return the result in a few lines: which policy wins, and where it fails."""
        from metarobot.reporting.words import summary

        return summary(self)

    def plot_curve(self) -> Figure:
        """Draw return and success over the number of adaptation episodes, for each split.

        Raises:
            ValueError: The evaluation has no test episodes.
        """
        from metarobot.reporting.figures import adaptation_curve

        return adaptation_curve(self)

    def plot_heat_map(self) -> Figure:
        """Draw the return over two task parameters, a map for each policy.

        Raises:
            ValueError: No heat map was measured.
        """
        from metarobot.reporting.heat_map import heat_map

        return heat_map(self)

    def _repr_html_(self) -> str:
        from metarobot.reporting.tables import overview_html

        return overview_html(self)


@own_settings()
def check_family(
    preset: str | RunConfig, *, seed: int = 0, at_most_s: float = 120.0
) -> FamilyCheck:
    """Check a task family before training, as ``metarobot check`` does.

    Example::

        print(mr.check_family("grip"))

    Args:
        preset: As of `train`.
        seed: Seed of tasks, starts and actions.
        at_most_s: Time that it may take, about, in seconds; slow simulations are measured on fewer
            episodes.

    Returns:
        The check: ``trainable``, its findings, figures for each task parameter, and a
        configuration with the values that follow from them. Printed, it is a page of text.

    Raises:
        ValueError: A name or a number is not allowed.
    """
    from metarobot.evaluation.check import check_family as check

    config = find_preset(preset) if isinstance(preset, str) else preset
    prepare()
    with StageDisplay() as stages:
        return check(replace(config, seed=seed), at_most_s=at_most_s, progress=stages)


@own_settings()
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


@own_settings()
def resume(
    folder: str | Path,
    *,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
    num_threads: int | None = None,
    expected: RunConfig | None = None,
    wandb: bool = False,
) -> tuple[str, ...]:
    """Resume a run exactly, as ``metarobot train --resume`` does, and show the progress.

    Example::

        mr.resume("runs/grip-seed0", total_steps=2_000_000)

    Args:
        folder: The run's folder.
        algorithms: Algorithms to add to the run, trained with its configuration.
        total_steps: New budget of control steps of every algorithm, at least the present one.
        num_threads: Threads from now on, 0 for every processor; those of the run when None.
        expected: Configuration that the run must have; its own when None.
        wandb: Log every metric to Weights & Biases as well.

    Returns:
        The algorithms that this call finished.

    Raises:
        ValueError: There is no such run, or it cannot be resumed here.
    """
    from metarobot.training.run import resume_run

    folder = Path(folder)
    prepare()
    with (
        join_workers() as workers,
        TrainingDisplay(wandb=folder if wandb else None) as display,
    ):
        return resume_run(
            folder,
            display,
            expected=expected,
            algorithms=algorithms,
            total_steps=total_steps,
            num_threads=num_threads,
            workers=workers,
        )


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
            .safetensors; or a folder as `metarobot export --format hub` writes.
        algorithm: Algorithm of the policy; by default that of the file, or the first of a run that
            adapts: latent, maml, others.
        best: Of a run, take the policy with the best smoothed return in training, not the last.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is damaged, or holds no such policy.
    """
    return choose_policy(path, algorithm, best=best, quiet=True)


@own_settings()
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
    require_known(options, EvaluateOptions.__annotations__, "option")
    require_alike(trained)
    trained = [find_scene(run, scene) for run in trained]
    for run in trained:
        if run.unfinished:
            say(f"note: {run.path} was interrupted: {', '.join(run.unfinished)}")
    prepare()
    with StageDisplay() as stages:
        measured = evaluate_to_folder(
            trained,
            Path(out),
            replace(config or EvaluationConfig(robustness=True), **options),
            variant=choose_variant(trained[0], variant),
            num_films=films,
            video=video,
            commands=[command] if command else [],
            progress=stages,
        )
    return Evaluation.of(measured)


@overload
def render(
    shown: AdaptablePolicy,
    out: str | Path,
    *,
    task: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Film: ...


@overload
def render(
    shown: Run | str | Path,
    out: str | Path,
    *,
    task: Mapping[str, float] | None = None,
    grid: tuple[int, int] | None = None,
    grid_parameters: Sequence[str] = (),
    best: bool = False,
    variant: str | None = None,
    scene: Path | None = None,
    config: RenderConfig | None = None,
    **options: Unpack[RenderOptions],
) -> Film: ...


@own_settings()
@keep_processes()
def render(
    shown: AdaptablePolicy | Run | str | Path,
    out: str | Path,
    *,
    task: Mapping[str, float] | None = None,
    grid: tuple[int, int] | None = None,
    grid_parameters: Sequence[str] = (),
    best: bool = False,
    variant: str | None = None,
    scene: Path | None = None,
    config: RenderConfig | None = None,
    **options: Any,
) -> Film:
    """Film a policy, or a run before and after adaptation: ``metarobot render``.

    A notebook shows the film.

    Example::

        mr.render(adapted, "after.mp4", task={"block_mass_kg": 1.5})
        mr.render("grip", "adaptation.mp4", task={"block_mass_kg": 1.5}, adaptation_episodes=(5,))
        mr.render("grip", "grid.mp4", grid=(3, 3))

    Args:
        shown: A trained or an adapted policy, which is filmed in one episode without action noise;
            or a run, its folder, or the name of a run of the package.
        out: File to write, ending in .mp4, .webp or .gif.
        task: Task parameters, in the units of their names; those not named are nominal. Without
            it, the nominal task of a policy is filmed, not the task that it was adapted to; of a
            run, a task is drawn.
        grid: Columns and rows of a grid of tasks, of a run.
        grid_parameters: Task parameters of the columns and of the rows; those of the heat map if
            not given.
        best: Of a folder, take the policies with the best smoothed return in training.
        variant: As of `evaluate`, and so is ``scene``; of a run.
        scene: Place of the run's scene, if it has moved.
        config: Settings of the film of a run; the defaults when None.
        **options: Of a policy the ``seed`` of the start; of a run the fields of ``RenderConfig``,
            such as ``adaptation_episodes``.

    Raises:
        ValueError: The file ends otherwise, the run cannot be read, the family does not allow the
            task, or ffmpeg failed.
        OpenGLError: This machine cannot render.
    """
    from metarobot.config import GridSize
    from metarobot.config import RenderConfig as Config
    from metarobot.reporting.films import render_adaptation, render_grid, render_policy
    from metarobot.reporting.video import VideoError, require_film_name

    out = Path(out)
    require_film_name(out)
    prepare()
    if out.parent.exists():  # else it is made
        require_writable(out)
    try:
        if isinstance(shown, AdaptablePolicy):
            require_known(options, ("seed",), "option for the film of a policy")
            return render_policy(shown, out, task, **options)
        require_known(options, RenderOptions.__annotations__, "option")
        settings = replace(config or Config(), **options)
        found, _ = _open(shown, settings.algorithm, best=best, scene=scene)
        require_opengl()
        measured = choose_variant(found, variant)
        with StageDisplay() as stages:
            if grid is None:
                return render_adaptation(found, out, settings, task, measured, progress=stages)
            columns, rows = grid
            size = GridSize(columns=columns, rows=rows, parameters=tuple(grid_parameters))
            return render_grid(found, out, size, settings, task, measured, progress=stages)
    except VideoError as error:
        raise ValueError(str(error)) from error


@own_settings()
def compare(
    preset: str | RunConfig,
    *,
    out: str | Path,
    algorithms: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    runs: str | Path | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    initial_policy: str | Path | None = None,
    wandb: bool = False,
    modules: Sequence[str] = (),
    evaluation: EvaluationConfig = COMPARISON,
    command: str = "",
    **options: Unpack[TrainOptions],
) -> Evaluation:
    """Train algorithms with several seeds, and measure them alike: ``metarobot compare``.

    Finished trainings and measurements are kept: the same call continues an interrupted comparison.

    Example::

        mr.compare("slide", out="results/slide", algorithms=["latent", "maml"], seeds=[0, 1])

    Args:
        preset: As of `train`.
        out: Folder for the numbers, pictures and the report.
        algorithms: Algorithms to train; by default all.
        seeds: Training seeds.
        runs: Folder for the run folders, one per seed; ``out`` when None.
        jobs: Trainings at the same time. More than one start processes, which import the caller's
            script: guard it by ``if __name__ == "__main__":``.
        cluster: Address of a dask scheduler whose workers train instead.
        initial_policy: As of `train`, and so is ``wandb``.
        wandb: Log every metric to Weights & Biases as well.
        modules: Modules of yours that register what is trained, for other processes to import.
        evaluation: Extent of the measurement.
        command: Command line that reproduces the report.
        **options: As of `train`, without ``seed``.

    Raises:
        ValueError: A name or a number is not allowed, or a training has failed.
    """
    from metarobot.evaluation.evaluate import require_memory
    from metarobot.evaluation.references import measured_names
    from metarobot.reporting.report import evaluate_to_folder, prepare_evaluation
    from metarobot.training.jobs import Training, run_trainings, workers
    from metarobot.training.run import plan_seeds, write_plan

    names, out = tuple(dict.fromkeys(algorithms)) or tuple(ALGORITHMS), Path(out)
    require_integer("jobs", jobs, 1, 1000)
    config = _with_fields(preset, names, options)
    if not config.num_threads and cluster is None:
        config = replace(config, num_threads=max(1, choose_num_threads() // jobs))
    prepare()
    prepare_evaluation(out, keep_scores=True)  # before training, which takes hours
    configs = [configure(config, name) for name in names]
    require_memory(evaluation, configs)
    if evaluation.rewards == "hidden":
        measured_names(_untrained(configs), evaluation)
    folder = out if runs is None else Path(runs)
    begin = None if initial_policy is None else Path(initial_policy)
    plans = plan_seeds(config, names, seeds, folder, begin)
    trainings = [
        Training(
            config=replace(each, num_threads=config.num_threads),
            run=plan.folder,
            wandb=wandb,
            here=Path.cwd(),
            modules=modules,
        )
        for plan in plans
        for each in plan.trainings
        if each.algorithm in names
    ]
    for plan in plans:
        write_plan(plan)
    with StageDisplay() as stages:
        if trainings:
            try:
                with workers(jobs, cluster) as (submit, stop):
                    run_trainings(trainings, submit, stop, stages)
            except InterruptedCommandError as error:
                way_on = "the same command goes on with it"
                raise InterruptedCommandError(error.signal_number, way_on) from None
        trained = [load_run(plan.folder).trained for plan in plans]
        require_alike(trained)
        measured = evaluate_to_folder(
            trained,
            out,
            evaluation,
            variant=choose_variant(trained[0], None),
            commands=[command] if command else [],
            keep_scores=True,
            progress=stages,
        )
    return Evaluation.of(measured)


def _untrained(configs: Sequence[TrainConfig]) -> TrainedRun:
    """Return the run of a seed before training, without parameters."""
    policies = {each.algorithm: TrainedPolicy(make_policy(each), {}, each) for each in configs}
    return TrainedRun(seed=configs[0].seed, env_id=configs[0].env_id, policies=policies)


def _trained(run: Run | str | Path, best: bool) -> TrainedRun:
    """Return a run that is there, or read it from its folder."""
    return (run if isinstance(run, Run) else load_run(run, best=best)).trained


def _open(
    run: Run | str | Path,
    algorithm: str | None,
    *,
    best: bool,
    scene: Path | None,
    adapts: bool = True,
) -> tuple[TrainedRun, str]:
    """Return a run with its scene, and the algorithm that `choose_learner` chooses."""
    found = find_scene(_trained(run, best), scene)
    return found, choose_learner(found, algorithm, adapts=adapts)


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


def _is_policy_file(place: Run | str | Path) -> bool:
    """Return whether a place is the file of a policy or its folder of the Hub, not a run."""
    if isinstance(place, Run):
        return False
    file = find_policy_file(Path(place))
    return file.suffix == SUFFIX and not file.is_dir()


def choose_policy(
    place: Run | str | Path,
    named: str | None = None,
    *,
    best: bool = False,
    adapts: bool = False,
    quiet: bool = False,
) -> AdaptablePolicy:
    """Return the policy of a file or a Hub folder, or that of a run, see `choose_learner`.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, or holds no such policy.
    """
    if isinstance(place, Run) or not _is_policy_file(place):
        run = place if isinstance(place, Run) else load_run(place, best=best)
        return run[choose_learner(run.trained, named, adapts=adapts, quiet=quiet)]
    if best:
        raise ValueError(f"{place} holds one policy: best goes with a run's folder")
    policy = load_policy_file(find_policy_file(Path(place)))
    if named not in (None, policy.config.algorithm):
        held = policy.config.algorithm
        raise ValueError(f"{place} holds a policy of {held} alone: {named} needs a run")
    return policy


@own_settings()
@keep_processes()
def explain(
    run: Run | str | Path,
    out: str | Path,
    *,
    algorithm: str | None = None,
    best: bool = False,
    scene: Path | None = None,
    task: Mapping[str, float] | None = None,
    config: ExplanationConfig | None = None,
    command: str = "",
    **options: Unpack[ExplainOptions],
) -> Explanation:
    """Measure how adaptation depends on the task and changes behaviour: ``metarobot explain``.

    Example::

        mr.explain("grip", "results/explained", task={"block_mass_kg": 1.5}, num_tasks=50)

    Args:
        run: A run, its folder, or the name of a run of the package.
        out: Folder for the numbers, the pictures and the page.
        algorithm: Algorithm that adapts; the first if None.
        best: Of a folder, take the policies with the best smoothed return in training.
        scene: Place of the run's scene, if it has moved.
        task: One task to look at more closely.
        config: Extent of the measurement; the defaults when None.
        command: Command line that reproduces the page.
        **options: Fields of ``ExplanationConfig``, such as ``num_tasks``.

    Raises:
        ValueError: The run cannot be read, or the family does not allow the task.
    """
    from metarobot.evaluation.protocol import ExplanationConfig as Config
    from metarobot.reporting.explanation import explain_to_folder

    prepare()
    require_known(options, ExplainOptions.__annotations__, "option")
    settings = replace(config or Config(), **options)
    found, name = _open(run, algorithm, best=best, scene=scene)
    console = make_console()

    def answer(sentences: Sequence[str]) -> None:
        for sentence in sentences:
            print_line(console, sentence)

    with StageDisplay(console) as stages:
        return explain_to_folder(
            found,
            name,
            Path(out),
            settings,
            task=task,
            command=command,
            progress=stages,
            answer=answer,
        )


@own_settings()
def play(
    run: Run | str | Path,
    *,
    port: int = 8741,
    algorithm: str | None = None,
    best: bool = False,
    task: Mapping[str, float] | None = None,
    variant: str | None = None,
    scene: Path | None = None,
    seed: int = 0,
) -> None:
    """Play with a policy in the browser until Ctrl-C: ``metarobot play``.

    Args:
        run: A run, its folder, or the name of a run of the package.
        port: TCP port on the loopback address; 0 takes any that is free.
        algorithm: Algorithm whose policy acts; the first that adapts if None.
        best: Of a folder, take the policies with the best smoothed return in training.
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
    found, name = _open(run, algorithm, best=best, scene=scene, adapts=False)
    shown = choose_variant(found, variant)
    with serve(port) as server, listen_for_stop() as request:
        options: dict[str, Any] = {"variant": shown, "seed": seed}
        session = PlaySession(found.policies[name], task=task, **options)
        if session.policy.algorithm.adapts:
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
    shown: AdaptablePolicy | Run | str | Path,
    out: str | Path,
    *,
    algorithm: str | None = None,
    best: bool = False,
    overwrite: bool = False,
) -> str:
    """Write a policy as an ONNX file, a PPO model or a Hub folder: ``metarobot export``.

    Example::

        mr.export(adapted, "adapted.onnx")

    Args:
        shown: A policy; or a run, its folder, the name of a run of the package, or the file of an
            adapted policy.
        out: File to write: .onnx, for every policy, or .zip for a PPO model of Stable-Baselines3;
            or without an ending a folder in the form of the Hugging Face Hub, for every policy.
        algorithm: Algorithm whose policy is written; if None maml for PPO, else the first that
            adapts.
        best: Of a folder, take the policy with the best smoothed return in training.
        overwrite: Replace a file that is there already.

    Returns:
        The algorithm.

    Raises:
        ValueError: There is no such policy, or the format has no place for it.
    """
    from metarobot.adaptation.onnx import export_onnx, require_onnx

    out = Path(out)
    if out.suffix not in ("", ".onnx", ".zip"):
        raise ValueError(
            f"out must end in .onnx, in .zip for a PPO model, or be a folder for the Hub, got {out}"
        )
    if out.suffix == ".onnx":
        require_onnx()
    prepare()
    if out.suffix:
        require_writable(out)
        if not overwrite:
            require_absent(out)
    if isinstance(shown, AdaptablePolicy):
        policy = shown
    elif out.suffix != ".zip" or _is_policy_file(shown):
        policy = choose_policy(shown, algorithm, best=best)
    else:
        policy = choose_policy(shown, algorithm or "maml", best=best)
    if out.suffix == ".onnx":
        export_onnx(policy, out, overwrite=overwrite)
    elif not out.suffix:
        write_hub_folder(policy, out, overwrite=overwrite)
    else:
        from metarobot.sb3 import export_ppo  # Stable-Baselines3 takes seconds to import

        export_ppo(TrainedPolicy(policy.policy, policy.params, policy.config), out)
    return policy.config.algorithm


def list_families() -> pd.DataFrame:
    """Return the task families: what the robot does, what changes, and which policies are there.

    Example::

        mr.list_families()

    Returns:
        A table by the name of the family, as `train` takes it: ``env_id`` for ``gymnasium.make``,
        ``task`` in a sentence, ``parameters`` that change from task to task, and the algorithms of
        the ``policies`` that come with the package.
    """
    with extra("train", "the table of families"):
        import pandas as pd

    rows = {}
    for name, env_id in short_names().items():
        family = find_family(env_id)
        rows[name] = {
            "env_id": env_id,
            "task": family.summary()[0].upper() + family.summary()[1:],
            "parameters": ", ".join(family.distribution.names),
            "policies": ", ".join(
                each for each in ALGORITHMS if (training_load.FOLDER / name / each).is_dir()
            ),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("family")
