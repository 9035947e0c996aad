"""The example that acts with an exported policy: 22 lines, onnxruntime and numpy, nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exporting import make_policy

from metarobot.adaptation.onnx import export_onnx

pytest.importorskip("onnx", reason="needs metarobot[onnx]")
pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[2] / "examples" / "controller" / "exported_policy.py"
KINDS = ("rl2",)
STEPS, EPISODE_STEPS = 30, 10
CODE = """
import sys

for name in ("metarobot", "torch", "onnx", "mujoco", "gymnasium"):
    sys.modules[name] = None  # importing it is an error
sys.path.insert(0, sys.argv[1])
import numpy as np
from exported_policy import ExportedPolicy

told = np.load("told.npz")
for kind in sys.argv[2:]:
    policy, actions = ExportedPolicy(f"{kind}.onnx"), []
    for seen, reward, begins in zip(told["seen"], told["rewards"], told["begins"]):
        try:
            policy.act(np.where(np.arange(len(seen)) == 0, np.nan, seen), reward, begins)
        except ValueError as error:
            assert str(error).startswith("observation must hold finite numbers, got [")
        else:
            raise AssertionError("acted on NaN")
        actions.append(policy.act(seen, reward, begins))
    np.save(f"{kind}.npy", actions)
"""


def test_it_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 22


def test_it_acts_as_the_policies_do(tmp_path):
    policies = {kind: make_policy(kind) for kind in KINDS}
    interface, rng = policies["rl2"].interface, np.random.default_rng(0)
    seen = rng.uniform(
        interface.observation_low,
        interface.observation_high,
        (STEPS, len(interface.observation_low)),
    )
    rewards, begins = rng.normal(size=STEPS), np.arange(STEPS) % EPISODE_STEPS == 0
    rewards[0] = np.nan  # there was no step before
    np.savez(tmp_path / "told.npz", seen=seen, rewards=rewards, begins=begins)
    for kind, policy in policies.items():
        export_onnx(policy, tmp_path / f"{kind}.onnx")
    command = [sys.executable, "-c", CODE, str(EXAMPLE.parent), *KINDS]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    for kind, policy in policies.items():
        found = np.load(tmp_path / f"{kind}.npy")
        for t in range(STEPS):
            reward = None if t == 0 else rewards[t]
            if begins[t]:
                policy.begin(reward)
            expected = policy.act(seen[t], reward=None if begins[t] else reward)
            np.testing.assert_allclose(found[t], expected, 0, 1e-6)
