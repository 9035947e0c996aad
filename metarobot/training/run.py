"""Training of a run: make a plan, write its files, train its algorithms in turn.

`train_run` makes a run, `resume_run` continues one, perhaps with a larger budget or further
algorithms, and `complete_run` does one or the other.  Each makes a `RunPlan`: checked
configurations, and the content of every file that must exist before training begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from metarobot.algorithms import (
    ALGORITHMS,
    config_from_dict,
    configure,
    is_algorithm_name,
    make_algorithm,
    make_policy,
)
from metarobot.algorithms.base import initial_params
from metarobot.config import CommonConfig, RunConfig, TrainConfig, find_preset
from metarobot.envs import SimulatorError, file_name
from metarobot.envs.checks import show
from metarobot.io import (
    Folder,
    Shapes,
    json_bytes,
    most_bytes,
    open_tensors,
    parse_tensors,
    read_file,
)
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.inner_loop import MEASURED
from metarobot.machine import choose_num_threads, provenance
from metarobot.policies import Params
from metarobot.training.memory import require_training_memory
from metarobot.training.progress import TrainingDisplay
from metarobot.training.run_folder import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    POLICY_FILE,
    RunError,
    SavedAlgorithm,
    algorithms_there,
    read_run,
    remove_algorithm,
)
from metarobot.training.train import Progress, checkpoint, train_algorithm
from metarobot.training.trainer import state_of

_PREPARED = ".prepared"
"""Folder in a run in which algorithms are prepared; an old one is removed."""
_Files = Mapping[str, bytes]
"""Content of the files of an algorithm, by name."""


@dataclass(frozen=True)
class RunPlan:
    """Resolved plan of a training; later code does not check or complete it."""

    folder: Path
    trainings: Sequence[TrainConfig]
    """Algorithms to train, in this order."""
    files: Mapping[str, _Files]
    """Files to write before training, by algorithm and name."""
    is_new: bool = False
    """Whether the run does not exist yet: a training that fails at once leaves nothing."""
    replaces: bool = False
    """Whether existing algorithms are removed before training."""


def train_run(
    config: RunConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: TrainingDisplay | None = None,
    *,
    overwrite: bool = False,
    initial_policy: Path | None = None,
    workers: Workers = ALONE,
) -> None:
    """Train algorithms of one family and seed with the same budget, one after the other.

    Args:
        config: Their common configuration.
        algorithms: Algorithms to train.
        folder: The run folder to make.
        display: Shows the progress.
        overwrite: Replace a run that is there already.
        initial_policy: A file with the parameters that all algorithms begin with; random if None.
        workers: The processes that share the run.

    Raises:
        RunError: The folder is in use.
        ValueError: The initial policy does not fit an algorithm.
        WorkerError: The processes cannot share the tasks equally.
        InterruptedCommandError: A signal stopped the training; `resume_run` continues it.
    """
    configs = [configure(config, algorithm) for algorithm in dict.fromkeys(algorithms)]
    require_training_memory(configs, workers)
    plan = RunPlan(folder, configs, {})
    if workers.first:
        plan = plan_new_run(folder, configs, overwrite=overwrite, initial_policy=initial_policy)
        write_plan(plan)
    _train(plan, display, workers)


def complete_run(
    config: RunConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: TrainingDisplay | None = None,
    *,
    initial_policy: Path | None = None,
) -> None:
    """Train the algorithms of a run that are not trained yet; make the run if it is missing.

    Args:
        config: Their common configuration.
        algorithms: Algorithms that the run must have in the end.
        folder: The run folder.
        display: Shows the progress.
        initial_policy: A file with the parameters that a new run begins with; random if None.

    Raises:
        RunError: The folder holds algorithms of another configuration, or is in use.
        InterruptedCommandError: A signal stopped the training; the same call continues it.
    """
    if Folder(folder).exists():
        resume_run(folder, display, expected=config, algorithms=algorithms)
    else:
        train_run(config, algorithms, folder, display, initial_policy=initial_policy)


def resume_run(
    folder: Path,
    display: TrainingDisplay | None = None,
    *,
    expected: RunConfig | None = None,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
    num_threads: int | None = None,
    workers: Workers = ALONE,
) -> tuple[str, ...]:
    """Resume a run: the result is that of a run without the interruption.

    Args:
        folder: The run folder.
        display: Shows the progress.
        algorithms: Algorithms to add, if the run does not have them.
        total_steps: Its new budget, at least the present one; the result is that of a run with
            this budget from the beginning.
        expected: Configuration that its algorithms must have; None allows any.
        num_threads: Threads from now on, which change no result; None takes those of ``expected``,
            or else those that the run began with.
        workers: The processes that share the run, of any number.

    Returns:
        The algorithms that this call finished.

    Raises:
        RunError: There is no such run, it was made with other versions or another configuration,
            or its budget is larger.
        ValueError: The run's options do not suit one of the algorithms.
        InterruptedCommandError: A signal stopped the training again.
    """
    if num_threads is None and expected is not None:
        num_threads = expected.num_threads
    if num_threads is not None:
        CommonConfig(num_threads=num_threads)  # refuses a number that is not allowed
    plan = RunPlan(folder, [], {})
    if workers.first:
        plan = plan_resumed_run(folder, expected, algorithms, total_steps)
        require_training_memory(plan.trainings, workers)
        write_plan(plan)
    sent = json.dumps([config.to_dict() for config in plan.trainings]).encode()
    configs = [config_from_dict(values) for values in json.loads(workers.broadcast(sent) or b"[]")]
    if num_threads is not None:
        configs = [replace(config, num_threads=num_threads) for config in configs]
    _train(replace(plan, trainings=configs), display, workers)
    return tuple(config.algorithm for config in configs)


def default_run_folder(config: CommonConfig) -> Path:
    """Return the default folder of a run: runs/FAMILY-seedSEED or runs/FAMILY-VARIANT-seedSEED."""
    variant = f"-{config.variant.name}" if config.variant else ""
    return Path("runs") / f"{file_name(config.env_id)}{variant}-seed{config.seed}"


def require_free(run: Path) -> None:
    """Refuse a folder that is not empty.

    Raises:
        RunError: It is not empty.
    """
    if Folder(run).names():
        raise RunError(f"{run} is not empty: name another folder, or pass --overwrite")


def plan_new_run(
    folder: Path,
    configs: Sequence[TrainConfig],
    *,
    overwrite: bool = False,
    initial_policy: Path | None = None,
) -> RunPlan:
    """Return the plan of a new run; arguments as of `train_run`.

    The parameters of an initial policy are in the first checkpoint of every algorithm.

    Raises:
        RunError: The folder is not empty, and overwrite is not set.
        ValueError: The initial policy does not fit an algorithm.
    """
    if not overwrite:
        require_free(folder)
    files = {}
    for turn, config in enumerate(configs):
        facts = _facts(config, turn)
        own: dict[str, bytes] = {}
        if initial_policy is not None:
            digest = hashlib.sha256(read_file(initial_policy, most_bytes())).hexdigest()
            facts["initial_policy"] = {"file": str(initial_policy), "sha256": digest}
            policy = make_policy(config)
            fresh = initial_params(config, policy)
            params = load_initial_policy(initial_policy, config, fresh)
            state = state_of(params, make_algorithm(config, policy))
            name, own_checkpoint = checkpoint(config, state, Progress())
            own[f"{CHECKPOINT_FOLDER}/{name}"] = own_checkpoint
        files[config.algorithm] = {**own, CONFIG_FILE: json_bytes(facts)}
    is_new = not Folder(folder).names()
    return RunPlan(folder, configs, files, is_new=is_new, replaces=not is_new)


def plan_seeds(
    config: RunConfig,
    algorithms: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    initial_policy: Path | None = None,
) -> list[RunPlan]:
    """Return the plan of the run of every seed, new or resumed: ``FOLDER/FAMILY-seedSEED``.

    Raises:
        ValueError: A seed is named twice, the memory does not suffice, or a run that is there has
            another configuration.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be one or more, each once, got {show(list(seeds))}")
    plans = []
    for seed in seeds:
        run = folder / f"{file_name(config.env_id)}-seed{seed}"
        common = replace(config, seed=seed)
        configs = [configure(common, name) for name in algorithms]
        require_training_memory(configs)
        if Folder(run).names():
            plans.append(plan_resumed_run(run, common, algorithms))
        else:
            plans.append(plan_new_run(run, configs, initial_policy=initial_policy))
    return plans


