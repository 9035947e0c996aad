import dataclasses

import torch
from fakes import made_up_batch, small_policy

from metarobot.algorithms import make_algorithm, train_config
from metarobot.learning.adam import AdamOptions, AdamState, adam_step, adam_update
from metarobot.learning.distributed import ALONE
from metarobot.learning.meta_update import per_task_gradients
from metarobot.policies import unflatten_params

SHAPES = {"a": (2, 3), "b": ()}


def test_steps_are_those_of_torch_also_from_a_state_that_was_saved():
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
        state = AdamState.from_tensors(state.to_tensors())
    for leaf, expected in zip(params.values(), leaves, strict=True):
        torch.testing.assert_close(leaf, expected.detach())


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


def test_an_update_without_a_step_that_can_be_taken_changes_nothing():
    objective, params, batch, state = make()
    advantages = batch.post_advantages.clone()
    advantages[2, 0, 0] = torch.inf
    broken = dataclasses.replace(batch, post_advantages=advantages)
    near, far = (dataclasses.replace(OPTIONS, outer_max_kl=most) for most in (1e-8, 1.0))
    for block, options, rejected in ((batch, near, ()), (broken, far, (2,))):
        found, report, moments = adam_update(objective, params, block, state, options)
        assert found is params
        assert moments is state
        assert not report.accepted
        assert report.rejected_tasks == rejected
        if not rejected:
            assert report.kl == 0.0
            assert report.surrogate_after == report.surrogate_before
