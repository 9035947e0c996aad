"""Training: spend a budget of control steps on each algorithm of a run, keep what it learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from metarobot.algorithms import ALGORITHMS, config_from_dict, configure, is_algorithm_name
from metarobot.config import CommonConfig, RunConfig, TrainConfig, find_preset
from metarobot.envs import file_name
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
from metarobot.training.run_folder import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    CURVE_FILE,
    MAX_CURVE_BYTES,
    RunError,
    algorithms_in,
    algorithms_there,
    differences,
    hold_run,
    other_versions,
    read_facts,
    read_saved,
    refusals_as_run_errors,
    remove_algorithm,
    run_configs,
    unfinished_configs,
)
from metarobot.training.train import (
    Display,
    Progress,
    make_trainer,
    save_checkpoint,
    train_algorithm,
)
from metarobot.training.trainer import TrainerState


def train_run(
    config: RunConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: Display | None = None,
    *,
    overwrite: bool = False,
    initial_policy: Path | None = None,
    workers: Workers = ALONE,
) -> None:
    """Train algorithms of one family and seed with the same budget, one after the other.

    Args:
        config: What they have in common.
        algorithms: Who to train.
        folder: The run folder to make.
        display: Shows the progress.
        overwrite: Replace a run that is there already.
        initial_policy: A file with the parameters that all algorithms begin with; random if None.
        workers: The processes that share the run.

    Raises:
        RunError: The folder is in use.
        ValueError: The initial policy does not fit an algorithm.
        WorkerError: The processes cannot share the tasks equally.
        InterruptedCommandError: Training was asked to stop; `resume_run` goes on with it.
    """
    configs = [configure(config, algorithm) for algorithm in dict.fromkeys(algorithms)]
    run = _Run(folder, display, workers)
    require_training_memory(configs, workers)  # refuses before anything is written
    undo = None
    if workers.first:
        initial = run.begin_with(initial_policy, configs) if initial_policy else None
        existed = is_there(folder, overwrite=overwrite)
        if not existed or not Folder(folder).names():
            undo = partial(take_back, folder, configs, keep_folder=existed)
        create_run_folder(folder, configs, overwrite=overwrite, initial=initial)
    run.train(configs, undo)


def complete_run(
    config: RunConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: Display | None = None,
    *,
    initial_policy: Path | None = None,
) -> None:
    """Train those algorithms of a run that are not trained yet; make the run if it is not there.

    Args:
        config: What they have in common.
        algorithms: Who must be trained in the end.
        folder: The run folder.
        display: Shows the progress.
        initial_policy: A file with the parameters that a new run begins with; random if None.

    Raises:
        RunError: The folder holds algorithms of another configuration, or is in use.
        InterruptedCommandError: Training was asked to stop; the same call goes on with it.
    """
    with refusals_as_run_errors():
        is_new = not Folder(folder).exists()
    if is_new:
        train_run(config, algorithms, folder, display, initial_policy=initial_policy)
        return
    configs = [configure(config, algorithm) for algorithm in dict.fromkeys(algorithms)]
    require_training_memory(configs)
    add_algorithms(folder, configs)
    resume_run(folder, display, expected=config)


def resume_run(
    folder: Path,
    display: Display | None = None,
    *,
    expected: RunConfig | None = None,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
    num_threads: int | None = None,
    workers: Workers = ALONE,
) -> tuple[str, ...]:
    """Go on with a run that was interrupted: the result is as if it never had been.

    Args:
        folder: The run folder.
        display: Shows the progress.
        algorithms: Algorithms that it gets besides, if it does not have them.
        total_steps: Its new budget, at least the present one; the result is that of a run which
            had it from the beginning.
        expected: What its algorithms must have in common; None takes any.
        num_threads: Threads from here on, which change no result; None takes those of ``expected``,
            or else those that the run began with.
        workers: The processes that share the run; as many as one likes.

    Returns:
        The algorithms that were not finished, and now are.

    Raises:
        RunError: There is no such run, it was made with other versions or another configuration,
            or its budget is larger.
        ValueError: The run's options do not suit one of the algorithms.
        InterruptedCommandError: Training was asked to stop again.
    """
    if num_threads is None and expected is not None:
        num_threads = expected.num_threads
    if num_threads is not None:
        CommonConfig(num_threads=num_threads)  # refuses a number that is not allowed
    plan, run = b"", _Run(folder, display, workers)
    if workers.first:
        unfinished_configs(folder, expected)  # refuses before anything is written
        run.enlarge(expected, algorithms, total_steps)
        left = unfinished_configs(folder, expected)
        if num_threads is not None:
            left = [replace(config, num_threads=num_threads) for config in left]
        plan = json.dumps([config.to_dict() for config in left]).encode()
    configs = [config_from_dict(values) for values in json.loads(workers.broadcast(plan) or b"[]")]
    run.train(configs)
    return tuple(config.algorithm for config in configs)


class _Run(NamedTuple):
    """A run folder, with who shows its training and who shares it."""

    folder: Path
    display: Display | None
    workers: Workers

    def train(self, configs: Sequence[TrainConfig], undo: Callable[[], None] | None = None) -> None:
        """Train algorithms one after the other, each from its newest checkpoint.

        Args:
            configs: Who is trained.
            undo: Called where training fails; not where it was asked to stop, and can go on.
        """
        folder = Folder(self.folder)
        with hold_run(folder) if self.workers.first else nullcontext():
            try:
                for config in configs:
                    train_algorithm(config, folder / config.algorithm, self.display, self.workers)
            except Exception:
                if undo is not None:
                    undo()
                raise

    def begin_with(self, path: Path, configs: Sequence[TrainConfig]) -> InitialPolicy:
        """Return every trainer's state before it has begun, with the parameters of a file."""
        states = {}
        for config in configs:
            trainer = make_trainer(config, self.workers)
            with closing(trainer.env):
                trainer.params = load_initial_policy(path, config, trainer.params)
                states[config.algorithm] = trainer.state()
        return InitialPolicy(states, file_source(path))

    def enlarge(
        self, expected: RunConfig | None, algorithms: Sequence[str], total_steps: int | None
    ) -> None:
        """Give it a larger budget and further algorithms; refuse both before either is written."""
        configs = configs_like(self.folder, algorithms, expected) if algorithms else []
        if total_steps is not None:
            configs = [replace(config, total_steps=total_steps) for config in configs]
        require_training_memory(configs, self.workers)
        if total_steps is None:
            level_budgets(self.folder)
        else:
            extend_budget(self.folder, total_steps)
        if configs:
            add_algorithms(self.folder, configs)


