import torch
from fakes import act_alone
from torch.func import functional_call

from metarobot.policies import repeat_params
from metarobot.policies.learned_loss import LearnedLossPolicy, directions
from metarobot.policies.params import xavier_params

LOW, HIGH = [-1.0, -2.0], [1.0, 2.0]
POLICY = LearnedLossPolicy(LOW, HIGH, 2, (4,), context_size=3)


def test_the_first_layer_sees_observation_point_and_products():
    twin = LearnedLossPolicy(LOW, HIGH, 2, (), context_size=3)
    params = repeat_params(twin.initial_params(torch.Generator()), 1)
    params["context"] = torch.tensor([[0.1, 0.2, 0.3]])
    observation = torch.tensor([[[0.5, 1.0]]])  # scaled: [0.5, 0.5]
    seen = []
    for i in range(11):
        params["layers.0.weight"] = torch.zeros(1, 2, 11)
        params["layers.0.weight"][0, 0, i] = 1.0
        seen.append(twin.distribution(params, observation).mean[0, 0, 0])
    expected = [0.5, 0.5, 0.1, 0.2, 0.3, *(0.05, 0.1, 0.15) * 2]
    torch.testing.assert_close(torch.stack(seen), torch.tensor(expected))


def test_every_task_has_its_own_point_and_one_policy_is_the_case_of_one_task():
    generator = torch.Generator().manual_seed(2)
    params = repeat_params(POLICY.initial_params(generator), 2)
    params["context"] = torch.randn(2, 3, generator=generator)
    observations = torch.randn(2, 4, 5, 2, generator=generator)
    found = POLICY.distribution(params, observations).mean
    for task in range(2):
        own = {name: leaf[task] for name, leaf in params.items()}
        torch.testing.assert_close(found[task], act_alone(POLICY, own, observations[task])[0])
    alike = POLICY.distribution(params, observations[[1, 1]]).mean
    assert not torch.allclose(found[0], alike[0])


def test_directions_are_of_each_task_and_do_not_begin_at_zero():
    generator = torch.Generator().manual_seed(3)
    network = POLICY.direction
    drawn = [xavier_params(network, generator) for _ in range(2)]
    params = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    features = torch.randn(2, 5, 6, network.left.in_features, generator=generator)
    found = directions(network, params, features)
    assert found.shape == (2, 5, 6, 2)
    for task, own in enumerate(drawn):
        torch.testing.assert_close(found[task], functional_call(network, own, (features[task],)))
    assert found.std() > 0.1
