"""Untrained policies of a task family, whose parameters are as large as trained ones."""

import torch

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.algorithms import ALGORITHMS, train_config
from metarobot.envs import find_family

FAMILY = "metarobot/Reach-v0"
"""One of its task parameters is an angle."""


def make_policy(algorithm, env_id=FAMILY, **options):
    """A policy whose parameters are as large as trained ones, and all of them used."""
    own = {"latent": {"num_weighed": 64}, "rl2": {"reward_products": True}}
    options = {**own.get(algorithm, {}), **options}
    config = train_config(algorithm, env_id=env_id, hidden_sizes=(16, 8), **options)
    family = find_family(env_id)
    low, high = family.observation_bounds(ALGORITHMS[algorithm].observes_task).tolist()
    interface = Interface(
        tuple(low), tuple(high), len(family.action_elements), family.default_horizon
    )
    bare = AdaptablePolicy(config, {}, interface)
    params = bare.policy.initial_params(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for name in params:
        if not name.endswith("_std") and name not in ("points", "misfit", "num_episodes"):
            params[name] = params[name] + 0.1 * torch.randn(params[name].shape, generator=generator)
    known = {"misfit": 0.5, "num_episodes": 2.0, "correcting": 1.0}
    params |= {
        name: torch.full_like(params[name], known[name]) for name in known.keys() & params.keys()
    }
    return AdaptablePolicy(config, params, interface, num_episodes=2)
