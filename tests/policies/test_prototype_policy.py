import pytest
import torch
from fakes import act_alone

from metarobot.policies import repeat_params
from metarobot.policies.prototype import CONTEXT, SPREAD, PrototypePolicy

POLICY = PrototypePolicy([-1.0, -2.0], [1.0, 2.0], 2, (4,), embedding_size=3).double()


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
        mean, log_std = act_alone(POLICY, own, observations[task])
        torch.testing.assert_close(found.mean[task], mean)
        torch.testing.assert_close(found.log_std[task], log_std)
    assert not torch.allclose(
        found.mean[0], POLICY.distribution(params, observations[[1, 1]]).mean[0]
    )


SEEN = PrototypePolicy([-1.0], [1.0], 3, (), embedding_size=3)
"""Its mean action is the prototype that it sees."""


def seeing(num_episodes, mean=(0.0, 0.0, 0.0), noise=0.0, spread=0.0):
    params = SEEN.initial_params(torch.Generator())
    params["layers.0.weight"] = torch.zeros(3, 8)
    params["layers.0.weight"][:, 1:4] = torch.eye(3)
    params["prototype"], params["num_episodes"] = torch.tensor([1.0, 2.0, 4.0]), torch.ones(1)
    params["num_episodes"] *= num_episodes
    for name, value in zip(SPREAD, (mean, [noise], [spread]), strict=True):
        params[name] = torch.tensor(value)
    return params


def seen(params):
    return SEEN.distribution(repeat_params(params, 1), torch.zeros(1, 1, 1)).mean[0, 0]


@pytest.mark.parametrize(
    ("num_episodes", "part"), [(1, 1 / 7), (2, 1 / 4), (6, 1 / 2), (19, 19 / 25)]
)
def test_few_episodes_are_shrunk_by_what_they_leave_unknown(num_episodes, part):
    part /= 20 / 26  # which 20 episodes, those of meta-training, leave
    params = seeing(num_episodes, mean=(1.0, 0.0, 2.0), noise=0.6, spread=0.1)
    torch.testing.assert_close(seen(params), torch.tensor([1.0, 2 * part, 2.0 + 2 * part]))


@pytest.mark.parametrize(
    "params",
    [
        seeing(20, mean=(1.0, 1.0, 1.0), noise=0.5, spread=0.5),
        seeing(40, mean=(1.0, 1.0, 1.0), noise=0.5, spread=0.5),
        seeing(1),
        seeing(1, mean=(1.0, 1.0, 1.0), noise=0.5),
        seeing(5, mean=(1.0, 1.0, 1.0), spread=0.5),
    ],
    ids=["as in meta-training", "more", "nothing measured", "spread unknown", "no noise"],
)
def test_nothing_else_is_shrunk(params):
    torch.testing.assert_close(seen(params), torch.tensor([1.0, 2.0, 4.0]))


def test_before_adapting_the_mean_of_all_tasks_is_not_seen():
    assert not seen(seeing(0, mean=(1.0, 1.0, 1.0), noise=0.5, spread=0.5)).any()


def test_parameters_part_into_what_acts_what_embeds_and_what_is_known():
    params = POLICY.initial_params(torch.Generator().manual_seed(1))
    acting, encoder = POLICY.acting_params(params), POLICY.network_params(params)
    assert set(encoder) == {name for name, _ in POLICY.encoder.named_parameters()}
    assert len(acting) + len(encoder) + len(CONTEXT) == len(params)
    doubled = POLICY.with_network(params, {name: 2 * leaf for name, leaf in encoder.items()})
    assert list(doubled) == list(params)
    torch.testing.assert_close(doubled["encoder.left.weight"], 2 * params["encoder.left.weight"])
    assert all(doubled[name] is leaf for name, leaf in acting.items())