# How a run folder comes to be: it appears with every configuration in it, or not at all.


PREPARED = ".prepared"
"""Folder in a run in which algorithms are prepared; what is left over of one is thrown away."""


def default_run_folder(config: CommonConfig) -> Path:
    """Return where a run goes that nobody named: runs/FAMILY-seedSEED, the variant in between."""
    variant = f"-{config.variant.name}" if config.variant else ""
    return Path("runs") / f"{file_name(config.env_id)}{variant}-seed{config.seed}"


def create_run_folder(
    run: Path,
    configs: Sequence[TrainConfig],
    *,
    overwrite: bool,
    initial: InitialPolicy | None = None,
) -> None:
    """Make a run folder that holds the configuration of every algorithm to be trained.

    It appears in one piece, so that from then on the run can be resumed.

    Args:
        run: Where; missing parents are made.
        configs: One configuration an algorithm.
        overwrite: Replace the algorithms of a run that is there already; files of other kinds stay.
        initial: What the algorithms begin with; their first checkpoints, so that a run that is
            interrupted before it has any of its own begins with it again.

    Raises:
        RunError: Something is there already, and overwrite is not set; or what is there is no run.
        OSError: The folder cannot be written to; what was there stays.
    """
    folder = Folder(run)
    if not is_there(run, overwrite=overwrite):
        _create(folder, configs, initial)
        return
    with hold_run(folder):
        old = algorithms_there(folder)  # refuses before anything is written
        _prepare(folder / PREPARED, configs, initial)
        for algorithm in old:
            remove_algorithm(folder / algorithm)
        _place_prepared(folder)


def is_there(run: Path, *, overwrite: bool) -> bool:
    """Return whether a run folder exists, which a new run would be written to.

    Raises:
        RunError: It holds something, and overwrite is not set; or it cannot be read.
    """
    folder = Folder(run)
    with refusals_as_run_errors():
        exists = folder.exists()
        if exists and folder.names() and not overwrite:
            raise RunError(f"{run} is not empty: name another folder, or pass --overwrite")
    return exists


