"""A run that begins with parameters from a file: what it begins with, and that it survives."""

import hashlib
from dataclasses import replace

import pytest
import torch
import trained

from metarobot.algorithms import configure
from metarobot.io import read_json, save_tensors, write_file
from metarobot.training.run import load_initial_policy, train_run
from metarobot.training.run_folder import policy_bytes
from metarobot.training.trainer import MetaTrainer

TINY = replace(trained.TINY, total_steps=200)
GRIP_SHAPES = {
    "log_std": (1,),
    "layers.0.weight": (4, 5),
    "layers.0.bias": (4,),
    "layers.1.weight": (1, 4),
    "layers.1.bias": (1,),
}


def made_up(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def file(tmp_path):
    """A policy that is like no trainer's own."""
    path = tmp_path / "policy.safetensors"
    write_file(path, policy_bytes(configure(TINY, "maml"), made_up(GRIP_SHAPES), iteration=0))
    return path


def test_all_algorithms_begin_with_it(file, tmp_path, monkeypatch):
    begun = {}

    def remember_and_step(self):
        begun.setdefault(self.config.algorithm, self.params)
        return step(self)

    step = MetaTrainer.step
    monkeypatch.setattr(MetaTrainer, "step", remember_and_step)
    algorithms = ["maml", "domain_randomisation"]
    train_run(TINY, algorithms, tmp_path / "run", initial_policy=file)
    assert list(begun) == algorithms
    for params in begun.values():
        assert all(torch.equal(params[name], leaf) for name, leaf in made_up(GRIP_SHAPES).items())
    source = read_json(tmp_path / "run/maml/config.json")["initial_policy"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert source == {"file": str(file), "sha256": digest}


def shapes_with(**layers):
    return {**GRIP_SHAPES, **{name.replace("_", "."): shape for name, shape in layers.items()}}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            shapes_with(layers_0_weight=(9, 5), layers_0_bias=(9,), layers_1_weight=(1, 9)),
            r"layers.0.bias has the shape \(9,\), must have \(4,\); pass the --hidden-sizes",
        ),
        (
            shapes_with(layers_0_weight=(4, 7)),
            r"layers.0.weight has the shape \(4, 7\), must have \(4, 5\).* leave maml out",
        ),
        (
            {**GRIP_SHAPES, "context": (3,)},
            "it holds context, for which there is no place; leave maml out with --algorithms",
        ),
        ({"log_std": (1,)}, r"it lacks layers.0.bias of shape \(4,\); leave maml out"),
    ],
)
def test_what_does_not_fit_is_named_with_the_way_out(shapes, message, tmp_path):
    path = tmp_path / "policy.safetensors"
    save_tensors(path, made_up(shapes), {"env_id": TINY.env_id})
    with pytest.raises(ValueError, match=f"does not fit maml: {message}"):
        train_run(TINY, ["maml"], tmp_path / "run", initial_policy=path)
    assert not (tmp_path / "run").exists()


def test_another_family_and_numbers_that_are_not_finite_are_refused(file):
    fresh = made_up(GRIP_SHAPES)
    reach = replace(TINY, env_id="metarobot/Reach-v0")
    with pytest.raises(ValueError, match="is a policy of metarobot/Grip-v0, not of metarobot/Reac"):
        load_initial_policy(file, reach, fresh)
    write_file(
        file,
        policy_bytes(
            configure(TINY, "maml"), {**fresh, "log_std": torch.tensor([torch.nan])}, iteration=0
        ),
    )
    with pytest.raises(ValueError, match="not finite in log_std"):
        load_initial_policy(file, configure(TINY, "maml"), fresh)