def plan_resumed_run(
    folder: Path,
    expected: RunConfig | None = None,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
) -> RunPlan:
    """Return the plan of a resumed run; arguments as of `resume_run`.

    An interrupted extension, which gave only some algorithms the larger budget, is completed.
    """
    present = read_run(folder)
    for saved in present.values():
        saved.require_same(expected)
    budget = max(saved.config.total_steps for saved in present.values())
    if total_steps is not None and total_steps < budget:
        raise RunError(
            f"the budget of {folder} is {budget} control steps, and a run can only go on: "
            f"--total-steps must be at least that, got {show(total_steps)}"
        )
    budget = budget if total_steps is None else total_steps
    files: dict[str, _Files] = {}
    waiting = []
    for name, saved in present.items():
        if saved.config.total_steps < budget:
            longer = replace(saved, config=replace(saved.config, total_steps=budget))
            longer.require_same(None, "extended")
            if saved.config.options.share_without_task and "initial_policy" in saved.facts:
                raise RunError(
                    f"{name} in {folder} began with a policy from a file, and begins anew for "
                    "another budget: train a new run with --initial-policy and --total-steps"
                )
            facts = {**saved.facts, "train": longer.config.to_dict()}
            files[name] = {CONFIG_FILE: json_bytes(facts)}
            saved = longer
        if not saved.finished:
            waiting.append(saved)
    trainings = [saved.config for saved in sorted(waiting, key=lambda each: each.training_order)]
    turn = max(saved.saved.turn for saved in present.values())
    for name in dict.fromkeys(algorithms):
        if name not in present:
            turn += 1
            config = configure(_common_config(present.values(), expected), name)
            config = replace(config, total_steps=budget)
            files[name] = {CONFIG_FILE: json_bytes(_facts(config, turn))}
            trainings.append(config)
    return RunPlan(folder, trainings, files)


