"""How a run folder comes to be: it appears with every configuration in it, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from metarobot.config import CommonConfig, TrainConfig
from metarobot.envs import file_name
from metarobot.io import Folder, json_bytes
from metarobot.training.checkpoints import Progress, save_checkpoint
from metarobot.training.initial_policy import InitialPolicy
from metarobot.training.provenance import choose_num_threads, provenance
from metarobot.training.run_folder import (
    algorithms_in,
    differences,
    read_saved,
    run_configs,
    unfinished_configs,
)
from metarobot.training.run_layout import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    CURVE_FILE,
    MAX_CURVE_BYTES,
    RunError,
    algorithms_there,
    hold_run,
    refusals_as_run_errors,
    remove_algorithm,
)
from metarobot.training.run_replacement import (
    PREPARED,
    finish_replacement,
    place_algorithms,
    replace_algorithms,
)


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
        with refusals_as_run_errors():
            finish_replacement(folder)
        algorithms_there(folder)  # refuses before anything is written
        _prepare(folder / PREPARED, configs, initial)
        replace_algorithms(folder)


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
        place_algorithms(folder, folder / PREPARED)


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
