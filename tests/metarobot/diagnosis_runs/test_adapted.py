"""Adapting to tasks: probabilities, strangeness, confusion, the part that decided."""

import numpy as np
import pytest
import torch
from torch import nn

from metarobot.diagnosis import Channel
from metarobot.diagnosis.own_data import OwnRecordings
from metarobot.diagnosis_runs.adapted import Adapter
from metarobot.diagnosis_runs.deciding import PIECES, Traces, decisions
from metarobot.diagnosis_runs.learner_names import LEARNER_NAMES, make_learner
from metarobot.diagnosis_runs.material import Material, without_last
from metarobot.diagnosis_runs.measuring import confusion
from metarobot.diagnosis_runs.own_tasks import OwnTasks
from metarobot.diagnosis_runs.sights import ArmSight, Healthy, OwnSight
from metarobot.diagnosis_runs.strangeness import warned_of
from metarobot.few_shot import Examples
from metarobot.few_shot_diagnosis import Scale, TaskRows
from metarobot.few_shot_diagnosis.pool import NUM_BASELINES


class Plain(nn.Module):
    """Embeds inputs (S, C, 1, time) as their means over time: nothing to learn."""

    num_outputs = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return self.weight * inputs.mean(-1).flatten(1)


def plain(centred=True):
    return Adapter(make_learner("prototypes", Plain(), 3, 0), centred)


