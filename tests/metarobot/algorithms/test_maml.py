import torch
from fakes import N, made_up_batch, policy_loss, small_policy

from metarobot.algorithms import make_algorithm, train_config
from metarobot.learning.inner_loop import adapt_shrunk
from metarobot.policies import repeat_params

POLICY, PARAMS = small_policy()


def test_adapting_through_two_blocks_is_adapting_twice():
    config = train_config(num_adaptation_steps=2, inner_lr=0.1)
    batch = made_up_batch(POLICY, PARAMS, config)
    expected = repeat_params(PARAMS, N)
    for block, advantages in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
        expected = adapt_shrunk(policy_loss(POLICY, block, advantages), expected, 0.1)
    chain = make_algorithm(config, POLICY).adaptations(repeat_params(PARAMS, N), batch)
    assert len(chain) == 3
    for name, leaf in expected.items():
        torch.testing.assert_close(chain[-1][name], leaf)


def test_without_blocks_parameters_stay():
    config = train_config(num_adaptation_steps=0)
    params = repeat_params(PARAMS, N)
    batch = made_up_batch(POLICY, PARAMS, config)
    assert make_algorithm(config, POLICY).adaptations(params, batch) == [params]


def test_first_order_maml_is_maml_without_second_derivatives():
    config = train_config(algorithm="fomaml", inner_lr=0.1)
    batch = made_up_batch(POLICY, PARAMS, config)
    slope = torch.func.grad(lambda shift: shifted_loss(config, batch, shift))(
        torch.zeros((), dtype=torch.float64)
    )
    same = train_config(algorithm="maml", inner_lr=0.1, first_order=True)
    other = train_config(algorithm="maml", inner_lr=0.1)
    zero = torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(
        slope, torch.func.grad(lambda shift: shifted_loss(same, batch, shift))(zero)
    )
    exact = torch.func.grad(lambda shift: shifted_loss(other, batch, shift))(zero)
    assert (slope - exact).abs() > 1e-4


def shifted_loss(config, batch, shift):
    """The loss with every parameter shifted."""
    theta = repeat_params({name: leaf + shift for name, leaf in PARAMS.items()}, N)
    return make_algorithm(config, POLICY).losses(theta, batch)[0].mean()
