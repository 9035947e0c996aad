import torch
from fakes import act_alone

from metarobot.algorithms import make_policy, train_config
from metarobot.envs import find_family
from metarobot.policies import GaussianMLP, repeat_params
from metarobot.policies.mlp import TaskMLP

POLICY = TaskMLP([-1.0, -2.0, -1.0, 0.0], [1.0, 2.0, 1.0, 4.0], 2, (4,), task_size=2).double()


def test_the_first_layer_sees_observation_task_and_their_products():
    twin = TaskMLP([-1.0, -2.0, -1.0, 0.0], [1.0, 2.0, 1.0, 4.0], 2, (), task_size=2)
    params = repeat_params(twin.initial_params(torch.Generator()), 1)
    observation = torch.tensor([[[0.5, 1.0, 0.2, 2.8]]])  # scaled: [0.5, 0.5, 0.2, 0.4]
    seen = []
    for i in range(8):
        params["layers.0.weight"] = torch.zeros(1, 2, 8)
        params["layers.0.weight"][0, 0, i] = 1.0
        seen.append(twin.distribution(params, observation).mean[0, 0, 0])
    expected = [0.5, 0.5, 0.2, 0.4, *(0.1, 0.2) * 2]
    torch.testing.assert_close(torch.stack(seen), torch.tensor(expected))


def test_one_policy_is_the_case_of_one_task():
    generator = torch.Generator().manual_seed(2)
    params = POLICY.initial_params(generator)
    params = {
        name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        for name, leaf in params.items()
    }
    observations = torch.randn(1, 7, 4, generator=generator, dtype=torch.float64)
    mean = POLICY.distribution(repeat_params(params, 1), observations).mean[0]
    torch.testing.assert_close(mean, act_alone(POLICY, params, observations[0])[0])


def test_the_oracle_knows_which_of_its_elements_are_the_task():
    for env_id, task_size in {"metarobot/Reach-v0": 6, "metarobot/Slide-v0": 2}.items():
        policy = make_policy(train_config("oracle", env_id=env_id))
        assert isinstance(policy, TaskMLP)
        assert policy.task_size == task_size
        size = len(find_family(env_id).observation_elements)
        assert policy.shapes["layers.0.weight"] == (64, size + task_size + size * task_size)


def test_without_products_the_oracle_is_a_plain_perceptron():
    policy = make_policy(train_config("oracle", env_id="metarobot/Slide-v0", task_products=False))
    plain = GaussianMLP(*find_family("metarobot/Slide-v0").observation_bounds(True).tolist(), 1)
    assert policy.shapes == plain.shapes
    params = policy.initial_params(torch.Generator().manual_seed(0))
    observations = torch.rand(1, 7, 5)
    found, expected = (
        each.distribution(repeat_params(params, 1), observations) for each in (policy, plain)
    )
    assert torch.equal(found.mean, expected.mean)
