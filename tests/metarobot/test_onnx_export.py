"""An exported policy does in onnxruntime what `AdaptablePolicy.act` does, and says what it is."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from exporting import FAMILY, make_policy

from metarobot.adaptation.onnx import facts_of, onnx_bytes
from metarobot.envs import find_family
from metarobot.policies.latent import LatentPolicy

onnx = pytest.importorskip("onnx", reason="needs metarobot[onnx]")
onnxruntime = pytest.importorskip("onnxruntime")

OBSERVATIONS, TOLERANCE = 150, 1e-6
KINDS = ["maml", "prototype", "rl2", "teacher_student", "latent"]
"""An algorithm for every kind of policy."""
REMEMBERING = ["rl2", "teacher_student", "latent"]


@cache
def exported(algorithm):
    """A policy and its file, which takes seconds."""
    policy = make_policy(algorithm)
    return policy, onnx_bytes(policy)


@cache
def exported_corrections():
    """A policy of latent that repeats a motion with corrections, and its file."""
    policy = make_policy("latent", "metarobot/Panda-v0")
    return policy, onnx_bytes(policy)


def session_of(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options)


class Robots:
    """N robots that act by a session; what it remembers goes out and comes in again."""

    def __init__(self, session, num_robots=1):
        self.session = session
        inputs = session.get_inputs()
        self.feeds = {each.name: np.zeros((num_robots, each.shape[1])) for each in inputs}
        self.states = [name for name in self.feeds if name.startswith("state_")]

    def act(self, observations, rewards, begins):
        told = {"observation": observations, "reward": rewards, "begins": begins}
        for name in told.keys() & self.feeds.keys():
            self.feeds[name] = np.broadcast_to(told[name], self.feeds[name].shape).astype(float)
        actions, *states = self.session.run(None, self.feeds)
        self.feeds |= zip(self.states, states, strict=True)
        return actions


def walk(policy, steps, num_robots):
    """Observations (steps, M, O), some out of bounds; rewards (steps, M); whether each begins."""
    rng, interface = np.random.default_rng(0), policy.interface
    low, high = np.array(interface.observation_low), np.array(interface.observation_high)
    start = rng.uniform(low, high, (steps, num_robots, len(low)))
    moves = 0.02 * (high - low) * rng.normal(size=start.shape)
    begins = np.arange(steps) % interface.horizon == 0
    seen = start.copy()
    for t in range(steps):
        if not begins[t]:
            seen[t] = seen[t - 1] + moves[t]
    return seen, rng.normal(size=(steps, num_robots)), begins


def act_both(pair, num_robots, num_steps):
    """Return the largest difference through episodes; every seventh reward is not measured.

    Rewards are told as episodes begin, too.
    """
    policy, content = pair
    policy.forget()
    seen, rewards, begins = walk(policy, num_steps, num_robots)
    robots, worst = Robots(session_of(content), num_robots), 0.0
    for t in range(num_steps):
        told = None if t == 0 or t % 7 == 5 else rewards[t]
        if begins[t]:
            policy.begin(told)
        expected = policy.act(seen[t], reward=None if begins[t] else told)
        reward = np.nan if told is None else told[:, None]
        found = robots.act(seen[t], reward, float(begins[t]))
        worst = max(worst, np.abs(found - expected).max())
    return worst


@pytest.mark.parametrize("algorithm", KINDS)
def test_it_acts_as_the_policy_does_through_episodes(algorithm):
    num_robots = 3 if algorithm in REMEMBERING else 50
    pair = exported(algorithm)
    assert act_both(pair, num_robots, OBSERVATIONS // num_robots) < TOLERANCE


def test_it_repeats_a_motion_as_the_policy_does():
    policy, content = exported_corrections()
    assert act_both((policy, content), 2, OBSERVATIONS // 2) < TOLERANCE
    robots = Robots(session_of(content))
    first = robots.act(np.zeros((1, 15)), np.nan, 1.0)
    np.testing.assert_allclose(first[0], policy.params["corrections"][0], atol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("algorithm", ["maml", "rl2"])
def test_what_a_broken_sensor_shows_is_neither_acted_on_nor_remembered(algorithm, broken):
    policy, content = exported(algorithm)
    seen, rewards, begins = walk(policy, 30, 2)
    session = session_of(content)
    robots, undisturbed = Robots(session, 2), Robots(session)
    for t in range(30):
        if t % 9 == 4:
            shown = seen[t].copy()
            shown[0, -1] = broken
            actions = robots.act(shown, rewards[t][:, None], 0.0)
            assert not actions[0].any()
            assert actions[1].any()
        reward, first = rewards[t][:, None], float(begins[t])
        found = robots.act(seen[t], reward, first)
        expected = undisturbed.act(seen[t, [0]], reward[[0]], first)
        np.testing.assert_allclose(found[[0]], expected, 0, 1e-12)


@pytest.mark.parametrize("algorithm", KINDS)
def test_it_is_checked_and_old_runtimes_read_it(algorithm):
    content = exported(algorithm)[1]
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    assert b"/site-packages/" not in content  # nothing of where it was exported
    assert b".py" not in content


def test_what_goes_in_and_out_is_what_the_policy_reads():
    def names(algorithm):
        session = session_of(exported(algorithm)[1])
        return [
            {*(each.name for each in side)}
            for side in (session.get_inputs(), session.get_outputs())
        ]

    assert names("maml") == [{"observation"}, {"action"}]
    assert names("teacher_student")[0] >= {"begins"}
    assert "reward" not in names("teacher_student")[0]
    for algorithm in ("rl2", "latent"):
        inputs, outputs = names(algorithm)
        assert inputs >= {"observation", "begins", "reward", "state_started"}
        states = {name.removeprefix("state_") for name in inputs if name.startswith("state_")}
        assert outputs == {"action", *(f"next_{name}" for name in states)}


def test_it_says_what_it_is():
    policy, content = exported("latent")
    facts = facts_of(policy)
    texts = session_of(content).get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in texts.items()} == facts
    family = find_family(FAMILY)
    assert facts["family"] == FAMILY
    assert facts["algorithm"] == "latent"
    assert facts["variant"] is None
    assert facts["control_period_s"] == family.control_step_s()
    assert facts["episode_steps"] == policy.interface.horizon
    assert facts["adaptation_episodes"] == 2
    assert isinstance(facts["metarobot_version"], str)
    assert [each["name"] for each in facts["action"]] == [*family.action_elements]
    commands = [(each["quantity"], each["unit"]) for each in facts["action_commands"]]
    assert commands == [(scale.quantity, scale.unit) for scale in family.action_scales]
    assert {(each["low"], each["high"]) for each in facts["action"]} == {(-1.0, 1.0)}
    for told, element in zip(facts["observation"], family.observation_elements, strict=True):
        assert (told["name"], told["unit"]) == (element.quantity, element.unit)
        assert (told["low"], told["high"]) == pytest.approx((element.low, element.high), rel=1e-6)
        assert told["centre"] == pytest.approx((element.low + element.high) / 2, abs=1e-6)
        assert told["half_range"] == pytest.approx((element.high - element.low) / 2, rel=1e-6)


def test_it_tells_the_task_where_adaptation_has_found_out_something(monkeypatch):
    monkeypatch.setattr(LatentPolicy, "prospects", lambda *_: (torch.ones(1, 1), torch.ones(1, 1)))
    policy = make_policy("latent", "metarobot/Grip-v0")
    known = facts_of(policy)["task_estimate"]
    assert [*known] == ["block_mass_kg", "pad_friction"]
    assert 0.05 < known["block_mass_kg"] < 1.8
    doubtful = {**policy.params, "misfit": torch.full_like(policy.params["misfit"], 2.0)}
    assert "task_estimate" not in facts_of(replace(policy, params=doubtful))
    assert "task_estimate" not in facts_of(make_policy("maml"))
