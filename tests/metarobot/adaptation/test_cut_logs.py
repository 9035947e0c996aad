"""Cutting a log changes what is known only by what was cut away, for all that read observations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from carts import INTERFACE, make_policy

from metarobot.algorithms import adapt_once
from metarobot.algorithms.latent import transitions
from metarobot.diagnosis.changes import Steps
from metarobot.policies import repeat_params
from metarobot.policies.latent import BELIEF
from metarobot.rollout.episodes import Episodes

E, CUT, T = 3, 7, INTERFACE.horizon
READERS = {
    "prototype": lambda policy, episodes: policy.algorithm._encoder_inputs([episodes])[0],
    "learned_loss": lambda policy, episodes: policy.algorithm.directions(
        policy.task_params, episodes
    ),
    "diagnosis": lambda policy, episodes: _steps(episodes),
    "latent": lambda policy, episodes: torch.cat(_shown(policy, episodes), dim=-1),
}


def _steps(episodes):
    return torch.from_numpy(np.concatenate(Steps.of(episodes.each_alone(), INTERFACE), axis=2))[
        None
    ]


def _shown(policy, episodes):
    params = {**policy.task_params, "outcome_std": torch.ones(1, 4)}
    told = torch.zeros(1, E, policy.policy.tasks.shape[1])
    shown = transitions(policy.policy, params, episodes, told)
    return shown.inputs, shown.outcomes, shown.counts


def a_log():
    """Observations (T + 1, 3), actions (T, 2) and rewards (T,) of E episodes."""
    generator = torch.Generator().manual_seed(1)
    seen = 0.1 * torch.randn(E, T + 1, 3, generator=generator).cumsum(1)
    actions, rewards = (torch.randn(E, T, *size, generator=generator) for size in ((2,), ()))
    return seen.clamp(-1, 1).numpy(), actions.numpy(), rewards.numpy()


def cut_log(length, final=True):
    seen, actions, rewards = a_log()
    parts = seen[:, : length + final], actions[:, :length], rewards[:, :length]
    return Episodes.from_log(*parts).pad(T)


def policy_of(reader):
    return make_policy("latent" if reader == "diagnosis" else reader)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_read_of_the_steps_that_are_left_stays_the_same(reader):
    policy, read = policy_of(reader), READERS[reader]
    with torch.no_grad():
        whole, cut = (read(policy, cut_log(length)) for length in (T, CUT))
    assert torch.equal(cut[:, :, :CUT], whole[:, :, :CUT])


@pytest.mark.parametrize("reader", READERS)
def test_without_the_last_observation_one_outcome_is_unknown(reader):
    policy, read = policy_of(reader), READERS[reader]
    with torch.no_grad():
        known, unknown = (read(policy, cut_log(CUT, final)) for final in (True, False))
    assert torch.equal(unknown[:, :, : CUT - 1], known[:, :, : CUT - 1])
    assert not torch.equal(unknown[:, :, CUT - 1], known[:, :, CUT - 1])
    assert unknown.isfinite().all()


def fitted_latent():
    """A latent policy whose model tells tasks apart, and whose outcomes all vary."""
    policy = make_policy("latent")
    generator = torch.Generator().manual_seed(2)
    leaves = {
        name: leaf if name in BELIEF else leaf + 0.3 * torch.randn(leaf.shape, generator=generator)
        for name, leaf in policy.params.items()
    }
    leaves["outcome_std"], leaves["outcome_mean"] = torch.full((4,), 0.1), torch.zeros(4)
    return replace(policy, params=leaves)


def evidence_from(policy, episodes):
    adapted = adapt_once(policy.algorithm, policy.task_params, episodes).params
    return {name: adapted[name] for name in ("squares", "log_variances", "num_outcomes")}


@pytest.mark.parametrize("length", [1, CUT, T - 1])
def test_latent_knows_from_a_cut_log_what_it_knew_by_then(length):
    """One that goes through the whole episode knows as much when it has seen step length."""
    policy, whole = fitted_latent(), cut_log(T)
    cut = evidence_from(policy, cut_log(length).first(1))
    state = policy.algorithm.exploring_policy.start(policy.task_params)
    state.begin()
    for t in range(length + 1):
        state.act(whole.observations[:, :1, t])
        known = [state.memory[name] for name in cut]
        state.observe(
            whole.actions[:, :1, t], whole.rewards[:, :1, t], torch.ones(1, 1, dtype=torch.bool)
        )
    for name, leaf in zip(cut, known, strict=True):
        assert torch.equal(cut[name], leaf[:, 0]), name
    assert cut["num_outcomes"] > 0


def test_a_memory_of_a_cut_trial_is_that_of_its_steps():
    policy = make_policy("rl2")
    params = repeat_params(policy.params, 1)
    cut = policy.algorithm.adapt(params, cut_log(CUT).first(1), torch.zeros(1))
    with torch.no_grad():
        memories = policy.algorithm.memories(params, cut_log(T).first(1))
    torch.testing.assert_close(cut["memory"], memories[:, CUT])
