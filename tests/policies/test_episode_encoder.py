import torch

from metarobot.policies import repeat_params
from metarobot.policies.episode_encoder import (
    EpisodeEncoder,
    embed,
    transition_feature_size,
    transition_features,
)
from metarobot.policies.params import xavier_params

N, E, T, F, D = 2, 3, 6, 7, 5  # tasks, episodes, steps, features, embedding


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_encoder(feature_size=F):
    encoder = EpisodeEncoder(feature_size, D).double()
    return xavier_params(encoder, torch.Generator().manual_seed(1))


def test_an_embedding_is_bounded_and_its_shapes_are_those_announced():
    params = make_encoder()
    z = embed(repeat_params(params, N), 100 * random(N, E, T, F), torch.ones(N, E, T))
    assert z.shape == (N, E, D)
    assert z.abs().max() <= 1.0
    assert z.std(dim=(0, 1)).min() > 0.0


def test_steps_count_alike_in_any_order_and_masked_ones_not_at_all():
    params = make_encoder()
    theta, features, mask = repeat_params(params, N), random(N, E, T, F), torch.ones(N, E, T)
    mask[..., 4:] = 0.0
    expected = embed(theta, features[:, :, :4], mask[:, :, :4])
    features[..., 4:, :] = 1e3
    torch.testing.assert_close(embed(theta, features, mask), expected)
    turned = embed(theta, features.flip(2), mask.flip(2))
    torch.testing.assert_close(turned, expected)


def test_what_goes_together_shows_in_the_products():
    """Two tasks whose features differ in their correlation alone, all of them even in sign."""
    params = make_encoder(feature_size=2)
    x = random(1, 1, 400, 1)
    x = torch.cat([x, -x], dim=2)
    one, other = (torch.cat([x, s * x], dim=-1) for s in (1.0, -1.0))
    theta, mask = repeat_params(params, 1), torch.ones(1, 1, 800)
    assert (embed(theta, one, mask) - embed(theta, other, mask)).norm() > 0.1


def test_features_of_a_transition():
    observations = torch.tensor([[0.0, 0.5], [0.01, 0.5], [0.01, 0.2]])
    actions, rewards = torch.tensor([[2.0], [-0.5], [0.25]]), torch.tensor([0.0, -1.0, 3.0])
    following = torch.cat([observations[1:], torch.full((1, 2), torch.nan)])
    features = transition_features(observations, following, actions, rewards, torch.ones(3))
    assert features.shape == (3, transition_feature_size(2, 1))
    log2, log4, log31 = torch.tensor([2.0, 4.0, 31.0]).log().tolist()
    expected = [
        # o_t        its change    is there one, a_t,  a_{t-1}, log r_t, t / T
        [0.0, 0.5, log2, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [0.01, 0.5, 0.0, -log31, 1.0, -0.5, 1.0, -log2, 1 / 3],
        [0.01, 0.2, 0.0, 0.0, 0.0, 0.25, -0.5, log4, 2 / 3],
    ]
    torch.testing.assert_close(features, torch.tensor(expected))
