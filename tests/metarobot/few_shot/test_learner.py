"""Meta-training: exact resume, files, and what is refused."""

import numpy as np
import pytest
import torch
from few_shot_fakes import (
    CLASSES,
    LEARNERS,
    SIZE,
    classification_tasks,
    maml,
    regression_tasks,
    small_module,
)
from torch import nn

from metarobot.few_shot import (
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


def sampler(sample):
    return lambda generator: sample(seed=int(generator.integers(2**31)))


def same(one, other):
    return [*one] == [*other] and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", LEARNERS)
def test_resuming_is_exact(name):
    make, sample = LEARNERS[name]
    whole, half, resumed = make(seed=5), make(seed=5), make(seed=5)
    losses = whole.fit(sampler(sample), 4)
    first = half.fit(sampler(sample), 2)
    resumed.restore({name: leaf.clone() for name, leaf in half.state().items()})
    assert first + resumed.fit(sampler(sample), 2) == losses
    assert resumed.num_updates == 4
    assert same(resumed.state(), whole.state())
    assert not same(whole.params, half.params)


@pytest.mark.parametrize("name", LEARNERS)
def test_meta_training_lowers_the_loss(name):
    make, sample = LEARNERS[name]
    losses = make(outer_lr=0.01).fit(lambda _: sample(), 30)
    assert losses[-1] < 0.97 * losses[0]


def test_other_seeds_draw_other_tasks():
    draws = [maml(seed=seed).fit(sampler(regression_tasks), 1) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_the_module_stays_as_it_is():
    module = small_module()
    before = {name: leaf.clone() for name, leaf in module.state_dict().items()}
    learner = Maml(module, squared_error, MamlOptions())
    learner.fit(sampler(regression_tasks), 1)
    learner.adapt(regression_tasks().support)
    assert same(module.state_dict(), before)
    assert all(leaf.requires_grad for leaf in module.parameters())


def single(tasks):
    parts = [
        Examples(part.inputs.float(), part.targets.float()) for part in (tasks.support, tasks.query)
    ]
    return FewShotTasks(*parts)


def test_a_file_keeps_the_state_and_refuses_another_learner(tmp_path):
    path = tmp_path / "learner.safetensors"

    def make(**options):
        return Maml(small_module().float(), squared_error, MamlOptions(**options))

    def sample(generator):
        return single(sampler(regression_tasks)(generator))

    learner = make()
    learner.fit(sample, 2)
    learner.save(path)
    loaded = make().load(path)
    assert loaded.fit(sample, 2) == learner.fit(sample, 2)
    assert same(loaded.state(), learner.state())
    with pytest.raises(ValueError, match="is of another learner"):
        make(inner_lr=0.5).load(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its seal is broken"):
        make().load(path)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_file_keeps_double_precision(tmp_path, name):
    make, sample = LEARNERS[name]
    learner = make()
    learner.fit(sampler(sample), 2)
    learner.save(tmp_path / "learner.safetensors")
    loaded = make().load(tmp_path / "learner.safetensors")
    assert same(loaded.state(), learner.state())
    assert loaded.fit(sampler(sample), 2) == learner.fit(sampler(sample), 2)


def test_a_file_of_another_precision_is_refused(tmp_path):
    Maml(small_module(), squared_error, MamlOptions()).save(tmp_path / "learner.safetensors")
    single = Maml(small_module().float(), squared_error, MamlOptions())
    with pytest.raises(ValueError, match=r"is F64 .* must be F32"):
        single.load(tmp_path / "learner.safetensors")


def test_a_file_of_another_head_is_refused(tmp_path):
    def make(head):
        return Anil(small_module().float(), squared_error, MamlOptions(), head)

    make("0").save(tmp_path / "learner.safetensors")
    with pytest.raises(ValueError, match="is of another learner"):
        make("2").load(tmp_path / "learner.safetensors")


def test_numbers_that_are_not_finite_are_refused_and_change_nothing():
    learner = maml()
    learner.fit(sampler(regression_tasks), 1)
    before, tasks = learner.state(), regression_tasks()
    tasks.query.targets[1, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite in meta-update 1"):
        learner.fit(lambda _: tasks, 1)
    assert same(learner.state(), before)


def test_without_adaptation_steps_all_tasks_are_learned_together():
    learner, tasks = maml(num_adaptation_steps=0), regression_tasks()
    expected = squared_error(
        small_module()(tasks.query.inputs.flatten(0, 1)), tasks.query.targets.flatten(0, 1)
    ).mean()
    assert learner.fit(lambda _: tasks, 1) == pytest.approx([expected.item()])


@pytest.mark.parametrize(
    ("inputs", "targets"), [((2, 3, 1), (2, 4, 1)), ((2, 0, 1), (2, 0, 1)), ((2,), (2,))]
)
def test_examples_without_a_target_for_every_input_are_refused(inputs, targets):
    with pytest.raises(ValueError, match="must begin with the same"):
        Examples(torch.zeros(inputs), torch.zeros(targets))


def test_support_and_query_of_other_tasks_are_refused():
    with pytest.raises(ValueError, match="of the same tasks: got 3 and 2"):
        FewShotTasks(regression_tasks().support, regression_tasks(num_tasks=2).query)


def test_an_unknown_head_is_refused_by_naming_the_nearest():
    with pytest.raises(ValueError, match="unknown submodule with parameters '3': nearest is"):
        Anil(small_module(), squared_error, MamlOptions(), head="3")


class BodyAndHead(nn.Module):
    """A head of two layers; the body may share the weights of the first."""

    def __init__(self, *, shared=False):
        super().__init__()
        self.body = nn.Linear(SIZE, SIZE)
        self.head = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Tanh(), nn.Linear(SIZE, CLASSES))
        if shared:
            self.head[0].weight = self.body.weight

    def forward(self, inputs):
        return self.head(self.body(inputs).tanh())


def test_a_head_of_several_layers_adapts_as_a_whole():
    learner = Anil(BodyAndHead().double(), squared_error, MamlOptions(inner_lr=0.1), "head")
    found = learner.adapt(regression_tasks().support).params
    moved = {name for name, leaf in found.items() if not leaf.allclose(learner.params[name])}
    assert moved == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}


def test_a_head_that_shares_weights_with_the_body_is_refused():
    with pytest.raises(ValueError, match=r"'head' shares head.0.weight with body.weight"):
        Anil(BodyAndHead(shared=True), squared_error, MamlOptions(), "head")


def test_a_frozen_head_is_refused():
    module = BodyAndHead()
    module.head.requires_grad_(False)
    with pytest.raises(ValueError, match="of the head 'head' are frozen"):
        Anil(module, squared_error, MamlOptions(), "head")


FREEZABLE = {
    "maml": lambda module: Maml(module, squared_error, MamlOptions(inner_lr=0.3)),
    "anil": lambda module: Anil(module, squared_error, MamlOptions(inner_lr=0.3), head="2"),
    "meta-sgd": lambda module: MetaSgd(module, squared_error, MamlOptions(inner_lr=0.3)),
    "reptile": lambda module: Reptile(module, squared_error, ReptileOptions(inner_lr=0.1)),
    "prototypical network": lambda module: PrototypicalNetwork(module, LearnerOptions()),
}


@pytest.mark.parametrize("name", FREEZABLE)
@pytest.mark.parametrize("frozen", ["0.weight", "2.bias"])
def test_frozen_parameters_are_used_and_stay(name, frozen):
    module = small_module()
    module.get_parameter(frozen).requires_grad_(False)
    learner, (_, sample) = FREEZABLE[name](module), LEARNERS[name]
    learner.fit(sampler(sample), 3)
    adapted = learner.adapt(sample().support).params
    for leaf, value in module.named_parameters():
        assert torch.equal(learner.params[leaf], value) == (leaf == frozen)
        if leaf in adapted:
            stays = leaf == frozen or (name == "anil" and not leaf.startswith("2."))
            assert torch.equal(adapted[leaf][0], learner.params[leaf]) == stays
    assert f"step_sizes.{frozen}" not in learner.params


def test_a_module_without_anything_to_train_is_refused():
    for module in (nn.Tanh(), small_module().requires_grad_(False)):
        learner = Maml(module, squared_error, MamlOptions())
        with pytest.raises(ValueError, match="has no parameter to train"):
            learner.fit(sampler(regression_tasks), 1)


@pytest.mark.parametrize("count", [-1, 1.5, True, "2"])
def test_numbers_of_updates_and_steps_that_are_none_are_refused(count):
    with pytest.raises(ValueError, match="num_updates must be an integer, at least 0"):
        maml().fit(sampler(regression_tasks), count)
    with pytest.raises(ValueError, match="num_steps must be an integer, at least 0"):
        maml().adapt(regression_tasks().support, count)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda outputs, targets: (outputs - targets).square().mean(), r"\(\)"),
        (lambda outputs, targets: (outputs - targets).square(), r"\(6, 3\)"),
    ],
)
def test_a_loss_that_is_not_one_number_for_each_example_is_refused(loss, shape):
    with pytest.raises(ValueError, match=rf"shape \(6,\): got {shape}"):
        Maml(small_module(), loss, MamlOptions()).adapt(regression_tasks().support)


