"""A latent policy: what it is told, what it finds out, and the same on a robot."""

import math

import numpy as np
import pytest
import torch

from metarobot.policies import latent
from metarobot.policies.latent import (
    NUM_LIKELY,
    TASK_CODE,
    ExploringState,
    LatentPolicy,
    LatentState,
    flattened,
)
from metarobot.policies.params import repeat_params, xavier_params
from metarobot.policies.task_model import (
    FINEST,
    LogLikelihood,
    TaskModel,
    Transitions,
)

SEEN, A, C, K, N, M, T = 3, 2, 4, 32, 2, 3, 6  # SEEN: observation elements
LOW, HIGH = np.array([-1.0, -2.0, 0.0]), np.array([1.0, 2.0, 3.0])


def make_policy(dtype=torch.float64):
    """A policy of 32 tasks: two numbers and an angle, with parameters as large as trained ones."""
    generator = torch.Generator().manual_seed(3)
    numbers, turn = torch.rand(K, 2, generator=generator), torch.rand(K, generator=generator)
    angle = 2 * math.pi * turn
    tasks = torch.cat([3 * numbers - 1.5, angle.cos()[:, None], angle.sin()[:, None]], dim=1)
    points = torch.cat([numbers, turn[:, None]], dim=1)
    policy = LatentPolicy(
        LOW.tolist(), HIGH.tolist(), A, (8,), tasks=tasks, points=points, horizon=T, angles=(2,)
    )
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["outcome_std"] = torch.tensor([0.5, 0.1, 0.0, 0.2])  # the second element is constant
    params["outcome_mean"] = torch.tensor([0.1, 0.0, 0.0, 0.05])
    params["return_std"] = torch.ones(1)
    for name in ("direct.weight", "layers.0.weight"):
        params[name] += 0.1 * torch.randn(params[name].shape, generator=generator)
    return policy.to(dtype), {name: leaf.to(dtype) for name, leaf in params.items()}


def walk(seed=0, steps=T):
    """Observations that move a little, (T, O)."""
    rng = np.random.default_rng(seed)
    return (LOW + HIGH) / 2 + np.cumsum(rng.normal(0, 0.05, (steps, SEEN)), axis=0)


def play(state, seen, rewards):
    """Let a policy see an episode (N, M, T, O); return the means of its actions, (N, M, T, A)."""
    state.begin()
    means = []
    for t in range(seen.shape[2]):
        means.append(state.act(seen[:, :, t]).mean)
        counts = torch.ones(seen.shape[:2], dtype=torch.bool)
        state.observe(means[-1], rewards[:, :, t], counts)
    return torch.stack(means, dim=2)


def episode(seed=0):
    generator = torch.Generator().manual_seed(seed)
    seen = torch.stack([torch.from_numpy(walk(seed + i)) for i in range(N * M)]).view(N, M, T, SEEN)
    return seen, torch.randn(N, M, T, generator=generator, dtype=torch.float64)


def test_training_tells_the_policy_the_task():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    told = policy.tasks[: N * M].view(N, M, C)
    whole, other = (
        policy.distribution({**several, TASK_CODE: codes}, seen).mean
        for codes in (told, told.flip(0))
    )
    means = play(policy.start({**several, TASK_CODE: told}), seen, rewards)
    torch.testing.assert_close(means, whole)
    assert (whole - other).abs().max() > 1e-3


def test_the_mean_of_tasks_keeps_angles_on_the_circle():
    policy, _ = make_policy()
    log_weights = torch.randn(5, K, generator=torch.Generator().manual_seed(1)).double()
    mean = policy.mean_task(policy.tasks, log_weights)
    torch.testing.assert_close(mean[:, 2:].norm(dim=1), torch.ones(5).double())
    expected = log_weights.softmax(-1) @ policy.tasks
    torch.testing.assert_close(mean[:, :2], expected[:, :2])
    assert torch.allclose(mean[:, 2] * expected[:, 3], mean[:, 3] * expected[:, 2])


def evidence(squares, log_variances, num_outcomes):
    parts = (squares, log_variances, [num_outcomes])
    return LogLikelihood(*(torch.tensor(part, dtype=torch.float64) for part in parts))


def test_weights_are_those_of_the_likelihood_and_add_up():
    a, b = evidence([1.0, 2.0], [0.0, -1.0], 3.0), evidence([0.0, 2.0], [0.0, -1.0], 2.0)
    both = a.plus(b)
    density = torch.exp(torch.tensor([-0.5, -2.0 + 1.0], dtype=torch.float64))
    for power, of_power in ((1.0, density), (0.5, density.sqrt())):
        torch.testing.assert_close(
            both.log_weights(power).softmax(-1), of_power / of_power.sum(), rtol=1e-12, atol=0
        )
    nothing = both.times(torch.zeros(1, dtype=torch.float64)), LogLikelihood.none(2, 2)
    assert all((each.log_weights(0.3).softmax(-1) == 0.5).all() for each in nothing)
    # Errors count less where no task explains them, and more where they are expected.
    explained, unexplained, certain = (
        evidence([scale * 2.0, scale * 6.0], [0.0, 0.0], num).log_weights(1.0).softmax(-1)
        for scale, num in ((1.0, 2.0), (10.0, 2.0), (10.0, 20.0))
    )
    torch.testing.assert_close(unexplained, explained)
    assert certain[0] > 1.0 - 1e-8 > explained[0]


