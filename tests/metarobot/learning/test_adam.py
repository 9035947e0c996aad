import dataclasses

import pytest
import torch
from fakes import made_up_batch, small_policy

from metarobot.algorithms import make_algorithm, train_config
from metarobot.learning.adam import AdamOptions, AdamState, adam_step, adam_update
from metarobot.learning.distributed import ALONE
from metarobot.learning.meta_gradient import per_task_gradients
from metarobot.policies import unflatten_params

SHAPES = {"a": (2, 3), "b": ()}


def test_steps_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    leaves = [leaf.clone().requires_grad_() for leaf in params.values()]
    optimiser = torch.optim.Adam(leaves, lr=0.1)
    state = AdamState.fresh(params)
    for _ in range(4):
        gradient = {name: torch.randn(s, generator=generator) for name, s in SHAPES.items()}
        for leaf, piece in zip(leaves, gradient.values(), strict=True):
            leaf.grad = piece
        optimiser.step()
        params, state = adam_step(params, gradient, state, 0.1)
    for leaf, expected in zip(params.values(), leaves, strict=True):
        torch.testing.assert_close(leaf, expected.detach())


def test_a_state_survives_as_tensors():
    params = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    gradient = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    _, state = adam_step(params, gradient, AdamState.fresh(params), 0.1)
    again = AdamState.from_tensors(state.to_tensors())
    assert all(torch.equal(again.first[name], state.first[name]) for name in SHAPES)
    assert all(torch.equal(again.second[name], state.second[name]) for name in SHAPES)
    assert again.num_steps == 1


def make():
    config = train_config(algorithm="maml_ppo", outer_epochs=2, outer_lr=0.01)
    policy, params = small_policy(algorithm="maml_ppo")
    state = AdamState.fresh(params)
    return make_algorithm(config, policy), params, made_up_batch(policy, params, config), state


OPTIONS = AdamOptions(outer_epochs=2, outer_lr=0.01, outer_max_kl=1.0)


def test_an_update_is_one_step_an_epoch_on_the_mean_gradient():
    objective, params, batch, state = make()
    expected = params
    for _ in range(2):
        rows, _ = per_task_gradients(objective, expected, batch, ALONE)
        gradient = unflatten_params(rows[:, 1:].mean(0), params)
        expected, state = adam_step(expected, gradient, state, 0.01)
    found, report, moments = adam_update(objective, params, batch, make()[3], OPTIONS)
    for name, leaf in expected.items():
        torch.testing.assert_close(found[name], leaf)
        torch.testing.assert_close(moments.first[name], state.first[name])
    assert report.accepted
    assert report.surrogate_after < report.surrogate_before
    assert report.kl > 0


def test_a_step_that_leads_too_far_is_not_taken_and_the_next_is_half_as_long():
    objective, params, batch, state = make()
    options = dataclasses.replace(OPTIONS, outer_epochs=1)
    _, whole, _ = adam_update(objective, params, batch, state, options)
    options = dataclasses.replace(options, outer_lr=0.005)
    expected, half, _ = adam_update(objective, params, batch, state, options)
    assert 0 < half.kl < whole.kl
    bound = (half.kl + whole.kl) / 2
    options = dataclasses.replace(OPTIONS, outer_lr=0.01, outer_epochs=2, outer_max_kl=bound)
    found, report, moments = adam_update(objective, params, batch, state, options)
    assert report == half
    assert moments.num_steps == 1
    for name, leaf in expected.items():
        assert torch.equal(found[name], leaf)


def test_an_update_without_a_step_that_stays_near_changes_nothing():
    objective, params, batch, state = make()
    options = dataclasses.replace(OPTIONS, outer_max_kl=1e-8)
    found, report, moments = adam_update(objective, params, batch, state, options)
    assert found is params
    assert moments is state
    assert not report.accepted
    assert report.kl == 0.0
    assert report.surrogate_after == report.surrogate_before
    assert not report.rejected_tasks


@pytest.mark.parametrize("epochs", [1, 2])
def test_numbers_that_are_not_finite_leave_everything_as_it_was(epochs):
    objective, params, batch, state = make()
    options = dataclasses.replace(OPTIONS, outer_epochs=epochs, outer_lr=10.0)
    advantages = batch.post_advantages.clone()
    advantages[2, 0, 0] = torch.inf
    broken = dataclasses.replace(batch, post_advantages=advantages)
    new, report, moments = adam_update(objective, params, broken, state, options)
    assert new is params
    assert moments is state
    assert report.rejected_tasks == (2,)
    assert not report.accepted
