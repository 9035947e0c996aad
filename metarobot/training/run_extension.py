"""A run that goes on beyond what it was started with: a larger budget, further algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metarobot.algorithms import ALGORITHMS, configure
from metarobot.config import RunConfig, TrainConfig
from metarobot.envs.checked_numbers import show
from metarobot.io import Folder, json_bytes
from metarobot.presets import find_preset
from metarobot.training.run_folder import other_versions, read_facts, read_saved, run_configs
from metarobot.training.run_layout import CONFIG_FILE, RunError, hold_run


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
