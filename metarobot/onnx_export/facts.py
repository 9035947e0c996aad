"""What an exported file tells of its policy: names, units, bounds and scaling, as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from metarobot import __version__
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import algorithm_class
from metarobot.envs import TaskDistribution, find_family
from metarobot.policies import Controller
from metarobot.policies.latent_controller import LatentController

_ACTION_UNIT = "half of the action range"


def facts_of(policy: AdaptablePolicy, controller: Controller) -> dict[str, Any]:
    """Return what somebody needs to know who has nothing but the file.

    Args:
        policy: The policy.
        controller: The same at work, before its first step.

    Raises:
        ValueError: The task family is not known, or has other elements than the policy.
    """
    config, interface = policy.config, policy.interface
    family = find_family(config.env_id)
    facts = {
        "metarobot_version": __version__,
        "family": config.env_id,
        "variant": config.variant.name if config.variant else None,
        "algorithm": config.algorithm,
        "adaptation_episodes": policy.num_episodes,
        "control_period_s": family.control_step_s(),
        "episode_steps": interface.horizon,
        "observation": _observation(policy),
        "action": [
            {"name": name, "unit": _ACTION_UNIT, "low": -1.0, "high": 1.0}
            for name in family.action_elements
        ],
        "action_commands": [asdict(scale) for scale in family.action_scales],
    }
    if len(facts["action"]) != interface.action_size:
        raise ValueError(f"{config.env_id} has other actions here than the policy's")
    estimate = _task_estimate(controller, family.distribution)
    return facts if estimate is None else {**facts, "task_estimate": estimate}


def _observation(policy: AdaptablePolicy) -> list[dict[str, Any]]:
    """Return a row for each element; the network reads (observation - centre) / half_range."""
    config, interface = policy.config, policy.interface
    family = find_family(config.env_id)
    names = [(element.quantity, element.unit) for element in family.observation_elements]
    if algorithm_class(config.algorithm).observes_task:
        names += [(name, "1") for name in _code_names(family.distribution)]
    if len(names) != len(interface.observation_low):
        raise ValueError(f"{config.env_id} has other observations here than the policy's")
    bounds = zip(interface.observation_low, interface.observation_high, strict=True)
    return [
        {
            "name": name,
            "unit": unit,
            "low": _shortest(low),
            "high": _shortest(high),
            "centre": _shortest((low + high) / 2),
            "half_range": _shortest((high - low) / 2),
        }
        for (name, unit), (low, high) in zip(names, bounds, strict=True)
    ]


def _code_names(distribution: TaskDistribution) -> Iterator[str]:
    """Name the elements of an encoded task, as the oracle observes it."""
    for parameter in distribution.parameters:
        if parameter.circular:
            yield from (f"cosine of {parameter.name}", f"sine of {parameter.name}")
        else:
            yield f"{parameter.name}, its training range as -1 to 1"


def _task_estimate(
    controller: Controller, distribution: TaskDistribution
) -> dict[str, float] | None:
    """Return what adaptation has found out of the task; None where nothing is known."""
    if not (isinstance(controller, LatentController) and controller.tasks.count.any()):
        return None
    return distribution.decode(controller.tasks.mean()).to_dicts()[0]


def _shortest(value: float) -> float:
    """Return the shortest decimal that is the same in single precision, as bounds are kept."""
    return float(str(np.float32(value)))
