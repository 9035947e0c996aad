import math

import pytest
import torch
from derivatives import numerical_gradient, relative_error
from torch.func import grad

from metarobot.learning.distributed import ALONE
from metarobot.learning.prototypes import (
    TEMPERATURE,
    embedding_moments,
    episode_counts,
    per_task_encoder_gradients,
    prototypes,
    prototypical_losses,
)
from metarobot.policies import repeat_params
from metarobot.policies.episode_encoder import EpisodeEncoder, embed
from metarobot.policies.params import xavier_params

N, E, T, F, D = 3, 4, 5, 6, 2  # tasks, episodes, steps, features, embedding


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_prototype_is_the_mean_of_what_counts_in_any_order():
    z, counts = random(N, E, D), torch.ones(N, E, dtype=torch.float64)
    counts[0, 1:3], counts[2] = 0.0, 0.0
    found = prototypes(z, counts)
    torch.testing.assert_close(found[0], (z[0, 0] + z[0, 3]) / 2)
    torch.testing.assert_close(found[1], z[1].mean(0))
    assert not found[2].any()
    order = [2, 0, 3, 1]
    torch.testing.assert_close(prototypes(z[:, order], counts[:, order]), found)


def test_noise_and_spread_are_those_that_embeddings_were_drawn_with():
    num_tasks, mean = 20_000, torch.tensor([1.0, -2.0])
    centres = mean + 0.5 * random(num_tasks, 1, D)
    z = centres + 1.5 * random(num_tasks, E, D, seed=1)
    counts = torch.ones(num_tasks, E, dtype=torch.float64)
    counts[::2, 2:] = 0.0  # half of the tasks have two episodes
    moments = embedding_moments(z, counts)
    torch.testing.assert_close(moments.centres.mean(0), mean.double(), rtol=0.0, atol=0.03)
    assert float(moments.noise.mean()) == pytest.approx(D * 1.5**2, rel=0.03)
    assert float(moments.spread.mean()) == pytest.approx(D * 0.5**2, rel=0.1)


def test_tasks_of_fewer_than_two_episodes_say_nothing_of_noise():
    z, counts = random(N, E, D), torch.ones(N, E, dtype=torch.float64)
    counts[1, 1:] = 0.0
    found = embedding_moments(z, counts)
    for one, other in zip(found, embedding_moments(z[::2], counts[::2]), strict=True):
        torch.testing.assert_close(one, other)
    counts[2] = 0.0
    alone = embedding_moments(z, counts)
    torch.testing.assert_close(alone.noise[0], z[0].var(0).sum())
    assert alone.spread.isnan().all()


def test_two_tasks_in_closed_form():
    """Prototypes 0 and d, query x d: p(0) = 1 / (1 + exp((x² - (1 - x)²) d² / temperature))."""
    d, x = 0.5, 0.3
    z = torch.tensor([[[0.0], [x * d]], [[d], [d]]])
    losses = prototypical_losses(z, torch.ones(2, 2))
    exponents = ((x**2 - (1 - x) ** 2) * d**2 / TEMPERATURE, -(d**2) / TEMPERATURE)
    torch.testing.assert_close(losses, torch.tensor([math.log1p(math.exp(e)) for e in exponents]))


@pytest.mark.parametrize("lost", [[0, 1, 2, 3], [1, 3]])
def test_a_task_without_support_or_queries_neither_learns_nor_disturbs(lost):
    z, counts = random(N, E, D), torch.ones(N, E, dtype=torch.float64)
    counts[1, lost] = 0.0
    losses = prototypical_losses(z, counts)
    assert losses[1] == 0.0
    if 0 in lost:
        others = [0, 2]
        torch.testing.assert_close(losses[others], prototypical_losses(z[others], counts[others]))
    assert grad(lambda z: prototypical_losses(z, counts).sum())(z).isfinite().all()


def test_the_encoders_gradient_agrees_with_finite_differences():
    encoder = EpisodeEncoder(F, D, hidden_size=3).double()
    params = xavier_params(encoder, torch.Generator().manual_seed(1))
    features, mask = random(N, E, T, F), torch.ones(N, E, T, dtype=torch.float64)
    mask[0, 1, 2:], mask[2, 3] = 0.0, 0.0
    anchors = random(N, E, D, seed=1)
    rows = per_task_encoder_gradients(params, (features, mask), anchors, ALONE)

    def loss(params):
        z = embed(repeat_params(params, N), features, mask)
        losses = prototypical_losses(z, episode_counts(mask))
        distances = ((z - anchors) ** 2).sum(2) / TEMPERATURE
        return losses.mean() + distances.mean()

    torch.testing.assert_close(rows[:, 0].mean(), loss(params))
    assert relative_error(rows[:, 1:].mean(0), numerical_gradient(loss, params)) <= 1e-5
