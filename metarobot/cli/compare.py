"""`metarobot compare`: train several algorithms and seeds, and measure them on the same tasks.

Each seed is a run folder, which is planned and written first. Then its algorithms are trained in
processes of this machine, or on the workers of a dask cluster, each in its own folder of the run.
If a worker dies, another one resumes its training.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from metarobot.algorithms import ALGORITHMS, configure
from metarobot.algorithms.base import make_policy
from metarobot.cli.console import prepare, print_evaluation, shell_line
from metarobot.cli.parsing import (
    find_in_working_folder,
    import_outside_module,
    option_names,
    outside_modules,
)
from metarobot.cli.train import (
    TrainingOptions,
    options_class,
    parse_training,
    require_algorithms,
)
from metarobot.config import RunConfig, TrainConfig
from metarobot.console import InterruptedCommandError, StageDisplay
from metarobot.envs import Split, file_name
from metarobot.envs.checks import require_integers
from metarobot.evaluation.evaluate import require_memory
from metarobot.evaluation.protocol import (
    UNTRAINED,
    ActionNoise,
    EvaluationConfig,
    Rewards,
    Untrained,
)
from metarobot.evaluation.references import measured_names
from metarobot.io import Folder
from metarobot.machine import choose_num_threads
from metarobot.reporting.report import evaluate_to_folder, prepare_evaluation
from metarobot.training.load import TrainedPolicy, TrainedRun, choose_variant, load_runs
from metarobot.training.memory import require_training_memory
from metarobot.training.progress import TrainingDisplay
from metarobot.training.run import RunPlan, plan_new_run, plan_resumed_run, write_plan
from metarobot.training.run_folder import load_curve
from metarobot.training.train import train_algorithm

_LOOK_S = 0.5
"""Time between two checks of a job, in seconds."""
_MOST_NAMES = 4
"""Trainings that the display names at the same time."""
_ENDING_S = 120.0
"""Time that trainings have to end their meta-iterations after a stop request, in seconds."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TrainingOptions):
    """Train several algorithms with one budget, and evaluate them on the same held-out tasks.

    Options of the configuration, such as --total-steps, hold for every training. Finished trainings
    and measurements are kept: the same command continues an interrupted comparison.
    """

    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Algorithms to train; MODULE:NAME for one of yours."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    out: Path | None = None
    """Folder for the evaluation's files; runs/compare-PRESET if not given."""
    runs: Path | None = None
    """Folder for the run folders, one per seed; that of the evaluation if not given."""
    jobs: int = 1
    """Trainings at the same time on this machine, each with its share of the threads."""
    cluster: str | None = None
    """Address of a dask scheduler, such as tcp://10.0.0.1:8786, whose workers train instead. They
    need this package, and this folder at the same path. Set --num-threads where a machine has
    several workers."""
    test_tasks: int = 40
    """Held-out tasks per split."""
    test_episodes: int = 5
    """Test episodes per task."""
    adaptation_episodes: tuple[int, ...] = EvaluationConfig.adaptation_episodes
    """Adaptation episodes per task: policies are measured after one block of each of these numbers,
    and before adapting in any case."""
    num_blocks: int = 4
    """Blocks of adaptation episodes, one after the other, that are measured besides."""
    episodes_per_block: int = 20
    """Adaptation episodes per task in each of them."""
    later_step_length: float = 1.0
    """Step length of every block after the first, as a share of the full step."""
    action_noise: ActionNoise = "none"
    """Action noise of the test episodes."""
    rewards: Rewards = "seen"
    """Whether policies see rewards during the evaluation; if hidden, policies that need rewards to
    adapt are trained but not evaluated."""
    untrained: tuple[Untrained, ...] = tuple(name for name in UNTRAINED if name != "identification")
    """References that are measured besides; from_scratch and fine_tuning need domain_randomisation,
    strategy_search and identification the oracle. The last simulates much more than the others."""
    splits: tuple[Split, ...] = ()
    """Splits to measure; all of the family if not given."""
    heat_map: bool = False
    """Measure the heat map as well."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    heat_map_episodes: tuple[int, ...] = EvaluationConfig.heat_map_episodes
    """Adaptation episodes per task after which the heat map is measured; also before adaptation."""
    test_seed: int = EvaluationConfig.seed
    """Seed of the test tasks and of their episodes."""

    def __post_init__(self) -> None:
        """Refuse an unknown algorithm, and a comparison of none."""
        require_algorithms(self.algorithms)
        if not self.algorithms or not self.seeds:
            raise ValueError(
                "name at least one algorithm with --algorithms, and one seed with --seeds"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds names a seed twice: {' '.join(map(str, self.seeds))}")
        require_integers(self, {"jobs": (1, 1000)})

    @property
    def evaluation(self) -> EvaluationConfig:
        """Settings of the evaluation."""
        alike = (
            *("adaptation_episodes", "num_blocks", "episodes_per_block", "later_step_length"),
            *("test_episodes", "action_noise", "rewards", "untrained", "splits", "heat_map"),
            *("grid_size", "heat_map_episodes"),
        )
        values = {name: getattr(self, name) for name in alike}
        return EvaluationConfig(num_tasks=self.test_tasks, seed=self.test_seed, **values)


Options = options_class(CompareOptions, "", "seed")


def parse_compare(arguments: Sequence[str], prog: str) -> CompareOptions:
    """Parse the arguments of `metarobot compare`."""
    return parse_training(CompareOptions, arguments, prog, "seed")


def run(arguments: list[str], prog: str) -> int:
    """Train the missing algorithms, and evaluate all."""
    options = parse_compare(arguments, prog)
    given = option_names(arguments)
    config, measured = options.config(options.algorithms, given), options.evaluation
    if "num_threads" not in given:
        share = 0 if options.cluster else max(1, choose_num_threads() // options.jobs)
        config = replace(config, num_threads=share)
    console = prepare()
    out = options.out or Path("runs") / f"compare-{file_name(config.env_id)}"
    prepare_evaluation(out, keep_scores=True)  # before training, which takes hours
    configs = [configure(config, name) for name in options.algorithms]
    require_memory(measured, configs)
    if measured.rewards == "hidden":
        measured_names(_before_training(configs), measured)
    plans = plan_runs(options, config, options.runs or out)
    modules = outside_modules(arguments)
    trainings = [
        Training(
            config=replace(each, num_threads=config.num_threads),
            run=plan.folder,
            wandb=options.wandb,
            here=Path.cwd(),
            modules=modules,
        )
        for plan in plans
        for each in plan.trainings
        if each.algorithm in options.algorithms
    ]
    for plan in plans:
        write_plan(plan)
    with StageDisplay(console) as stages:
        if trainings:
            try:
                with workers(options.jobs, options.cluster) as (submit, stop):
                    run_trainings(trainings, submit, stop, stages)
            except InterruptedCommandError as error:
                way_on = "the same command goes on with it"
                raise InterruptedCommandError(error.signal_number, way_on) from None
        runs = load_runs([plan.folder for plan in plans])
        evaluation = evaluate_to_folder(
            runs,
            out,
            measured,
            variant=choose_variant(runs[0], None),
            commands=[shell_line(prog, arguments)],
            keep_scores=True,
            progress=stages,
        )
    return print_evaluation(evaluation, out)


def _before_training(configs: Sequence[TrainConfig]) -> TrainedRun:
    """Return the run of a seed before training, without parameters."""
    policies = {each.algorithm: TrainedPolicy(make_policy(each), {}, each) for each in configs}
    return TrainedRun(seed=configs[0].seed, env_id=configs[0].env_id, policies=policies)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training of one algorithm and seed, as sent to a worker."""

    config: TrainConfig
    run: Path
    """Run folder of the seed."""
    wandb: bool
    here: Path
    """Working folder."""
    modules: Sequence[str]
    """Modules of the user that it needs."""

    @property
    def name(self) -> str:
        """Algorithm and seed."""
        return f"{self.config.algorithm}, seed {self.config.seed}"

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        try:
            curve = load_curve(self.run, self.config.algorithm, ("total_steps",))
        except (OSError, ValueError):  # not begun, or a row is being written
            return 0.0
        return min(1.0, max(curve["total_steps"], default=0.0) / self.config.total_steps)