def _facts(config: TrainConfig, turn: int) -> dict[str, object]:
    """Return the content of CONFIG_FILE for an algorithm that has not begun."""
    return {
        "train": config.to_dict(),
        "turn": turn,
        **provenance(choose_num_threads(config.num_threads)),
    }


def _common_config(present: Iterable[SavedAlgorithm], expected: RunConfig | None) -> RunConfig:
    """Return the configuration for further algorithms of a run: the options of those present.

    An option that none of them reads has the preset's value; ``expected`` takes precedence.
    """
    common: RunConfig | None = None
    for saved in present:
        config, run = saved.config, saved.folder.path.parent
        if "initial_policy" in saved.facts:
            raise RunError(
                f"{run} began with a policy from a file: it can get no further algorithms"
            )
        names = ALGORITHMS[config.algorithm].options_class.names(free=True)
        options = {name: getattr(config.options, name) for name in names}
        before = common or find_preset(config.env_id)
        common = RunConfig(**config.common, options={**before.options, **options})
    return expected or common or RunConfig()


def write_plan(plan: RunPlan) -> None:
    """Write the files of a plan; a new run folder appears in one piece, and so does an algorithm.

    Raises:
        RunError: Another process trains in the run; or the folder is not a run.
        OSError: The folder cannot be written to; its files stay.
    """
    run = Folder(plan.folder)
    if not run.exists():
        above = Folder.named(run.path.absolute().parent)
        above.make()
        prepared = above / f".{run.path.name}.partial"
        try:
            _prepare(prepared, plan.files)
            above.move(prepared.path.name, above, run.path.name)
        finally:
            prepared.remove_tree()
        return
    with ExitStack() as locks:
        locks.enter_context(run.lock())
        old = algorithms_there(run) if plan.replaces else []  # refuses before anything is written
        for algorithm in dict.fromkeys((*old, *plan.files)):
            if (run / algorithm).exists():
                locks.enter_context((run / algorithm).lock())
        prepared = run / _PREPARED
        _prepare(prepared, plan.files)  # before anything is removed
        for algorithm in old:
            remove_algorithm(run / algorithm)
        for algorithm in filter(is_algorithm_name, prepared.names()):
            if (run / algorithm).exists():
                for name in (prepared / algorithm).names():
                    (prepared / algorithm).move(name, run / algorithm)
            else:
                prepared.move(algorithm, run)
        prepared.remove_tree()


