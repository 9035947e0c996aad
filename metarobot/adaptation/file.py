"""A policy in one sealed file: its parameters, and all that is needed to act and to adapt on.

Nothing is unpickled or executed; everything is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarobot.adaptation.interface import Interface
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import config_from_dict
from metarobot.config import MOST_EPISODES
from metarobot.envs import FAMILIES
from metarobot.envs.checked_numbers import is_integer, is_number, show
from metarobot.envs.memory import MOST_HORIZON
from metarobot.io import (
    most_bytes,
    open_tensors,
    parse_tensors,
    read_file,
    require_finite,
    save_tensors,
)

SUFFIX = ".safetensors"
_KIND = "policy that adapts"
_MOST_ELEMENTS = 4096
"""Of an observation or an action."""
_MOST_STEPS = 10**6
"""Adaptation steps since training."""


def save_policy(policy: AdaptablePolicy, path: Path) -> None:
    """Write a policy's file in one piece.

    Args:
        policy: The policy.
        path: The file, ending in .safetensors.

    Raises:
        ValueError: It ends otherwise.
        OSError: It cannot be written.
    """
    require_suffix(path)
    interface = policy.interface
    facts = {
        "kind": _KIND,
        "config": policy.config.to_dict(),
        "observation_low": list(interface.observation_low),
        "observation_high": list(interface.observation_high),
        "action_size": interface.action_size,
        "horizon": interface.horizon,
        "adaptation_steps": policy.adaptation_steps,
        "num_episodes": policy.num_episodes,
    }
    save_tensors(path, policy.params, facts)


def require_suffix(path: Path) -> None:
    """Refuse a file of another kind.

    Raises:
        ValueError: Its name does not end in .safetensors.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"a policy's file must end in {SUFFIX}, got {path}")


def load_policy_file(path: Path) -> AdaptablePolicy:
    """Read a policy that `save_policy` has written.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, holds something else, or numbers that do not fit together, or
            its family is to be imported first.
    """
    data = read_file(path, most_bytes())
    _, facts = open_tensors(path, data)
    if facts.get("kind") != _KIND:
        raise ValueError(f"{path} holds no policy that was saved: load the run's folder instead")
    try:
        policy = AdaptablePolicy(
            config=config_from_dict(facts["config"]),
            params={},
            interface=_read_interface(facts),
            adaptation_steps=_count(facts, "adaptation_steps", _MOST_STEPS, least=0),
            num_episodes=_count(facts, "num_episodes", _MOST_STEPS * MOST_EPISODES, least=0),
        )
        shapes = policy.policy.shapes
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} {_unfit(facts.get('config'), error)}") from error
    params, _ = parse_tensors(path, data, shapes)
    require_finite(path, params)
    return replace(policy, params=params)


def _unfit(config: Any, error: Exception) -> str:
    """Say why no policy can be made of a file."""
    env_id = config.get("env_id") if isinstance(config, Mapping) else None
    if isinstance(env_id, str) and env_id not in FAMILIES:
        return (
            f"is of {show(env_id)}, a task family that is not registered: name its module with "
            "--module (in Python: import it)"
        )
    return f"does not fit: {error}"


def _read_interface(facts: Mapping[str, Any]) -> Interface:
    bounds = []
    for name in ("observation_low", "observation_high"):
        values = facts[name]
        if not isinstance(values, list) or not 1 <= len(values) <= _MOST_ELEMENTS:
            raise ValueError(f"{name} must be a list of 1 to {_MOST_ELEMENTS} numbers")
        if not all(is_number(value, -1e30, 1e30) for value in values):
            raise ValueError(f"{name} must hold finite numbers")
        bounds.append(tuple(map(float, values)))
    if len(bounds[0]) != len(bounds[1]):
        raise ValueError("observation_low and observation_high differ in length")
    return Interface(
        *bounds,
        action_size=_count(facts, "action_size", _MOST_ELEMENTS),
        horizon=_count(facts, "horizon", MOST_HORIZON),
    )


def _count(facts: Mapping[str, Any], name: str, most: int, least: int = 1) -> int:
    if not is_integer(facts[name], least, most):
        raise ValueError(f"{name} must be an integer in [{least}, {most}]")
    return facts[name]
