"""What the learners claim, against finite differences and plain loops, in float64."""

import pytest
import torch
from derivatives import numerical_gradient, relative_error, vector_of
from few_shot_fakes import (
    EXACT,
    LEARNERS,
    N,
    S,
    anil,
    classification_tasks,
    maml,
    meta_sgd,
    prototypical,
    regression_tasks,
    reptile,
    small_module,
)
from torch.func import functional_call

from metarobot.few_shot import Examples, FewShotTasks
from metarobot.few_shot.reptile import blocks_of
from metarobot.policies import repeat_params


def gradient_of(learner, tasks):
    """The gradient that Adam gets, (P,)."""
    return learner.per_task_gradients(learner.params, tasks)[:, 1:].mean(0)


def rows_of(tasks, chosen):
    parts = [
        Examples(part.inputs[chosen], part.targets[chosen]) for part in (tasks.support, tasks.query)
    ]
    return FewShotTasks(*parts)


def loop_step(module, params, examples, task, size=0.3):
    """One gradient step on one task, without vmap."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    outputs = functional_call(module, leaves, (examples.inputs[task],))
    loss = (outputs - examples.targets[task]).square().mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {
        name: (leaf - size * gradient).detach()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }


@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize("name", EXACT)
def test_meta_gradients_are_those_of_the_loss_after_adapting(name, num_steps):
    make, sample = LEARNERS[name]
    options = {} if name == "prototypical network" else {"num_adaptation_steps": num_steps}
    learner, tasks = make(**options), sample()

    def loss(params):
        return learner.query_losses(repeat_params(params, N), tasks).mean()

    expected = numerical_gradient(loss, learner.params)
    assert relative_error(gradient_of(learner, tasks), expected) <= 1e-5


def test_first_order_is_the_gradient_at_the_adapted_parameters():
    learner, tasks = maml(first_order=True, num_adaptation_steps=2), regression_tasks()
    adapted = learner.adapt_params(repeat_params(learner.params, N), tasks.support)
    at_the_end = maml(num_adaptation_steps=0).query_losses
    for task in range(N):
        leaves = {name: leaf[task].requires_grad_() for name, leaf in adapted.items()}
        loss = at_the_end(repeat_params(leaves, 1), rows_of(tasks, [task])).sum()
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*leaves.values()])])
        found = learner.per_task_gradients(learner.params, tasks)[task, 1:]
        torch.testing.assert_close(found, expected)
    exact = gradient_of(maml(num_adaptation_steps=2), tasks)
    assert relative_error(gradient_of(learner, tasks), exact) > 0.01


@pytest.mark.parametrize("num_steps", [1, 3])
def test_adaptation_steps_are_those_of_a_plain_loop(num_steps):
    learner, tasks = maml(), regression_tasks()
    found = learner.adapt(tasks.support, num_steps)
    for task in range(N):
        params = learner.params
        for _ in range(num_steps):
            params = loop_step(small_module(), params, tasks.support, task)
        for name, leaf in params.items():
            torch.testing.assert_close(found.params[name][task], leaf)
        outputs = functional_call(small_module(), params, (tasks.query.inputs[task],))
        torch.testing.assert_close(found.predict(tasks.query.inputs)[task], outputs)


def test_anil_moves_the_head_alone_by_the_steps_of_maml_with_fixed_features():
    learner, tasks = anil(), regression_tasks()
    whole = maml().adapt(tasks.support).params
    for name, leaf in learner.adapt(tasks.support).params.items():
        expected = whole[name] if name.startswith("2.") else learner.params[name].expand_as(leaf)
        torch.testing.assert_close(leaf, expected)


def test_meta_sgd_begins_as_maml_and_takes_the_step_sizes_it_has_learned():
    learner, tasks = meta_sgd(), regression_tasks()
    whole, found = maml().adapt(tasks.support).params, learner.adapt(tasks.support).params
    assert [*found] == [*whole]
    for name, leaf in whole.items():
        torch.testing.assert_close(found[name], leaf)
    learner.params["step_sizes.0.bias"] = -2 * learner.params["step_sizes.0.bias"]
    moved = learner.adapt(tasks.support).params["0.bias"] - learner.params["0.bias"]
    torch.testing.assert_close(moved, -2 * (whole["0.bias"] - learner.params["0.bias"]))


def test_reptile_points_to_where_steps_on_blocks_in_turn_lead():
    learner, tasks = reptile(num_adaptation_steps=3), regression_tasks()
    blocks = blocks_of(tasks)  # support, and one block of the query: two examples are left over
    assert [block.num_examples for block in blocks] == [S, S]
    rows = learner.per_task_gradients(learner.params, tasks)
    for task in range(N):
        params = learner.params
        for block in (tasks.support, tasks.query.part(0, S), tasks.support):
            params = loop_step(small_module(), params, block, task, size=0.1)
        torch.testing.assert_close(rows[task, 1:], vector_of(learner.params) - vector_of(params))


def test_prototypes_are_the_means_of_classes():
    learner, tasks = prototypical(), classification_tasks()
    found = learner.adapt(tasks.support).predict(tasks.query.inputs)
    module = small_module()
    for task in range(N):
        embedded, classes = module(tasks.support.inputs[task]), tasks.support.targets[task]
        centres = torch.stack([embedded[classes == c].mean(0) for c in range(3)])
        squared = torch.cdist(module(tasks.query.inputs[task]), centres).square()
        torch.testing.assert_close(found[task], -squared.detach())


def test_a_class_without_support_is_never_predicted():
    tasks = classification_tasks()
    targets = tasks.support.targets.clone()
    targets[1] = torch.where(targets[1] == 0, 1, targets[1])
    logits = (
        prototypical().adapt(Examples(tasks.support.inputs, targets)).predict(tasks.query.inputs)
    )
    assert (logits[1].argmax(-1) != 0).all()
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", LEARNERS)
def test_the_order_of_tasks_does_not_matter(name):
    make, sample = LEARNERS[name]
    learner, tasks, order = make(), sample(), [2, 0, 1]
    rows = learner.per_task_gradients(learner.params, tasks)
    found = learner.per_task_gradients(learner.params, rows_of(tasks, order))
    torch.testing.assert_close(found, rows[order])
    losses = learner.adapt(tasks.support).losses(tasks.query)
    shuffled = rows_of(tasks, order)
    torch.testing.assert_close(
        learner.adapt(shuffled.support).losses(shuffled.query), losses[order]
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_a_task_does_not_depend_on_the_others(name):
    make, sample = LEARNERS[name]
    learner, tasks = make(), sample()
    alone = rows_of(tasks, [1])
    found = learner.per_task_gradients(learner.params, alone)[0]
    torch.testing.assert_close(found, learner.per_task_gradients(learner.params, tasks)[1])
