"""`metarobot export`, of runs and of adapted policies, in both formats."""

import sys
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO

import metarobot as mr
from metarobot.cli.main import main

onnxruntime = pytest.importorskip("onnxruntime", reason="needs metarobot[onnx]")

ONNX = ("--format", "onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "slide"
    sizes = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}
    return mr.train("slide", algorithms=["maml", "rl2"], out=folder, **sizes)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def acts(path, policy):
    """Whether a file acts in a first step as a policy does, on the middle of what it observes."""
    session, interface = onnxruntime.InferenceSession(path), policy.interface
    middle = np.add(interface.observation_low, interface.observation_high) / 2
    feeds = {each.name: np.zeros((1, each.shape[1])) for each in session.get_inputs()}
    told = {
        "observation": middle[None],
        "reward": np.full((1, 1), np.nan),
        "begins": np.ones((1, 1)),
    }
    feeds |= {name: value for name, value in told.items() if name in feeds}
    return np.allclose(session.run(None, feeds)[0][0], policy.act(middle), 0, 1e-6)


def test_a_run_as_onnx(run, capfd):
    capfd.readouterr()
    assert main(["export", str(run.path), *ONNX, "--out", "maml.onnx"]) == 0
    assert main(["export", str(run.path), *ONNX, "--algorithm", "rl2", "--out", "rl2.onnx"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "maml adapts; algorithm may also be: rl2",
        "exported maml: maml.onnx",
        "exported rl2: rl2.onnx",
    ]
    assert acts("maml.onnx", run["maml"])
    assert acts("rl2.onnx", run["rl2"])


def test_an_adapted_policy_as_a_ppo_model(run):
    options = ["--algorithm", "maml", "--episodes", "2", "--out", "adapted.safetensors"]
    assert main(["adapt", str(run.path), *options]) == 0
    assert main(["export", "adapted.safetensors", "--out", "adapted.zip"]) == 0
    policy = mr.load_policy("adapted.safetensors")
    middle = np.add(policy.interface.observation_low, policy.interface.observation_high) / 2
    found, _ = PPO.load("adapted.zip", device="cpu").predict(middle, deterministic=True)
    np.testing.assert_allclose(found, policy.act(middle), 0, 1e-6)


@pytest.mark.parametrize("options", [("--out", "policy.zip"), (*ONNX, "--out", "policy.onnx")])
def test_a_file_is_replaced_only_on_request(run, capfd, options):
    command, path = ["export", str(run.path), "--algorithm", "maml", *options], Path(options[-1])
    path.write_text("mine")
    assert main(command) == 2
    message = f"{path} is there already: name another file, or pass --overwrite"
    assert capfd.readouterr().err == f"metarobot: error: {message}\n"
    assert path.read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert path.stat().st_size > 100


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((*ONNX, "--out", "x.zip"), "--out must end in .onnx for --format onnx, got x.zip"),
        (
            ("--format", "sb3", "--out", "x.onnx"),
            "--out must end in .zip for --format sb3, got x.onnx",
        ),
        (("--out", "x.pt"), "--out must end in .onnx, or in .zip for a PPO model, got x.pt"),
        ((*ONNX, "--out", "x.onnx", "--algorithm", "promp"), "holds no promp, only maml, rl2"),
        ((*ONNX, "--out", "no/folder/x.onnx"), "no/folder: there is no such folder: make it"),
        (("--out", "x.zip", "--algorithm", "rl2"), "rl2 cannot be exported: PPO's policy does not"),
        (("--format", "pt", "--out", "x.pt"), "sb3"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(run, tmp_path, capfd, options, words):
    capfd.readouterr()
    assert main(["export", str(run.path), *options]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
    assert not [*tmp_path.iterdir()]


def test_without_onnx_one_line_says_what_to_install(run, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    capfd.readouterr()
    assert main(["export", str(run.path), *ONNX, "--out", "x.onnx"]) == 2
    needed = "metarobot: error: ONNX files need `pip install 'metarobot[onnx]'`\n"
    assert capfd.readouterr().err == needed
    assert not [*tmp_path.iterdir()]
