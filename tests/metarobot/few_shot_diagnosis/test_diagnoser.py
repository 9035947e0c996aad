"""What a network sees, learners and references, on made-up residuals: no simulation."""

import numpy as np
import pytest
import torch

from metarobot.diagnosis.channels import NUM_CHANNELS
from metarobot.diagnosis.health_check import NUM_SAMPLES
from metarobot.few_shot import Examples
from metarobot.few_shot_diagnosis.classes import ALL_CLASSES
from metarobot.few_shot_diagnosis.diagnoser import Diagnoser
from metarobot.few_shot_diagnosis.encoder import Encoder
from metarobot.few_shot_diagnosis.evaluation import accuracies, by_features
from metarobot.few_shot_diagnosis.learners import LEARNERS
from metarobot.few_shot_diagnosis.pool import PoolSpec
from metarobot.few_shot_diagnosis.references import (
    embeddings,
    error_left_out,
    joint_batch,
    joint_classifier,
    nearest_mean,
    nearest_neighbour,
    ridge,
)
from metarobot.few_shot_diagnosis.signals import Scale, residuals, windows_of
from metarobot.few_shot_diagnosis.tasks import TaskShape, TaskSource, few_shot_tasks

SPEC = PoolSpec(machines="train", num_machines=8, classes=ALL_CLASSES[:10])


@pytest.fixture(scope="module")
def made_up():
    """Recordings in which class c is an offset in channel c, of a size that varies."""
    rng = np.random.default_rng(0)
    count = SPEC.num_machines * len(SPEC.classes)
    signals = rng.normal(size=(count, NUM_CHANNELS, NUM_SAMPLES)).astype(np.float32)
    label = np.tile(np.arange(len(SPEC.classes)), SPEC.num_machines)
    signals[np.arange(count), label] += rng.uniform(1, 4, size=(count, 1))
    scale = Scale.of(rng.normal(size=(20, NUM_CHANNELS, NUM_SAMPLES)).astype(np.float32))
    return signals, label, scale


def source(shots=2):
    return TaskSource(SPEC, SPEC, SPEC.classes, TaskShape(shots=shots, queries=2))


def test_residuals_forget_the_machine():
    rng = np.random.default_rng(1)
    machine = rng.normal(size=(3, 1, 31, 40))
    fault = rng.normal(size=(3, 31, 40))
    assert np.allclose(residuals(machine[:, 0] + fault, np.repeat(machine, 2, axis=1)), fault)