def test_the_likeliest_task_never_leaves_some_others_behind_it():
    for certainty in (1e2, 1e9):
        squares = torch.arange(K).double().flip(0)
        weights = flattened(-certainty * squares).softmax(-1)
        assert torch.equal(weights.argsort(), squares.argsort(descending=True))
        ordered = weights.sort(descending=True).values
        assert float(ordered[0] / ordered[NUM_LIKELY - 1]) == pytest.approx(30.0)


def test_weighing_is_what_the_definition_says():
    model = TaskModel(SEEN, A, C, width=5, head_width=3).double()
    params = {n: leaf.double() for n, leaf in xavier_params(model, torch.Generator()).items()}
    generator = torch.Generator().manual_seed(2)

    def normal(*shape):
        return 0.3 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    D, rows = 1 + SEEN, 3 + 2 * (1 + SEEN)
    read, told, codes, outcomes = normal(M, rows, C + 1), normal(M, C), normal(K, C), normal(M, D)
    counts = torch.tensor([1.0, 0.0, 1.0, 1.0]).double().expand(M, D)
    references = torch.cat([codes[: K // 2], normal(K, C)])
    found = model.log_likelihood(params, references, codes, read, told, outcomes, counts)
    R = len(references)
    codes = torch.cat([references, codes])
    for m in range(M):
        mean, variance = torch.empty(2, R + K, D, dtype=torch.float64)
        for k in range(R + K):
            made = read[m, :, :-1] @ (codes[k] - told[m]) + read[m, :, -1]
            rest = params["head.weight"] @ made[:3].relu() + params["head.bias"]
            mean[k], variance[k] = made[3 : 3 + D] + rest[:D], (made[3 + D :] + rest[D:]).exp()
        variance = variance + FINEST**2
        spread = mean[:R].var(0, correction=0)
        tells = counts[m] * spread / (spread + variance[:R].mean(0))
        mean, variance = mean[R:], variance[R:]
        squares = ((outcomes[m] - mean).square() / variance * tells).sum(1)
        torch.testing.assert_close(found.squares[m], squares)
        torch.testing.assert_close(found.log_variances[m], (variance.log() * tells).sum(1))
        torch.testing.assert_close(found.num_outcomes[m], tells.sum()[None])


def test_the_gradient_of_the_loss_agrees_with_finite_differences():
    model = TaskModel(SEEN, A, C, width=4, head_width=3).double()
    generator = torch.Generator().manual_seed(4)
    params = {n: leaf.double()[None] for n, leaf in xavier_params(model, generator).items()}
    D, inputs = 1 + SEEN, 2 * SEEN + 2 * A + 2
    # The weight of an error is a constant to the gradient: so is here the variance, its least.
    params["head.bias"][:, D:] = -100.0

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    blocks = [normal(1, M, T, size) for size in (inputs, C, D)]
    steps = Transitions(*blocks, counts=(normal(1, M, T, D) < 0.8).double())
    codes = normal(1, M, C)

    def loss(**leaves):
        return model.losses({**params, **leaves}, steps, codes).sum()

    for name, leaf in params.items():
        if name.startswith("return"):
            continue
        moved = leaf.clone().requires_grad_()
        (found,) = torch.autograd.grad(loss(**{name: moved}), moved)
        direction = normal(*leaf.shape)
        ahead, behind = (loss(**{name: leaf + h * direction}) for h in (1e-6, -1e-6))
        slope = float((ahead - behind) / 2e-6)
        assert slope == pytest.approx(float((found * direction).sum()), rel=1e-5), name
    silent = steps._replace(counts=torch.zeros_like(steps.counts))
    assert model.losses(params, silent, codes).item() == 0.0


def test_what_is_unmeasured_or_held_tells_nothing():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    state = LatentState(policy, several)
    state.begin()
    for t in range(T):
        mean = state.act(seen[:, :, t]).mean
        state.observe(mean, rewards[:, :, t], torch.zeros(N, M, dtype=torch.bool))
    assert not state.known().num_outcomes.any()
    blind, told = LatentState(policy, several), LatentState(policy, several)
    play(blind, seen, torch.full_like(rewards, torch.nan))
    play(told, seen, rewards)
    assert all(part.isfinite().all() for part in blind.known())
    assert (blind.known().num_outcomes > 0).all()
    assert (blind.known().num_outcomes < told.known().num_outcomes).all()


def test_the_first_adaptation_episode_is_as_any_other():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    acting, exploring = LatentState(policy, several), ExploringState(policy.exploring(), several)
    played = [play(state, seen[:, :1], rewards[:, :1]) for state in (acting, exploring)]
    torch.testing.assert_close(*played)
    for found, expected in zip(exploring.known(), acting.known(), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("careful", [True, False])
def test_the_careful_policy_acts_where_the_model_expects_more_of_it(careful, monkeypatch):
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    is_known = torch.tensor([[[careful]]])

    def returns(_, task_codes, codes):
        is_careful = task_codes.isnan().any(-1)
        gain = torch.where(is_careful, 1.0, 0.0 if careful else 2.0)
        return gain.to(codes.dtype), torch.ones_like(codes[..., 0])

    monkeypatch.setattr(policy.model, "returns", returns)
    means = play(LatentState(policy, several), seen, rewards)
    without = torch.full((N, M, C), torch.nan).double()
    expected = play(policy.start({**several, TASK_CODE: without}), seen, rewards)
    assert bool((means == expected).all()) == bool(is_known)


def test_the_careful_policy_acts_where_the_family_does_not_explain_the_robot():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    misfit = several["misfit"].clone()
    misfit[0, 1] = 1.5
    means = play(LatentState(policy, {**several, "misfit": misfit}), seen, rewards)
    without = torch.full((N, M, C), torch.nan).double()
    expected = play(policy.start({**several, TASK_CODE: without}), seen, rewards)
    assert torch.equal(means[0], expected[0])


def ask(state, seen, rewards, off=0.0):
    """A first episode, and then a question; return what that was told, (N, C).

    ``off`` is how far the actions are from what the policy means to do.
    """
    play(state, seen[:, :1], rewards[:, :1])
    state.begin()
    told = []
    for t in range(seen.shape[2]):
        mean = state.act(seen[:, 1:2, t]).mean.clamp(-1.0, 1.0)
        told.append(state.memory["task_codes"])
        state.observe(
            mean - off * mean.sign(), rewards[:, 1:2, t], torch.ones(N, 1, dtype=torch.bool)
        )
    assert all(torch.equal(told[0], each) for each in told)
    return told[0][:, 0]


def evidence_of_steps(policy, params, seen, rewards):
    """What all episodes tell but for their returns, which do not vary."""
    state = ExploringState(policy.exploring(), {**params, "return_std": torch.zeros(N, 1)})
    ask(state, seen, rewards)
    return state.known()


def test_a_question_stays_the_same_and_what_it_earns_tells():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    state = ExploringState(policy.exploring(), several)
    told = ask(state, seen, rewards)
    earned = policy.return_in_units(several, rewards[:, 1].sum(-1, keepdim=True))[:, 0]
    model = {name: leaf[:1] for name, leaf in policy.network_params(several).items()}
    counts = torch.ones(N).double()
    returns = policy.model.return_log_likelihood(
        model, policy.tasks, policy.tasks, told, earned, counts
    )
    of_steps = evidence_of_steps(policy, several, seen, rewards)
    for found, steps, extra in zip(state.known(), of_steps, returns, strict=True):
        torch.testing.assert_close(found, steps + extra[:, None])
    assert returns.num_outcomes.min() > 0
    torch.testing.assert_close(torch.cat(state.returns, dim=1), rewards[:, :2].sum(-1))


def test_a_return_that_is_not_whole_tells_nothing():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    unmeasured = rewards.clone()
    unmeasured[:, 1, 2] = torch.nan
    for shown, earned in ((seen, unmeasured), (seen[:, :, : T - 1], rewards)):
        state = ExploringState(policy.exploring(), several)
        ask(state, shown, earned)
        of_steps = evidence_of_steps(policy, several, shown, earned)
        assert all(torch.equal(a, b) for a, b in zip(state.known(), of_steps, strict=True))
        assert state.returns[1].isnan().all()


def test_a_log_of_another_policy_has_no_returns_of_its_own():
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    std = float(params["log_std"].exp().mean())
    for off, own in ((0.0, True), (1.0, True), (3.0, False)):  # in standard deviations
        state = ExploringState(policy.exploring(), several)
        ask(state, seen, rewards, off * std)
        state.known()
        assert state.returns[1].isfinite().all() == own


def test_weighing_a_few_steps_at_a_time_gives_the_same(monkeypatch):
    policy, params = make_policy()
    several, (seen, rewards) = repeat_params(params, N), episode()
    whole, chunked = LatentState(policy, several), LatentState(policy, several)
    expected = play(whole, seen, rewards)
    monkeypatch.setattr(latent, "NUMBERS_AT_ONCE", 1)
    torch.testing.assert_close(play(chunked, seen, rewards), expected)
    for a, b in zip(whole.known(), chunked.known(), strict=True):
        torch.testing.assert_close(a, b)