def test_a_class_of_a_query_without_support_is_refused():
    learner, tasks = PrototypicalNetwork(small_module(), LearnerOptions()), classification_tasks()
    targets = tasks.support.targets.clone()
    targets[1] = targets[1].clamp(min=1)
    without = FewShotTasks(Examples(tasks.support.inputs, targets), tasks.query)
    beyond = FewShotTasks(tasks.support, Examples(tasks.query.inputs, tasks.query.targets + 1))
    for wrong, message in ((without, "task 1 .* class 0"), (beyond, "task 0 .* class 3")):
        with pytest.raises(ValueError, match=f"{message} and no support"):
            learner.fit(lambda _, wrong=wrong: wrong, 1)
        with pytest.raises(ValueError, match=f"{message} and no support"):
            learner.adapt(wrong.support).losses(wrong.query)


def test_targets_that_are_no_classes_are_refused():
    learner = PrototypicalNetwork(small_module(), LearnerOptions())
    support = classification_tasks().support
    for targets in (support.targets.float(), support.targets.int(), support.targets - 1):
        with pytest.raises(ValueError, match=r"must be classes 0 .. C - 1, int64"):
            learner.adapt(Examples(support.inputs, targets))


def test_targets_of_another_shape_are_refused():
    tasks = regression_tasks()
    with pytest.raises(ValueError, match="must have the same shape"):
        maml().adapt(Examples(tasks.support.inputs, tasks.support.targets[..., 0]))


class Encoder(nn.Module):
    """A small convolution over time, with a buffer that scales its channels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([[1.0], [2.0]]))
        self.layers = nn.Sequential(
            nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    def forward(self, signals):
        return self.layers(signals * self.scale)


def test_signals_over_time_are_classified_by_any_learner():
    generator = np.random.default_rng(0)
    signals = torch.from_numpy(generator.standard_normal((2, 12, 2, 20), dtype=np.float32))
    classes = torch.arange(12).remainder(3).expand(2, 12)
    examples = Examples(signals, classes)
    tasks = FewShotTasks(examples.part(0, 6), examples.part(6, 12))
    for learner in (
        Maml(Encoder(), cross_entropy, MamlOptions()),
        PrototypicalNetwork(Encoder(), LearnerOptions()),
    ):
        learner.fit(lambda _: tasks, 1)
        assert learner.adapt(tasks.support).predict(tasks.query.inputs).shape == (2, 6, 3)
