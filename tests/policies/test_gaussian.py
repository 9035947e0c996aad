import pytest
import torch
from torch.distributions import Independent, Normal
from torch.distributions import kl_divergence as reference_kl

from metarobot.policies import entropy, kl_divergence, log_prob

torch.manual_seed(0)
MEAN_P, MEAN_Q, ACTIONS = torch.randn(3, 7, 4, dtype=torch.float64)
LOG_STD_P, LOG_STD_Q = torch.randn(2, 4, dtype=torch.float64)


def reference(mean, log_std):
    return Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)


def test_log_prob_is_summed_over_actions():
    expected = reference(MEAN_P, LOG_STD_P).log_prob(ACTIONS)
    torch.testing.assert_close(log_prob(MEAN_P, LOG_STD_P, ACTIONS), expected)
    assert expected.shape == (7,)


def test_kl_divergence_agrees_with_torch():
    expected = reference_kl(reference(MEAN_P, LOG_STD_P), reference(MEAN_Q, LOG_STD_Q))
    torch.testing.assert_close(kl_divergence(MEAN_P, LOG_STD_P, MEAN_Q, LOG_STD_Q), expected)


def test_entropy_agrees_with_torch():
    expected = reference(MEAN_P, LOG_STD_P).entropy()[0]
    torch.testing.assert_close(entropy(LOG_STD_P), expected)


@pytest.mark.parametrize("argument", [0, 1, 2, 3])
def test_kl_divergence_is_zero_and_flat_at_itself(argument):
    arguments = [MEAN_P, LOG_STD_P, MEAN_P, LOG_STD_P]
    arguments[argument] = arguments[argument].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(*arguments).sum(), arguments[argument])
    assert gradient.abs().max() < 1e-12
