"""A controller does what its policy does, one robot or several, and remembers like it."""

import numpy as np
import pytest
import torch

from metarobot.policies import (
    EpisodicPolicy,
    GaussianMLP,
    LearnedLossPolicy,
    LearnedStepsMLP,
    PrototypePolicy,
    RecurrentPolicy,
    TeacherStudentPolicy,
)
from metarobot.policies.params import repeat_params

SIZE, A, M, T = 20, 3, 4, 30  # observation and action elements, robots, control steps
LOW, HIGH = np.linspace(-3, 0, SIZE), np.linspace(0.5, 2, SIZE)


def make(policy_class, hidden_sizes):
    """A policy whose parameters are as large as trained ones, and all of them used."""
    policy = policy_class(LOW.tolist(), HIGH.tolist(), A, hidden_sizes=hidden_sizes)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    return policy, {
        name: leaf + 0.02 * torch.randn(leaf.shape, generator=generator)
        for name, leaf in params.items()
    }


@pytest.mark.parametrize("hidden_sizes", [(64, 64), (8,), (16, 8, 4)])
@pytest.mark.parametrize(
    "policy_class",
    [
        GaussianMLP,
        LearnedLossPolicy,
        LearnedStepsMLP,
        PrototypePolicy,
        RecurrentPolicy,
        EpisodicPolicy,
        TeacherStudentPolicy,
    ],
)
@pytest.mark.parametrize("batch", [(), (M,)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_a_controller_equals_its_policy_through_episodes(
    policy_class, hidden_sizes, batch, dtype, tolerance
):
    policy, params = make(policy_class, hidden_sizes)
    if dtype == "float64":
        policy, params = policy.double(), {name: leaf.double() for name, leaf in params.items()}
    actor, controller = policy.actor(repeat_params(params, 1)), policy.controller(params)
    rng, middle = np.random.default_rng(0), (LOW + HIGH) / 2
    with torch.no_grad():
        for t in range(T):
            if t in (0, 10):
                actor.begin()
                controller.begin()
            # Robots move by a few thousandths of the range in a control step.
            seen = (middle + 0.01 * rng.uniform(-1, 1, (*batch, SIZE))).astype(dtype)
            found = controller.act(seen.astype(np.float64))
            mean = actor.act(torch.from_numpy(seen).view(1, -1, SIZE)).mean
            assert found.shape == (*batch, A)
            np.testing.assert_allclose(found, mean[0].numpy().reshape(found.shape), 0, tolerance)
            rewards = rng.normal(size=batch).astype(dtype)
            earned = torch.as_tensor(rewards).reshape(1, -1)
            actor.learn(mean, earned, torch.ones_like(earned, dtype=torch.bool))
            controller.learn(rewards)


@pytest.mark.parametrize("policy_class", [RecurrentPolicy, EpisodicPolicy])
@pytest.mark.parametrize("batch", [(), (M,)])
def test_what_was_done_is_remembered_where_no_reward_is_told(policy_class, batch):
    """RL² keeps the reward told last; who sees none may as well be told NaN, as in a batch."""
    policy, params = make(policy_class, (8,))
    policy, params = policy.double(), {name: leaf.double() for name, leaf in params.items()}
    actor, controller = policy.actor(repeat_params(params, 1)), policy.controller(params)
    rng, kept = np.random.default_rng(0), params["memory"][-1].expand(1, M if batch else 1)
    with torch.no_grad():
        for t in range(T):
            if t in (0, 10):
                actor.begin()
                controller.begin()
            seen = (LOW + HIGH) / 2 + 0.01 * rng.uniform(-1, 1, (*batch, SIZE))
            found = controller.act(seen)
            mean = actor.act(torch.from_numpy(seen).view(1, -1, SIZE)).mean
            np.testing.assert_allclose(found, mean[0].numpy().reshape(found.shape), 0, 1e-12)
            if t % 3 == 1:
                rewards = rng.normal(size=batch)
                controller.learn(rewards)
                kept = torch.as_tensor(rewards).reshape(1, -1)
            told = torch.full_like(kept, torch.nan) if policy_class is EpisodicPolicy else kept
            actor.learn(mean, told, torch.ones_like(told, dtype=torch.bool))