def plan_runs(options: CompareOptions, config: RunConfig, runs: Path) -> list[RunPlan]:
    """Return the plan of the run of every seed, new or resumed."""
    plans = []
    for seed in options.seeds:
        run = runs / f"{file_name(config.env_id)}-seed{seed}"
        common = replace(config, seed=seed)
        configs = [configure(common, name) for name in options.algorithms]
        require_training_memory(configs)
        if Folder(run).names():
            plans.append(plan_resumed_run(run, common, options.algorithms))
        else:
            plans.append(plan_new_run(run, configs, initial_policy=options.initial_policy))
    return plans


Stop = Any
"""Event, of processes or of a cluster, that stops all trainings."""
Submit = Callable[["Training"], "Future[None]"]
"""Function that submits a training to a worker."""


@contextmanager
def workers(jobs: int, cluster: str | None) -> Iterator[tuple[Submit, Stop]]:
    """Start processes that train, or connect to the workers of a dask cluster by its address.

    Raises:
        ValueError: dask is not installed, or there is no scheduler.
    """
    if cluster is None:  # not dask's own processes: they would take commands from a local port
        context = multiprocessing.get_context("spawn")
        event = context.Event()
        with ProcessPoolExecutor(jobs, context, _begin_process, (event,)) as pool:
            yield lambda training: pool.submit(_train_in_process, training), event
        return
    try:
        from distributed import Client, Event
    except ImportError as error:
        raise ValueError("--cluster needs `pip install 'metarobot[cluster]'`") from error
    try:
        client = Client(cluster, timeout="10s", set_as_default=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"no dask scheduler answers at {cluster!r}: {error}") from error
    with client:
        stop: Any = Event(f"metarobot-stop-{os.getpid()}-{client.id}", client=client)
        executor = client.get_executor(pure=False)
        yield lambda training: executor.submit(train_job, training, stop), stop


