import torch
from torch.func import functional_call

from metarobot.policies import PrototypePolicy, repeat_params

POLICY = PrototypePolicy([-1.0, -2.0], [1.0, 2.0], 2, (4,), embedding_size=3).double()


def test_parameters_have_the_shapes_announced_and_know_no_prototype():
    params = POLICY.initial_params(torch.Generator().manual_seed(1))
    assert {name: tuple(leaf.shape) for name, leaf in params.items()} == POLICY.shapes
    assert not params["prototype"].any()
    assert not params["num_episodes"].any()
    assert params["layers.0.weight"].shape == (4, 2 + 3 + 1 + 2 * 3)


def test_the_first_layer_sees_observation_prototype_flag_and_products():
    twin = PrototypePolicy([-1.0, -2.0], [1.0, 2.0], 2, (), embedding_size=3)
    params = repeat_params(twin.initial_params(torch.Generator()), 1)
    params["layers.0.weight"] = torch.zeros(1, 2, 12)
    params["prototype"], params["num_episodes"] = torch.tensor([[0.1, 0.2, 0.3]]), torch.ones(1, 1)
    observation = torch.tensor([[[0.5, 1.0]]])  # scaled: [0.5, 0.5]
    seen = []
    for i in range(12):
        params["layers.0.weight"] = torch.zeros(1, 2, 12)
        params["layers.0.weight"][0, 0, i] = 1.0
        seen.append(twin.distribution(params, observation).mean[0, 0, 0])
    expected = [0.5, 0.5, 0.1, 0.2, 0.3, 1.0, *(0.05, 0.1, 0.15) * 2]
    torch.testing.assert_close(torch.stack(seen), torch.tensor(expected))


def test_every_task_has_its_own_prototype_and_one_policy_is_the_case_of_one_task():
    generator = torch.Generator().manual_seed(2)
    params = repeat_params(POLICY.initial_params(generator), 2)
    params["prototype"] = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    params["num_episodes"] = torch.tensor([[0.0], [5.0]], dtype=torch.float64)
    observations = torch.randn(2, 4, 5, 2, generator=generator, dtype=torch.float64)
    found = POLICY.distribution(params, observations)
    for task in range(2):
        own = {name: leaf[task] for name, leaf in params.items()}
        mean, log_std = functional_call(POLICY, own, (observations[task],))
        torch.testing.assert_close(found.mean[task], mean)
        torch.testing.assert_close(found.log_std[task], log_std)
    assert not torch.allclose(
        found.mean[0], POLICY.distribution(params, observations[[1, 1]]).mean[0]
    )


def test_parameters_part_into_what_acts_what_embeds_and_what_is_known():
    params = POLICY.initial_params(torch.Generator().manual_seed(1))
    acting, encoder = POLICY.acting_params(params), POLICY.encoder_params(params)
    assert set(encoder) == set(POLICY.encoder.shapes)
    assert len(acting) + len(encoder) + 2 == len(params)
    doubled = POLICY.with_encoder_params(params, {name: 2 * leaf for name, leaf in encoder.items()})
    assert list(doubled) == list(params)
    torch.testing.assert_close(doubled["encoder.left.weight"], 2 * params["encoder.left.weight"])
    assert all(doubled[name] is leaf for name, leaf in acting.items())