def _prepare(folder: Folder, files: Mapping[str, _Files]) -> None:
    folder.remove_tree()  # left over from a process that was killed
    folder.make()
    for algorithm, content in files.items():
        for path, data in content.items():
            *below, name = path.split("/")
            place = folder / algorithm
            for part in below:
                place /= part
            place.make()
            place.write(name, data)


def _train(plan: RunPlan, display: TrainingDisplay | None, workers: Workers) -> None:
    """Train the algorithms of a plan one after the other, each from its newest checkpoint."""
    run = Folder(plan.folder)
    try:
        for config in plan.trainings:
            train_algorithm(config, run / config.algorithm, display, workers)
    except Exception as error:
        places = [run / config.algorithm for config in plan.trainings]
        if plan.is_new and workers.first and not any(place.has(POLICY_FILE) for place in places):
            for place in places:
                remove_algorithm(place)
            run.remove_if_empty()
        elif isinstance(error, SimulatorError):
            way_on = f"`metarobot train --resume {plan.folder}` goes on from the last checkpoint"
            raise SimulatorError(f"{error}; {way_on}") from error
        raise


def load_initial_policy(path: Path, config: TrainConfig, fresh: Params) -> Params:
    """Read the parameters that an algorithm begins with.

    Adaptation statistics are read if the file holds them and the algorithm uses them; the policy's
    actions do not depend on them.

    Args:
        path: A policy of any algorithm: policy.safetensors of a run, or an imported one.
        config: Configuration of the algorithm that begins with it.
        fresh: Parameters of that algorithm's own, with the shapes of all leaves.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, of another task family, or has other layers than the algorithm.
    """
    data = read_file(path, most_bytes())
    shapes, facts = open_tensors(path, data)
    if facts.get("env_id") != config.env_id:
        raise ValueError(f"{path} is a policy of {facts.get('env_id')}, not of {config.env_id}")
    own = {name: tuple(leaf.shape) for name, leaf in fresh.items()}
    wanted = {name: shape for name, shape in own.items() if name not in MEASURED}
    wanted |= {name: own.get(name, shapes[name]) for name in MEASURED if name in shapes}
    if shapes != wanted:
        raise ValueError(
            f"{path} does not fit {config.algorithm}: {_misfit(shapes, wanted, config)}"
        )
    params, _ = parse_tensors(path, data, wanted)
    return {name: params.get(name, leaf) for name, leaf in fresh.items()}


def _misfit(found: Shapes, wanted: Shapes, config: TrainConfig) -> str:
    """Return the difference and the way out, for a message."""
    name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    leave_out = f"leave {config.algorithm} out with --algorithms"
    if name not in wanted:
        return f"it holds {name}, for which there is no place; {leave_out}"
    if name not in found:
        return f"it lacks {name} of shape {wanted[name]}; {leave_out}"
    return (
        f"{name} has the shape {found[name]}, must have {wanted[name]}; pass the --hidden-sizes of "
        f"the policy, or {leave_out}"
    )
