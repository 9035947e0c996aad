"""Meta-training: exact resume, files, and what is refused."""

import numpy as np
import pytest
import torch
from few_shot_fakes import (
    LEARNERS,
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
    PrototypicalNetwork,
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
