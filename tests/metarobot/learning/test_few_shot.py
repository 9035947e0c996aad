"""Few-shot learners: laws in float64, early stopping, files, and what is refused."""

import numpy as np
import pytest
import torch
from derivatives import numerical_gradient, relative_error, vector_of
from torch import nn
from torch.func import functional_call

from metarobot.io import save_tensors
from metarobot.learning.few_shot import (
    Anil,
    Examples,
    FewShotTasks,
    LearnerOptions,
    Maml,
    MamlOptions,
    MetaSgd,
    PrototypicalNetwork,
    Reptile,
    ReptileOptions,
    cross_entropy,
    squared_error,
)
from metarobot.policies import repeat_params

N, S, Q, SIZE, CLASSES = 3, 6, 14, 4, 3


def network(seed=0):
    """A smooth network: finite differences see no kinks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(SIZE, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()


def regression_tasks(rng=None):
    rng = rng or np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.standard_normal((N, S + Q, size))) for size in (SIZE, CLASSES))
    return split(Examples(x, y))


def classification_tasks(rng=None):
    """Every class stands in the support, at places that differ from task to task."""
    rng = rng or np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((N, S + Q, SIZE)))
    parts = [rng.permuted(np.tile(np.arange(n) % CLASSES, (N, 1)), axis=1) for n in (S, Q)]
    return split(Examples(x, torch.from_numpy(np.concatenate(parts, axis=1))))


def split(examples):
    return FewShotTasks(examples.part(0, S), examples.part(S, S + Q))


def maml(module=None, loss=squared_error, **options):
    return Maml(module or network(), loss, MamlOptions(**{"inner_lr": 0.3, **options}))


def maml_of_classes(module=None, **options):
    return maml(module, cross_entropy, **options)


def first_order(module=None, **options):
    return maml(module, first_order=True, **options)


def anil(module=None, head="2", **options):
    return Anil(module or network(), squared_error, MamlOptions(inner_lr=0.3, **options), head)


def meta_sgd(module=None, **options):
    return MetaSgd(module or network(), squared_error, MamlOptions(inner_lr=0.3, **options))


def reptile(module=None, **options):
    return Reptile(module or network(), squared_error, ReptileOptions(inner_lr=0.1, **options))


def prototypical(module=None, **options):
    return PrototypicalNetwork(module or network(), LearnerOptions(**options))


EXACT = [maml, maml_of_classes, anil, meta_sgd, prototypical]
"""Those whose meta-update follows the derivative of the loss after adapting."""
ALL = pytest.mark.parametrize("make", [*EXACT, first_order, reptile])


def tasks_for(make, rng=None):
    of_classes = make in (maml_of_classes, prototypical)
    return (classification_tasks if of_classes else regression_tasks)(rng)


def rows_of(tasks, chosen):
    parts = (tasks.support, tasks.query)
    return FewShotTasks(*(Examples(part.inputs[chosen], part.targets[chosen]) for part in parts))


def same(one, other):
    return [*one] == [*other] and all(torch.equal(one[name], other[name]) for name in one)


def plain_step(params, inputs, targets, size=0.3):
    """Take one gradient step on one task, without vmap."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    loss = (functional_call(network(), leaves, (inputs,)) - targets).square().mean()
    gradients = torch.autograd.grad(loss, [*leaves.values()])
    steps = dict(zip(leaves, gradients, strict=True))
    return {name: (leaf - size * steps[name]).detach() for name, leaf in leaves.items()}


@pytest.mark.parametrize("make", EXACT)
def test_meta_gradients_are_those_of_the_loss_after_adapting(make):
    learner = make() if make is prototypical else make(num_adaptation_steps=2)
    tasks = tasks_for(make)
    expected = numerical_gradient(
        lambda params: learner.query_losses(repeat_params(params, N), tasks).mean(), learner.params
    )
    found = learner.per_task_gradients(learner.params, tasks)[:, 1:].mean(0)
    assert relative_error(found, expected) <= 1e-5


def test_first_order_is_the_gradient_at_the_adapted_parameters():
    learner, tasks = first_order(num_adaptation_steps=2), regression_tasks()
    found = learner.per_task_gradients(learner.params, tasks)[:, 1:]
    adapted, plain = learner.adapt(tasks.support).params, maml(num_adaptation_steps=0)
    for task in range(N):
        own = {name: leaf[task] for name, leaf in adapted.items()}
        expected = plain.per_task_gradients(own, rows_of(tasks, [task]))[0, 1:]
        torch.testing.assert_close(found[task], expected)


def test_adaptation_steps_are_those_of_a_plain_loop():
    learner, tasks, num_steps = maml(), regression_tasks(), 3
    found = learner.adapt(tasks.support, num_steps)
    for task in range(N):
        params = learner.params
        for _ in range(num_steps):
            params = plain_step(params, tasks.support.inputs[task], tasks.support.targets[task])
        outputs = functional_call(network(), params, (tasks.query.inputs[task],))
        torch.testing.assert_close(found.predict(tasks.query.inputs)[task], outputs)


