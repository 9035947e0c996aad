import torch
from torch.func import grad, jacrev

from metarobot.learning.inner_loop import likelihood_ratio, lvc

ADVANTAGES = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
ACTIONS = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
THETA = torch.tensor([0.2, -0.4], dtype=torch.float64)  # mean and log standard deviation


def log_probs_of(theta):
    return -0.5 * ((ACTIONS - theta[0]) * torch.exp(-theta[1])) ** 2 - theta[1]


def objective_of(objective, behaviour_theta):
    stored = log_probs_of(behaviour_theta)
    return lambda theta: objective(log_probs_of(theta), stored, ADVANTAGES).sum()


def score_function_gradient(theta):
    return grad(lambda th: (log_probs_of(th) * ADVANTAGES).sum())(theta)


def hessian(function):
    return jacrev(jacrev(function))


def test_at_the_behaviour_policy_all_agree_up_to_the_second_derivative():
    ratio, curvature = (objective_of(o, THETA) for o in (likelihood_ratio, lvc))
    torch.testing.assert_close(ratio(THETA), ADVANTAGES.sum())
    torch.testing.assert_close(curvature(THETA), ADVANTAGES.sum())
    torch.testing.assert_close(grad(ratio)(THETA), score_function_gradient(THETA))
    torch.testing.assert_close(grad(curvature)(THETA), score_function_gradient(THETA))
    torch.testing.assert_close(hessian(ratio)(THETA), hessian(curvature)(THETA))


def test_the_hessian_holds_the_term_that_log_probabilities_lose():
    scores = jacrev(log_probs_of)(THETA)
    plain = hessian(lambda th: (log_probs_of(th) * ADVANTAGES).sum())(THETA)
    expected = plain + torch.einsum("t,ti,tj->ij", ADVANTAGES, scores, scores)
    torch.testing.assert_close(hessian(objective_of(lvc, THETA))(THETA), expected)
    assert (expected - plain).abs().max() > 0.1
