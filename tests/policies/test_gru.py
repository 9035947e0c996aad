import pytest
import torch
from torch import nn

from metarobot.policies.recurrent import gru_sequence, gru_step

N, L, H = 3, 6, 4


@pytest.fixture
def sequence():
    """Inputs, first state, weights and biases that differ between the sequences, in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(N, L, 3 * H), (N, 1, H), (N, 3 * H, H), (N, 1, 3 * H)]
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)


def test_every_sequence_is_that_of_torch_with_its_weights(sequence):
    inputs, hidden, weight, bias = sequence
    states = gru_sequence(*sequence)
    for n in range(N):
        reference = nn.GRU(3 * H, H, batch_first=True).double()
        with torch.no_grad():
            reference.weight_ih_l0.copy_(torch.eye(3 * H))  # inputs are weighted already
            reference.bias_ih_l0.zero_()
            reference.weight_hh_l0.copy_(weight[n])
            reference.bias_hh_l0.copy_(bias[n, 0])
            expected, _ = reference(inputs[[n]], hidden[[n]])
        torch.testing.assert_close(states[n, 1:], expected[0])
        torch.testing.assert_close(states[n, :1], hidden[n])


def test_the_chain_rule_by_hand_is_that_of_autograd(sequence):
    leaves = [leaf.requires_grad_() for leaf in sequence]

    def step_by_step(inputs, hidden, weight, bias):
        states = [hidden]
        for x_t in inputs.split(1, dim=1):
            states.append(gru_step(x_t, states[-1], weight, bias))
        return torch.cat(states, dim=1)

    weights = torch.randn(N, L + 1, H, dtype=torch.float64)
    expected = torch.autograd.grad((step_by_step(*leaves) * weights).sum(), leaves)
    found = torch.autograd.grad((gru_sequence(*leaves) * weights).sum(), leaves)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(gru_sequence, leaves)
