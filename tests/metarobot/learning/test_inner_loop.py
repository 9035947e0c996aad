import dataclasses

import pytest
import torch
from fakes import N, act_alone, made_up_episodes, policy_loss, small_policy
from torch.func import jacrev

from metarobot.learning.inner_loop import INNER_OBJECTIVES, adapt
from metarobot.policies import log_prob, repeat_params

POLICY, PARAMS = small_policy()


def make_tasks():
    """Different parameters for every task, with episodes of their own."""
    generator = torch.Generator().manual_seed(3)
    params = {
        name: leaf + 0.1 * torch.randn(N, *leaf.shape, generator=generator, dtype=leaf.dtype)
        for name, leaf in PARAMS.items()
    }
    return params, *made_up_episodes(POLICY, params, seed=4)


def rows(episodes, task):
    fields = dataclasses.fields(episodes)
    return type(episodes)(**{f.name: getattr(episodes, f.name)[task : task + 1] for f in fields})


@pytest.mark.parametrize("objective", INNER_OBJECTIVES)
def test_one_step_is_a_policy_gradient_step(objective):
    params, episodes, advantages = make_tasks()
    adapted = adapt(policy_loss(POLICY, episodes, advantages, objective), params, 0.3)
    for task in range(N):
        leaves = {name: leaf[task].clone().requires_grad_() for name, leaf in params.items()}
        mean, log_std = act_alone(POLICY, leaves, episodes.observations[task])
        log_probs = log_prob(mean, log_std, episodes.actions[task])
        mask = episodes.mask[task]
        mean_objective = (log_probs * advantages[task] * mask).sum() / mask.sum()
        gradients = torch.autograd.grad(mean_objective, list(leaves.values()))
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            torch.testing.assert_close(adapted[name][task], (leaf + 0.3 * gradient).detach())


def test_adapting_together_equals_adapting_each_alone():
    params, episodes, advantages = make_tasks()
    together = adapt(policy_loss(POLICY, episodes, advantages), params, 0.1)
    for task in range(N):
        loss = policy_loss(POLICY, rows(episodes, task), advantages[task : task + 1])
        alone = adapt(loss, {name: leaf[task : task + 1] for name, leaf in params.items()}, 0.1)
        for name, leaf in together.items():
            torch.testing.assert_close(leaf[task], alone[name][0])


def test_first_order_takes_the_same_step_with_the_identity_as_jacobian():
    episodes, advantages = made_up_episodes(POLICY, repeat_params(PARAMS, N), seed=4)

    def bias_after(bias, first_order):
        params = repeat_params({**PARAMS, "layers.1.bias": bias}, N)
        loss = policy_loss(POLICY, episodes, advantages)
        adapted = adapt(loss, params, 0.3, first_order=first_order)
        return adapted["layers.1.bias"]

    bias = PARAMS["layers.1.bias"]
    torch.testing.assert_close(bias_after(bias, True), bias_after(bias, False))
    identity = torch.eye(2, dtype=torch.float64).expand(N, 2, 2)
    torch.testing.assert_close(jacrev(bias_after)(bias, True), identity)
    assert (jacrev(bias_after)(bias, False) - identity).abs().max() > 0.01


def test_only_the_leaves_with_a_step_size_adapt_each_by_its_own():
    params, episodes, advantages = make_tasks()
    together = adapt(policy_loss(POLICY, episodes, advantages), params, 1.0)
    sizes = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)[:, None]  # one for every task
    loss = policy_loss(POLICY, episodes, advantages)
    found = adapt(loss, params, {"layers.1.bias": sizes, "log_std": 0.5})
    assert list(found) == list(params)
    for name, leaf in params.items():
        size = {"layers.1.bias": sizes, "log_std": 0.5}.get(name, 0.0)
        torch.testing.assert_close(found[name], leaf + size * (together[name] - leaf))


def test_a_task_without_steps_keeps_its_parameters():
    params, episodes, advantages = make_tasks()
    mask = episodes.mask.clone()
    mask[1] = 0.0
    loss = policy_loss(POLICY, dataclasses.replace(episodes, mask=mask), advantages)
    adapted = adapt(loss, params, 0.1)
    for name, leaf in adapted.items():
        assert torch.equal(leaf[1], params[name][1])
        assert not torch.equal(leaf[0], params[name][0])