def take_back(run: Path, configs: Sequence[TrainConfig], *, keep_folder: bool) -> None:
    """Remove a new run that has failed before its first meta-iteration was written.

    So nothing is in the way of the next try. A run that has begun stays, and so do other files.

    Args:
        run: The run folder, which held nothing before.
        configs: One configuration an algorithm.
        keep_folder: Whether the folder itself was there before.
    """
    places = [Folder(run) / config.algorithm for config in configs]
    if any(_has_begun(place) for place in places):
        return
    for place in places:
        remove_algorithm(place)
    if not keep_folder:
        Folder(run).remove_if_empty()


def _has_begun(folder: Folder) -> bool:
    """Whether the curve of an algorithm has a row below its heading."""
    written = CURVE_FILE in folder.names() and folder.read(CURVE_FILE, MAX_CURVE_BYTES)
    return bool(written) and written.count(b"\n") > 1


def add_algorithms(run: Path, configs: Sequence[TrainConfig]) -> None:
    """Prepare more algorithms in a run folder, with the configuration of those that are there.

    Algorithms that are there stay as they are, trained or not.

    Args:
        run: The run folder.
        configs: One configuration an algorithm, alike in what they have in common.

    Raises:
        RunError: The folder holds no run, another process trains in it, or its algorithms were made
            with another configuration; the message names what differs.
    """
    folder = Folder(run)
    unfinished_configs(run)
    for present, wanted in product(run_configs(run).values(), configs):
        if found := differences(present, wanted):
            raise RunError(f"{run} cannot be resumed here: {', '.join(found)}")
    present = algorithms_in(run)
    last = max(read_saved(run, algorithm).turn for algorithm in present)
    with hold_run(folder):
        new = [config for config in configs if config.algorithm not in present]
        _prepare(folder / PREPARED, new, None, first_turn=last + 1)
        _place_prepared(folder)


def _place_prepared(run: Folder) -> None:
    """Move prepared algorithms to their places, and remove what they were prepared in."""
    prepared = run / PREPARED
    for algorithm in filter(is_algorithm_name, prepared.names()):
        if not (run / algorithm).exists():
            prepared.move(algorithm, run)
            continue
        # A folder that somebody else's files have kept.
        for name in (prepared / algorithm).names():
            (prepared / algorithm).move(name, run / algorithm)
    prepared.remove_tree()


def _create(folder: Folder, configs: Sequence[TrainConfig], initial: InitialPolicy | None) -> None:
    """Prepare a new folder beside its place, and give it its name."""
    above = Folder.named(folder.path.absolute().parent)
    prepared = above / f".{folder.path.name}.partial"
    above.make()
    try:
        _prepare(prepared, configs, initial)
        above.move(prepared.path.name, above, folder.path.name)
    finally:
        prepared.remove_tree()


def _prepare(
    folder: Folder,
    configs: Sequence[TrainConfig],
    initial: InitialPolicy | None,
    first_turn: int = 0,
) -> None:
    folder.remove_tree()  # left over from a process that was killed
    folder.make()
    for turn, config in enumerate(configs, first_turn):
        _prepare_algorithm(folder / config.algorithm, config, initial, turn)


def _prepare_algorithm(
    folder: Folder, config: TrainConfig, initial: InitialPolicy | None, turn: int
) -> None:
    """Write down what an algorithm is to be trained with, and what it begins with."""
    folder.make()
    facts = provenance(choose_num_threads(config.num_threads))
    if initial is not None:
        state = initial.states[config.algorithm]
        save_checkpoint(folder / CHECKPOINT_FOLDER, config, state, Progress())
        facts["initial_policy"] = initial.source
    content = {"train": config.to_dict(), "turn": turn, **facts}
    folder.write(CONFIG_FILE, json_bytes(content))


# A run that goes on beyond what it was started with: a larger budget, further algorithms.


def extend_budget(run: Path, total_steps: int) -> None:
    """Give every algorithm of a run a larger budget, as if it had been that from the beginning.

    Each configuration is replaced in one piece. Where that is interrupted between two of them, the
    next call of `level_budgets` goes on with it.

    Args:
        run: The run folder.
        total_steps: The budget; nothing changes where it is the present one.

    Raises:
        RunError: It is smaller than the present one, another process trains in the folder, or an
            algorithm was made with other versions.
        ValueError: The budget is not allowed.
    """
    configs = run_configs(run)
    present = max(config.total_steps for config in configs.values())
    if total_steps < present:
        raise RunError(
            f"the budget of {run} is {present} control steps, and a run can only go on: "
            f"--total-steps must be at least that, got {show(total_steps)}"
        )
    shorter = [config for config in configs.values() if config.total_steps < total_steps]
    for config in shorter:
        if differences := other_versions(read_saved(run, config.algorithm)):
            raise RunError(f"{run} cannot be extended here: {', '.join(differences)}")
    with hold_run(Folder(run)):
        for config in shorter:
            longer = replace(config, total_steps=total_steps).to_dict()
            facts = read_facts(run, config.algorithm, CONFIG_FILE)
            content = json_bytes({**facts, "train": longer})
            (Folder(run) / config.algorithm).write(CONFIG_FILE, content)


