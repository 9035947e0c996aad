"""Cutting a log changes what is known only by what was cut away."""

from dataclasses import replace

import pytest
import torch
from carts import INTERFACE, make_policy

from metarobot.adaptation.episodes import Episodes
from metarobot.policies.latent import POSTERIOR

E, CUT, T = 3, 7, INTERFACE.horizon


def cut_log(length, final=True):
    """Episodes of which the first steps were logged, with or without what came of the last."""
    generator = torch.Generator().manual_seed(1)
    seen = 0.1 * torch.randn(E, T + 1, 3, generator=generator).cumsum(1)
    actions, rewards = (torch.randn(E, T, *size, generator=generator) for size in ((2,), ()))
    parts = seen.clamp(-1, 1)[:, : length + final], actions[:, :length], rewards[:, :length]
    return Episodes.from_log(*(part.numpy() for part in parts)).pad(T)


def knowing(algorithm):
    """A policy whose parameters are as large as trained ones, all but what it knows of the task."""
    policy, generator = make_policy(algorithm), torch.Generator().manual_seed(2)
    leaves = {
        name: leaf
        if name in POSTERIOR
        else leaf + 0.3 * torch.randn(leaf.shape, generator=generator)
        for name, leaf in policy.params.items()
    }
    if algorithm == "latent":  # all outcomes vary
        leaves["outcome_std"], leaves["outcome_mean"] = torch.full((4,), 0.1), torch.zeros(4)
    return replace(policy, params=leaves)


@pytest.mark.parametrize("algorithm", ["prototype", "learned_loss", "latent", "rl2"])
def test_a_cut_log_tells_what_its_steps_tell(algorithm):
    policy, whole = knowing(algorithm), cut_log(T)
    counted = torch.where(torch.arange(T) < CUT, whole.mask, 0.0)
    ended = replace(whole, mask=counted, final_observations=whole.observations[:, :, CUT])
    known, masked, unknown = (
        policy.adapt_from(log).params for log in (cut_log(CUT), ended, cut_log(CUT, final=False))
    )
    for name, leaf in known.items():
        torch.testing.assert_close(leaf, masked[name], msg=name)
        assert unknown[name].isfinite().all()
    differs = any(not torch.equal(leaf, unknown[name]) for name, leaf in known.items())
    assert differs == (algorithm != "rl2")  # which is told no more than each step


@pytest.mark.parametrize("length", [1, CUT, T - 1])
def test_latent_knows_from_a_cut_log_what_it_knew_by_then(length, monkeypatch):
    """One that goes through the whole episode knows as much when it has seen step length."""

    def same_candidates(prior, log_likelihood, *_, **__):
        return prior._replace(log_weights=prior.log_weights + log_likelihood(prior.points))

    monkeypatch.setattr("metarobot.algorithms.latent.refine", same_candidates)
    policy, whole = knowing("latent"), cut_log(T)
    cut = policy.adapt_from(cut_log(length).first(1)).params
    state = policy.algorithm.exploring_policy.start(policy.task_params)
    state.begin()
    counts = torch.ones(1, 1, dtype=torch.bool)
    for t in range(length + 1):
        state.act(whole.observations[:, :1, t])
        known = policy.policy.log_weights(policy.task_params, state._log_likelihood())[0, 0]
        state.observe(whole.actions[:, :1, t], whole.rewards[:, :1, t], counts)
    torch.testing.assert_close(cut["log_prior"], known, rtol=1e-4, atol=1e-4)
    assert known.std() > 0.0
