"""Episodes embedded, and the prototype of a task, which is shrunk where few were seen."""

import pytest
import torch

from metarobot.policies import repeat_params
from metarobot.policies.episode_encoder import (
    EpisodeEncoder,
    embed,
    transition_feature_size,
    transition_features,
)
from metarobot.policies.params import xavier_params
from metarobot.policies.prototype import CONTEXT, SPREAD, PrototypePolicy

N, E, T, F, D = 2, 3, 6, 7, 5  # tasks, episodes, steps, features, embedding


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_encoder(feature_size=F):
    encoder = EpisodeEncoder(feature_size, D).double()
    return repeat_params(xavier_params(encoder, torch.Generator().manual_seed(1)), N)


def test_embeddings_are_bounded_and_steps_count_alike_in_any_order_and_masked_ones_not_at_all():
    theta, features, mask = make_encoder(), random(N, E, T, F), torch.ones(N, E, T)
    z = embed(theta, 100 * features, mask)
    assert z.shape == (N, E, D)
    assert z.abs().max() <= 1.0
    assert z.std(dim=(0, 1)).min() > 0.0
    mask[..., 4:] = 0.0
    expected = embed(theta, features[:, :, :4], mask[:, :, :4])
    features[..., 4:, :] = 1e3
    torch.testing.assert_close(embed(theta, features, mask), expected)
    torch.testing.assert_close(embed(theta, features.flip(2), mask.flip(2)), expected)


def test_what_goes_together_shows_in_the_products():
    """Two tasks whose features differ in their correlation alone, all of them even in sign."""
    x = random(1, 1, 400, 1)
    x = torch.cat([x, -x], dim=2)
    both = torch.cat([torch.cat([x, s * x], dim=-1) for s in (1.0, -1.0)])
    theta = {name: leaf[:1].expand_as(leaf) for name, leaf in make_encoder(2).items()}
    one, other = embed(theta, both, torch.ones(2, 1, 800))
    assert (one - other).norm() > 0.1


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


SEEN = PrototypePolicy([-1.0], [1.0], 3, (), embedding_size=3)
"""Its mean action is the prototype that it sees."""


def seen(num_episodes, mean=(0.0, 0.0, 0.0), noise=0.0, spread=0.0):
    params = SEEN.initial_params(torch.Generator())
    params["layers.0.weight"] = torch.zeros(3, 8)
    params["layers.0.weight"][:, 1:4] = torch.eye(3)
    params["prototype"] = torch.tensor([1.0, 2.0, 4.0])
    params["num_episodes"] = torch.tensor([float(num_episodes)])
    for name, value in zip(SPREAD, (mean, [noise], [spread]), strict=True):
        params[name] = torch.tensor(value)
    return SEEN.distribution(repeat_params(params, 1), torch.zeros(1, 1, 1)).mean[0, 0]


@pytest.mark.parametrize(("num_episodes", "part"), [(1, 1 / 7), (6, 1 / 2), (19, 19 / 25)])
def test_few_episodes_are_shrunk_by_what_they_leave_unknown(num_episodes, part):
    part /= 20 / 26  # which 20 episodes, those of meta-training, leave
    found = seen(num_episodes, mean=(1.0, 0.0, 2.0), noise=0.6, spread=0.1)
    torch.testing.assert_close(found, torch.tensor([1.0, 2 * part, 2.0 + 2 * part]))


def test_nothing_else_is_shrunk():
    ones = (1.0, 1.0, 1.0)
    for found in (
        seen(20, mean=ones, noise=0.5, spread=0.5),  # as in meta-training
        seen(40, mean=ones, noise=0.5, spread=0.5),
        seen(1),  # nothing measured
        seen(1, mean=ones, noise=0.5),  # spread unknown
        seen(5, mean=ones, spread=0.5),  # no noise
    ):
        torch.testing.assert_close(found, torch.tensor([1.0, 2.0, 4.0]))
    assert not seen(0, mean=ones, noise=0.5, spread=0.5).any()  # nothing seen yet


def test_parameters_part_into_what_acts_what_embeds_and_what_is_known():
    policy = PrototypePolicy([-1.0, -2.0], [1.0, 2.0], 2, (4,), embedding_size=3)
    params = policy.initial_params(torch.Generator().manual_seed(1))
    acting, encoder = policy.acting_params(params), policy.network_params(params)
    assert set(encoder) == {name for name, _ in policy.encoder.named_parameters()}
    assert len(acting) + len(encoder) + len(CONTEXT) == len(params)
    doubled = policy.with_network(params, {name: 2 * leaf for name, leaf in encoder.items()})
    assert list(doubled) == list(params)
    torch.testing.assert_close(doubled["encoder.left.weight"], 2 * params["encoder.left.weight"])
    assert all(doubled[name] is leaf for name, leaf in acting.items())
