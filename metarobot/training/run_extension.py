"""A run that goes on beyond what it was started with: a larger budget, further agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarobot.config import Agent, TrainConfig
from metarobot.envs.checked_numbers import show
from metarobot.files import json_bytes
from metarobot.folder import Folder
from metarobot.training.run_folder import other_versions, read_facts, run_configs
from metarobot.training.run_layout import CONFIG_FILE, RunError, hold_run


def extend_budget(run: Path, total_steps: int) -> None:
    """Give every agent of a run a larger budget: what it becomes is what it had been with that one.

    Each configuration is replaced in one piece. Where that is interrupted between two of them, the
    next call of `level_budgets` goes on with it.

    Args:
        run: The run folder.
        total_steps: The budget; nothing changes where it is the present one.

    Raises:
        RunError: It is smaller than the present one, another process trains in the folder, or an
            agent was made with other versions.
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
    saved = {config.agent: read_facts(run, config.agent, CONFIG_FILE) for config in shorter}
    for facts in saved.values():
        if differences := other_versions(facts):
            raise RunError(f"{run} cannot be extended here: {', '.join(differences)}")
    with hold_run(Folder(run)):
        for config in shorter:
            longer = replace(config, total_steps=total_steps).to_dict()
            content = json_bytes({**saved[config.agent], "train": longer})
            (Folder(run) / config.agent).write(CONFIG_FILE, content)


def level_budgets(run: Path) -> None:
    """Go on with an extension that was interrupted, if one was: it gave some agents more."""
    budgets = {config.total_steps for config in run_configs(run).values()}
    if len(budgets) > 1:
        extend_budget(run, max(budgets))


def configs_like(
    run: Path, agents: Sequence[Agent], given: TrainConfig | None = None
) -> list[TrainConfig]:
    """Return what further agents of a run are trained with.

    Args:
        run: The run folder.
        agents: Who they are.
        given: What they are trained with; None takes what the agents there have, an option that
            some of them do not read from those that do.

    Raises:
        RunError: The folder holds no run, or one that began with a policy from a file.
        ValueError: The options do not suit an agent.
    """
    values: dict[str, Any] = {}
    for agent, config in run_configs(run).items():
        if "initial_policy" in read_facts(run, agent, CONFIG_FILE):
            raise RunError(f"{run} began with a policy from a file: it can get no further agents")
        values = {**config.to_dict(), **values, **config.decisive_values}
    if given is not None:
        values = given.to_dict()
    return [TrainConfig.from_dict({**values, "agent": agent}) for agent in dict.fromkeys(agents)]