_process_stop: Stop
"""Stop event of this process of the pool; it is inherited, as it cannot be pickled."""


def _begin_process(stop: Stop) -> None:
    """Make a process end with its parent; only the parent gets Ctrl-C from the terminal."""
    global _process_stop
    _process_stop = stop
    if hasattr(os, "setsid"):
        os.setsid()
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)  # a training writes its checkpoint
            time.sleep(_ENDING_S)
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _train_in_process(training: Training) -> None:
    train_job(training, _process_stop)


def run_trainings(
    trainings: Sequence[Training],
    submit: Submit,
    stop: Stop,
    progress: Callable[[str, float], None],
) -> None:
    """Run trainings until all are done, and show the share of the work done, 0 to 1.

    Raises:
        ValueError: A training has failed; the others were stopped, and can be resumed.
    """
    running: dict[Future[None], Training] = {}
    try:
        for training in trainings:
            running[submit(training)] = training
        while running:
            finished, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                running.pop(future)
            _show(trainings, list(running.values()), progress)
    except BrokenExecutor as error:
        raise ValueError("a process that trained was killed: is there enough memory?") from error
    finally:
        stop.set()  # those that have not begun see it, and do nothing
        wait(running, timeout=_ENDING_S)


def _show(
    trainings: Sequence[Training],
    left: Sequence[Training],
    progress: Callable[[str, float], None],
) -> None:
    shares = {training.name: training.share for training in left}
    done = len(trainings) - len(left)
    begun = [name for name, share in shares.items() if share > 0.0]
    names = " and ".join(begun[:_MOST_NAMES]) + " and more" * (len(begun) > _MOST_NAMES)
    text = f"{done} of {len(trainings)} trained" + f"; training {names}" * bool(begun)
    progress(text, (done + sum(shares.values())) / len(trainings))


def train_job(training: Training, stop: Stop) -> None:
    """Train in this process until the budget is spent, or until the stop event is set.

    Raises:
        ValueError: The training has failed; the message is one line.
    """
    os.chdir(training.here)
    find_in_working_folder()
    for module in training.modules:
        import_outside_module(module)
    prepare()
    folder = Folder(training.run) / training.config.algorithm
    while not stop.is_set() and folder.is_locked():  # by a worker that has just died, say
        time.sleep(_LOOK_S)
    if stop.is_set():
        return
    display = TrainingDisplay(
        console=Console(quiet=True),
        stopped=stop.is_set,
        wandb=training.run if training.wandb else None,
    )
    try:
        with display:
            train_algorithm(training.config, folder, display)
    except InterruptedCommandError:
        return
    except (ValueError, OSError) as error:
        raise ValueError(f"{training.name}: {error}") from error