def test_anil_adapts_the_head_alone_and_meta_sgd_by_the_step_sizes_it_has_learned():
    support, whole = regression_tasks().support, maml().adapt(regression_tasks().support).params
    for name, leaf in anil().adapt(support).params.items():
        expected = whole[name] if name.startswith("2.") else network().get_parameter(name)
        torch.testing.assert_close(leaf, expected.detach().expand_as(leaf))
    learner = meta_sgd()
    (name,) = (name for name in learner.params if name.endswith("step_sizes.0.bias"))
    learner.params[name] = -2 * learner.params[name]
    found, start = learner.adapt(support).params, learner.params
    torch.testing.assert_close(found["2.bias"], whole["2.bias"])
    torch.testing.assert_close(
        found["0.bias"] - start["0.bias"], -2 * (whole["0.bias"] - start["0.bias"])
    )


def test_reptile_points_to_where_steps_on_blocks_in_turn_lead():
    learner, tasks = reptile(num_adaptation_steps=4), regression_tasks()
    rows = learner.per_task_gradients(learner.params, tasks)
    blocks = [tasks.support, tasks.query.part(0, S), tasks.query.part(S, 2 * S), tasks.support]
    for task in range(N):
        params = learner.params
        for block in blocks:  # two examples of the query are left over
            params = plain_step(params, block.inputs[task], block.targets[task], size=0.1)
        torch.testing.assert_close(rows[task, 1:], vector_of(learner.params) - vector_of(params))


def test_prototypes_are_the_means_of_classes():
    tasks, module = classification_tasks(), network()
    found = prototypical().adapt(tasks.support).predict(tasks.query.inputs)
    for task in range(N):
        embedded, classes = module(tasks.support.inputs[task]), tasks.support.targets[task]
        centres = torch.stack([embedded[classes == c].mean(0) for c in range(CLASSES)])
        squared = torch.cdist(module(tasks.query.inputs[task]), centres).square()
        torch.testing.assert_close(found[task], -squared.detach())


@ALL
def test_straight_is_saved_and_resumed_and_tasks_do_not_mix(make, tmp_path):
    def sample(rng):
        return tasks_for(make, rng)

    whole, half = make(seed=5, outer_lr=0.01), make(seed=5, outer_lr=0.01)
    losses = whole.fit(sample, 30)
    first = half.fit(sample, 15)
    half.save(tmp_path / "learner.safetensors")
    resumed = make(seed=5, outer_lr=0.01).load(tmp_path / "learner.safetensors")
    assert first + resumed.fit(sample, 15) == losses
    assert resumed.num_updates == 30
    assert same(resumed.state(), whole.state())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert make(seed=6).fit(sample, 1)[0] != losses[0]

    tasks, order = tasks_for(make), [2, 0, 1]
    rows = whole.per_task_gradients(whole.params, tasks)
    shuffled, alone = rows_of(tasks, order), rows_of(tasks, [1])
    torch.testing.assert_close(whole.per_task_gradients(whole.params, shuffled), rows[order])
    torch.testing.assert_close(whole.per_task_gradients(whole.params, alone)[0], rows[1])


def sines(rng, num_tasks=10):
    """Sines of other amplitudes and phases, ten points to adapt from and ten to be judged by."""
    amplitude, phase_rad = rng.uniform([0.1, 0], [5.0, np.pi], (num_tasks, 2)).T[..., None, None]
    x = rng.uniform(-5, 5, (num_tasks, 20, 1))
    y = amplitude * np.sin(x - phase_rad)
    points = Examples(*(torch.from_numpy(array.astype(np.float32)) for array in (x, y)))
    return FewShotTasks(points.part(0, 10), points.part(10, 20))


def sine_learner(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(1, 20), nn.ReLU(), nn.Linear(20, 1))
    return maml(module, **{"inner_lr": 0.02, "outer_lr": 0.03, **options})


def held_out_loss(learner, tasks):
    return learner.adapt(tasks.support).losses(tasks.query).mean().item()


def test_early_stopping_keeps_the_update_that_is_best_on_held_out_tasks():
    held_out = sines(np.random.default_rng(1), 50)
    learner, other = sine_learner(), sine_learner()
    losses = learner.fit(sines, 300, validate=held_out, patience=20)
    checks = [held_out_loss(other, held_out)]
    for _ in range(0, len(losses), 10):
        other.fit(sines, 10)
        checks.append(held_out_loss(other, held_out))
    best = int(np.argmin(checks))
    assert 0 < learner.num_updates == 10 * best == len(losses) - 20
    assert held_out_loss(learner, held_out) == checks[best] < 0.9 * checks[0]
    exact = sine_learner()
    exact.fit(sines, learner.num_updates)
    assert same(learner.state(), exact.state())


