"""What training disturbs."""

import numpy as np
import torch

from metarobot.few_shot import Examples, FewShotTasks
from metarobot.few_shot_diagnosis.encoder import UNIT_LENGTH, UnitEncoder
from metarobot.few_shot_diagnosis.training import DROPPED, NOISE, disturbed

TASKS = FewShotTasks(
    Examples(torch.full((200, 5, 8, 8, 10), 100.0), torch.zeros(200, 5)),
    Examples(torch.full((200, 3, 8, 8, 10), 100.0), torch.ones(200, 3)),
)


def test_a_hidden_quantity_is_hidden_in_the_whole_task_and_the_rest_is_noisy():
    found = disturbed(TASKS, np.random.default_rng(0))
    shown = found.support.inputs[:, 0, 0, :, 0] != 0  # (tasks, quantities)
    assert abs(1 - shown.float().mean() - DROPPED) < 0.03
    for examples in (found.support, found.query):
        kept = (examples.inputs != 0).all(-1)
        assert (kept == shown[:, None, None]).all()
        noise = examples.inputs[examples.inputs != 0] - 100.0
        assert abs(noise.std() - NOISE) < 0.01
        assert abs(noise.mean()) < 0.01
    assert (found.support.targets == TASKS.support.targets).all()


def test_its_chance_is_all_of_the_generator():
    one, same, other = (disturbed(TASKS, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (one.query.inputs == same.query.inputs).all()
    assert (one.query.inputs != other.query.inputs).any()


def test_embeddings_for_prototypes_have_one_length():
    found = UnitEncoder()(torch.randn(3, 8, 8, 160))
    assert torch.allclose(found.norm(dim=1), torch.full((3,), UNIT_LENGTH))