def material(classes=4, each=8, spread=0.1, channels=3):
    """Class c is an offset in channel c, the last class in all channels."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(classes), each)
    offsets = np.concatenate([4 * np.eye(channels), np.full((1, channels), 4.0)])[label]
    noise = spread * rng.normal(size=(len(label), channels, 1, 32))
    inputs = torch.from_numpy(offsets[:, :, None, None] + noise).float()
    tasks = OwnTasks(label, np.full(len(label), "m"), classes)
    names = tuple(f"c{k}" for k in range(classes))
    return Material(
        name="made up",
        support=inputs,
        query=inputs,
        classes=names,
        draw=tasks.draw,
        way=tasks.way,
        most_shots=tasks.most_shots,
        machine=np.full(len(label), "m"),
        num_recordings=len(label),
    )


def test_inputs_are_seen_less_the_mean_over_classes():
    support = torch.randn(2, 5, 3, 1, 8)
    targets = torch.tensor([[0, 0, 0, 1, 2]] * 2)  # not equally many of each
    adapted = plain().adapt(Examples(support, targets))
    wanted = torch.stack([support[:, :3].mean(1), support[:, 3], support[:, 4]]).mean(0)
    assert torch.allclose(adapted.centre[:, 0], wanted, atol=1e-6)
    assert (plain(centred=False).adapt(Examples(support, targets)).centre == 0).all()
    shifted = plain().adapt(Examples(support + 7, targets))
    query = torch.randn(2, 4, 3, 1, 8)
    assert torch.allclose(shifted.probabilities(query + 7), adapted.probabilities(query), atol=1e-4)


def test_healthy_examples_are_no_louder_than_new_recordings():
    """An example is compared with one fewer than a new recording is."""
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(3, 20_000, 1))
    healthy = Healthy({"arm": signals[:2]})
    loudness = [healthy.compared("arm", own).std() for own in signals]
    assert loudness == pytest.approx([(1 + 1 / NUM_BASELINES) ** 0.5] * 3, rel=0.02)


def test_an_interval_rests_on_machines_or_where_they_are_few_on_recordings():
    own = material()
    rows = own.draw(np.random.default_rng(1), 7, 2)
    assert np.array_equal(own.clusters(rows), rows.query.reshape(7, -1))
    machines = np.arange(32) % 5
    assert np.array_equal(
        own._replace(machine=machines).clusters(rows), machines[rows.query.reshape(7, -1)]
    )


def test_strangeness_by_hand():
    support = torch.tensor([[[0.0], [2.0], [10.0], [14.0]]])[..., None, None].expand(1, 4, 3, 1, 4)
    adapted = plain().adapt(Examples(support, torch.tensor([[0, 0, 1, 1]])))
    root = 3**0.5  # three channels alike
    for space in adapted.spaces:  # inputs are constant, so their spread over time is zero
        assert space.near.item() == pytest.approx(11 * root)  # means at 1 and 12
        assert space.usual.item() == pytest.approx(4 / 11)  # 10 and 14, each without itself
    query = torch.full((1, 1, 3, 1, 4), 5.0)
    assert adapted.strangeness(query).flatten().tolist() == pytest.approx([4 / 11] * 2)
    assert adapted.strangeness_over(query, (1 / 11, 1 / 11)).item() == pytest.approx(1)
    assert adapted.strangeness_over(query, (8 / 11, 8 / 11)).item() == pytest.approx(0.5)
    one = plain().adapt(Examples(support[:, 1:3], torch.tensor([[0, 1]])))
    assert one.spaces[0].usual.item() == 0


def test_what_no_example_is_like_is_noticed():
    own = material()
    rows = own.draw(np.random.default_rng(1), 40, 5)
    warned, unknown = warned_of(plain(), own, rows, (0.05, 0.05))
    assert warned[:, unknown].mean() == 1.0
    assert warned[:, ~unknown].mean() < 0.25
    assert without_last(rows).support.shape[1] == 3


@pytest.mark.parametrize("name", LEARNER_NAMES)
def test_probabilities_of_every_learner_add_up(name):
    adapter = Adapter(make_learner(name, Plain(), 4, 0), True)
    support = torch.randn(2, 6, 3, 1, 8)
    adapted = adapter.adapt(Examples(support, torch.tensor([[0, 1, 2] * 2] * 2)))
    shares = adapted.probabilities(torch.randn(2, 5, 3, 1, 8))
    assert shares.shape == (2, 5, 3)  # of three classes, though the head has four outputs
    assert torch.allclose(shares.sum(-1), torch.ones(2, 5))
    assert adapted.strangeness(support).shape == (2, 2, 6)


def test_confusion_counts_by_hand():
    rows = TaskRows(np.zeros((2, 2, 1), int), np.zeros((2, 2, 1), int), np.array([[0, 1], [2, 0]]))
    said = np.array([[0, 0], [0, 0]])  # the second task: "2" said of both
    found = confusion(material(3), rows, said, str)
    assert found.taken == ((1, 0, 1), (1, 0, 0), (0, 0, 1))
    assert found.asked == ((2, 1, 1), (1, 1, 0), (1, 0, 1))
    joined = confusion(material(3), rows, said, lambda name: "a" if name != "c2" else "b")
    assert joined.labels == ("a", "b")
    assert joined.taken == ((2, 1), (0, 1))
    assert joined.asked == ((3, 1), (1, 1))


def test_the_planted_part_is_found():
    """Class 0 differs in the second channel, in the third quarter of the time."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 8)
    inputs = 0.01 * torch.from_numpy(rng.normal(size=(16, 3, 1, 32))).float()
    inputs[:8, 1, 0, 16:24] += 3
    inputs[8:, 0] += 0.5
    tasks = OwnTasks(label, np.full(16, "m"))
    names, machine = ("fault", "other"), np.full(16, "m")
    own = Material("made up", inputs, inputs, names, tasks.draw, 2, 7, machine, 16)
    signals = np.zeros((16, 64, 3), np.float32)
    texts = {name: np.full(16, "") for name in ("joint", "severity", "condition")}
    recordings = OwnRecordings(
        signals=signals,
        channels=tuple(Channel(name, "V") for name in "abc"),
        samples_per_s=32.0,
        label=np.array(own.classes)[label],
        machine=np.full(16, "m"),
        file=np.array([f"{k}.csv" for k in range(16)]),
        window=np.zeros(16, int),
        **texts,
    )
    sight = OwnSight(scale=None, frames=32)  # its mask is all that is asked for
    traces = Traces(recordings, lambda row: None, aligned=False)
    found = {d.label: d for d in decisions(plain(), sight, own, traces, 2, 0)}
    fault = found["fault"]
    assert fault.rows[0].channel == "b [V]"
    assert fault.said == "fault"
    worth = np.array(fault.rows[0].worth)
    assert len(worth) == PIECES
    assert set(np.flatnonzero(worth > worth.max() / 2)) == {8, 9, 10, 11}
    assert (fault.first_s, fault.last_s) == (1.0, 1.5)


def test_masks_of_the_arm_hold_every_number_once():
    flat = np.ones((8, 4))
    sight = ArmSight(Scale(flat, flat, flat))
    masks = torch.stack([sight.mask(channel, (8, 8, 2)) for channel in range(31)])
    counts = masks.sum(0)
    assert counts.max() == 1
    assert (counts == 0).sum() == 2 * 2  # the tool has three kinds of four