def level_budgets(run: Path) -> None:
    """Go on with an extension that was interrupted, if one was: it gave some algorithms more."""
    budgets = {config.total_steps for config in run_configs(run).values()}
    if len(budgets) > 1:
        extend_budget(run, max(budgets))


def configs_like(
    run: Path, algorithms: Sequence[str], given: RunConfig | None = None
) -> list[TrainConfig]:
    """Return what further algorithms of a run are trained with.

    Args:
        run: The run folder.
        algorithms: Who they are.
        given: What they are trained with; None takes what the algorithms there have, and the preset
            of the family for an option that none of them reads.

    Raises:
        RunError: The folder holds no run, or one that began with a policy from a file.
        ValueError: The options do not suit an algorithm.
    """
    wanted = given
    for algorithm, config in run_configs(run).items():
        if "initial_policy" in read_facts(run, algorithm, CONFIG_FILE):
            raise RunError(
                f"{run} began with a policy from a file: it can get no further algorithms"
            )
        if given is None:
            wanted = _shared_with(config, wanted or find_preset(config.env_id))
    return [configure(wanted, name) for name in dict.fromkeys(algorithms)] if wanted else []


def _shared_with(config: TrainConfig, others: RunConfig) -> RunConfig:
    """Return what an algorithm has in common with others, and their options besides."""
    chosen = ALGORITHMS[config.algorithm].options_class.names(free=True)
    options = {name: getattr(config.options, name) for name in chosen}
    return RunConfig(**config.common, options={**others.options, **options})


# A policy from a file for algorithms to begin with, in place of random parameters.


class InitialPolicy(NamedTuple):
    """What algorithms begin with, and where that comes from."""

    states: dict[str, TrainerState]
    """The trainer's state before the first meta-iteration, of every algorithm."""
    source: dict[str, str]
    """File and SHA-256, for the record."""


def load_initial_policy(path: Path, config: TrainConfig, fresh: Params) -> Params:
    """Read the parameters that an algorithm begins with.

    What a gradient learner has measured is taken if the file holds it and the algorithm has a place
    for it: how a policy acts does not depend on it.

    Args:
        path: A policy of any algorithm: policy.safetensors of a run, or an imported one.
        config: Who is to begin with it.
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


def file_source(path: Path) -> dict[str, str]:
    """Return a file's name and its SHA-256."""
    return {"file": str(path), "sha256": hashlib.sha256(read_file(path, most_bytes())).hexdigest()}


def _misfit(found: Shapes, wanted: Shapes, config: TrainConfig) -> str:
    """Say what differs, and the way out."""
    leave_out = f"leave {config.algorithm} out with --algorithms"
    sizes, wanted_sizes = _layer_sizes(found), _layer_sizes(wanted)
    if sizes == wanted_sizes or not sizes:
        name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        if name not in wanted:
            return f"it holds {name}, for which there is no place; {leave_out}"
        return f"it lacks {name} of shape {wanted[name]}; {leave_out}"
    text = f"its layers are {'-'.join(map(str, sizes))}, not {'-'.join(map(str, wanted_sizes))}; "
    if (sizes[0], sizes[-1]) != (wanted_sizes[0], wanted_sizes[-1]):
        return text + leave_out
    return text + " ".join(["pass --hidden-sizes", *map(str, sizes[1:-1])])


def _layer_sizes(shapes: Shapes) -> list[int]:
    """Return the observation's size and that of every layer's output; none for no perceptron."""
    layers: Mapping[int, tuple[int, ...]] = {
        int(name.split(".")[1]): shape
        for name, shape in shapes.items()
        if name.startswith("layers.") and name.endswith(".weight") and len(shape) == 2
    }
    weights = [layers[index] for index in sorted(layers)]
    return [weights[0][1], *(shape[0] for shape in weights)] if weights else []