def test_windows_keep_joints_and_kinds_apart():
    residual = np.zeros((31, 31, NUM_SAMPLES), np.float32)
    residual[np.arange(31), np.arange(31)] = 1.0
    means, _ = windows_of(residual)
    for channel in range(31):
        part, kind = (channel % 7, channel // 7) if channel < 28 else (7, channel - 28)
        wanted = np.zeros_like(means[0])
        wanted[part, kind] = 1.0
        assert (means[channel] == wanted).all()


def test_a_residual_of_healthy_size_is_seen_as_about_one(made_up):
    _, _, scale = made_up
    healthy = np.random.default_rng(2).normal(size=(10, 31, NUM_SAMPLES))
    inputs = scale.inputs(healthy)
    assert inputs.dtype == np.float32
    assert 0.6 < inputs[:, :7, :4].std() < 1.0  # the inverse hyperbolic sine of a normal number
    assert 0.9 < inputs[:, :7, 4:].std() < 1.1


def test_the_same_signal_in_another_joint_is_embedded_by_the_same_weights():
    encoder = Encoder()
    encoder.joints.motion.zero_()
    inputs = torch.zeros(2, 8, 8, 160)
    signal = torch.randn(8, 160)
    inputs[0, 1], inputs[1, 5] = signal, signal
    parts = encoder(inputs).unflatten(1, (8, -1))
    assert torch.allclose(parts[0, 1], parts[1, 5], atol=1e-6)
    assert torch.allclose(parts[0, 5], parts[1, 1], atol=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_learn_and_save(name, made_up, tmp_path):
    signals, label, scale = made_up
    inputs = torch.from_numpy(scale.inputs(signals))
    own = Diagnoser(name, scale)
    losses = own.learner.fit(lambda rng: few_shot_tasks(source().draw(rng, 4), inputs, inputs), 15)
    assert np.mean(losses[-3:]) < losses[0]
    own.save(tmp_path / "diagnoser.safetensors")
    again = Diagnoser.load(tmp_path / "diagnoser.safetensors", name)
    rows = np.flatnonzero(label < 3)
    baseline = np.zeros((len(rows), 1, *signals.shape[1:]), np.float32)
    names = [str(SPEC.classes[own]) for own in label[rows]]
    found, same = (
        one.adapt(signals[rows], baseline, names).predict(signals[rows], baseline)
        for one in (own, again)
    )
    assert found.classes == tuple(sorted(set(names)))
    assert np.allclose(found.probabilities.sum(1), 1.0)
    assert (found.probabilities == same.probabilities).all()
    assert set(found.best) <= set(names)


def test_a_file_of_another_learner_is_refused(made_up, tmp_path):
    Diagnoser("anil", made_up[2]).save(tmp_path / "anil")
    with pytest.raises(ValueError, match="anil"):
        Diagnoser.load(tmp_path / "anil", "maml")


def test_a_head_refuses_more_classes_than_it_has(made_up):
    signals, label, scale = made_up
    baseline = np.zeros((10, 1, *signals.shape[1:]), np.float32)
    with pytest.raises(ValueError, match="tells 5 classes apart"):
        Diagnoser("maml", scale).adapt(signals[:10], baseline, [str(own) for own in label[:10]])


@pytest.mark.parametrize("fit", [nearest_neighbour, nearest_mean, ridge])
def test_references_find_what_is_plain(fit, made_up):
    _, label, _ = made_up
    features = np.eye(len(SPEC.classes))[label] + 0.01 * np.random.default_rng(3).normal(
        size=(len(label), len(SPEC.classes))
    )
    rows = source().draw(np.random.default_rng(0), 5)
    assert (accuracies(by_features(fit, features, features), rows) == 1.0).all()


def test_the_error_left_out_is_that_of_fits_to_the_others():
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(9, 20)), np.eye(3)[np.repeat(np.arange(3), 3)]
    penalty, errors = 2.0, []
    for out in range(9):
        keep = np.arange(9) != out
        centre, mean = rows[keep].mean(0), targets[keep].mean(0)
        own = rows[keep] - centre
        weights = np.linalg.solve(own @ own.T + penalty * np.eye(8), targets[keep] - mean)
        errors.append((rows[out] - centre) @ own.T @ weights + mean - targets[out])
    centred = rows - rows.mean(0)
    eigenvalues, vectors = np.linalg.eigh(centred @ centred.T)
    found = error_left_out(eigenvalues, vectors, targets - targets.mean(0), penalty)
    assert found == pytest.approx(np.mean(np.square(errors)))


def test_joint_training_gives_features_that_tell_classes_apart(made_up):
    signals, label, scale = made_up
    inputs = torch.from_numpy(scale.inputs(signals))
    joint = joint_classifier(0, len(SPEC.classes))
    losses = joint.fit(lambda rng: joint_batch(rng, inputs, torch.from_numpy(label)), 15)
    assert losses[-1] < losses[0]
    found = embeddings(joint, inputs)
    with torch.no_grad():
        head = [joint.params[f"head.{name}"] for name in ("weight", "bias")]
        logits = torch.nn.functional.linear(torch.from_numpy(found), *head)
        examples = Examples(inputs[None], torch.from_numpy(label)[None])
        assert torch.allclose(joint.adapt(examples).predict(inputs[None])[0], logits, atol=1e-4)
    rows = source().draw(np.random.default_rng(0), 5)
    assert accuracies(by_features(nearest_mean, found, found), rows).mean() > 0.5