def test_numbers_that_are_not_finite_are_refused_and_change_nothing():
    learner, tasks = maml(), regression_tasks()
    learner.fit(regression_tasks, 1)
    before = learner.state()
    tasks.query.targets[1, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite in meta-update 1"):
        learner.fit(lambda _: tasks, 1)
    with pytest.raises(ValueError, match="loss on the held-out tasks is nan before training"):
        learner.fit(regression_tasks, 10, validate=tasks)
    assert same(learner.state(), before)


@ALL
def test_frozen_parameters_are_used_and_stay(make):
    for frozen in ("0.weight", "2.bias"):
        module = network()
        module.get_parameter(frozen).requires_grad_(False)
        learner = make(module)
        learner.fit(lambda rng: tasks_for(make, rng), 2)
        adapted = learner.adapt(tasks_for(make).support).params
        for name, value in module.named_parameters():
            assert torch.equal(learner.params[name], value) == (name == frozen)
            stays = name == frozen or make is prototypical or (make is anil and name[0] == "0")
            assert torch.equal(adapted[name][0], learner.params[name]) == stays


def test_files_of_others_and_damaged_files_are_refused_in_one_line(tmp_path):
    path, learner = tmp_path / "learner.safetensors", maml()
    learner.save(path)
    data, state, facts = path.read_bytes(), learner.state(), learner.facts()

    def refused(message, reader=learner):
        with pytest.raises(ValueError, match=message) as error:
            reader.load(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400

    refused("is of another learner: 'inner_lr' is 0.3, must be 0.5", maml(inner_lr=0.5))
    refused("is of another learner: 'learner' is 'Maml', must be 'Anil'", anil())
    refused("0.weight is F64 .*, must be F32", maml(network().float()))
    refused("does not fit its configuration", maml(nn.Linear(SIZE, CLASSES).double()))
    for name, value, message in (
        ("adam.num_steps", -1.0, "is damaged: -1.0 meta-updates"),
        ("params.2.bias", torch.nan, "not finite in params.2.bias"),
    ):
        save_tensors(path, {**state, name: torch.full_like(state[name], value)}, facts)
        refused(message)
    save_tensors(path, state, {**facts, "learner": "\n" * 10_000})
    refused("is of another learner")
    path.write_bytes(data[:-1])
    refused("its seal is broken")
    assert same(learner.state(), state)


def tied_layers():
    module = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Tanh(), nn.Linear(SIZE, SIZE))
    module[2].weight = module[0].weight
    return module


FROZEN = network().requires_grad_(False)
TASKS = regression_tasks()
REFUSED = {
    r"same \(tasks, examples\), .* got \(2, 3\) and \(2, 4\)": lambda: Examples(
        torch.zeros(2, 3), torch.zeros(2, 4)
    ),
    "same tasks: got 3 and 1": lambda: FewShotTasks(TASKS.support, rows_of(TASKS, [1]).query),
    "must have the same shape": lambda: squared_error(torch.zeros(6, 1), torch.zeros(6)),
    "num_updates must be an integer, at least 0": lambda: maml().fit(regression_tasks, -1),
    "patience must be an integer": lambda: maml().fit(regression_tasks, 1, patience=1.5),
    r"shape \(6,\): got \(\)": lambda: maml(loss=nn.functional.mse_loss).adapt(TASKS.support),
    "submodule with parameters '3': nearest is": lambda: anil(head="3"),
    "parameters of the head '2' are frozen": lambda: anil(FROZEN),
    "the head '2' shares 0.weight": lambda: anil(tied_layers()),
    "no parameter to train": lambda: maml(nn.Tanh()).fit(regression_tasks, 1),
    "^the module is RNN: torch cannot .* take a convolution": lambda: maml(nn.RNN(SIZE, 3)),
    "BatchNorm1d: its running statistics .*, or call eval": lambda: maml(nn.BatchNorm1d(SIZE)),
    r"Dropout: it draws random numbers; .* call eval\(\)": lambda: prototypical(nn.Dropout(0.5)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(message):
    with pytest.raises(ValueError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)


def test_classes_that_prototypes_cannot_know_are_refused_and_never_predicted():
    learner, tasks = prototypical(), classification_tasks()
    support, query = tasks.support, tasks.query
    targets = support.targets.clone()
    targets[1] = targets[1].clamp(min=1)
    without = FewShotTasks(Examples(support.inputs, targets), query)
    beyond = FewShotTasks(support, Examples(query.inputs, query.targets + 1))
    for wrong, message in ((without, "task 1 .* class 0"), (beyond, "task 0 .* class 3")):
        with pytest.raises(ValueError, match=f"{message} and no support"):
            learner.fit(lambda _, wrong=wrong: wrong, 1)
    logits = learner.adapt(without.support).predict(query.inputs)
    assert logits.isfinite().all()
    assert (logits[1].argmax(-1) != 0).all()
    for targets in (support.targets.float(), support.targets.int(), support.targets - 1):
        with pytest.raises(ValueError, match=r"must be classes 0 .. C - 1, int64"):
            learner.adapt(Examples(support.inputs, targets))
