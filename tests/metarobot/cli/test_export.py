"""`metarobot export`, of runs and of adapted policies, in both formats."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
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


def test_a_folder_of_the_hub_holds_the_policy_and_describes_it(run, capfd):
    command = ["export", str(run.path), "--algorithm", "rl2", "--out", "policy"]
    assert main(command) == 0
    loaded, expected = mr.load_policy("policy"), run["rl2"]
    assert all(torch.equal(leaf, loaded.params[name]) for name, leaf in expected.params.items())
    plain = load_file("policy/model.safetensors")  # as other tools read it
    assert all(torch.equal(leaf, plain[name]) for name, leaf in expected.params.items())
    config = json.loads(Path("policy/config.json").read_text())
    assert (config["algorithm"], config["family"]) == ("rl2", "metarobot/Slide-v0")
    _, metadata, card = Path("policy/README.md").read_text().split("---\n", 2)
    assert "library_name: metarobot\n" in metadata
    assert all(row["name"] in card for row in config["observation"] + config["action"])
    assert main(["adapt", "policy", "--episodes", "2", "--out", "adapted.safetensors"]) == 0
    assert main(["export", "policy", "--out", "policy.onnx"]) == 0
    assert acts("policy.onnx", expected)
    capfd.readouterr()
    assert main(command) == 2
    assert "policy is there already" in capfd.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_a_folder_of_the_hubs_client_holds_links(run, tmp_path):
    """Its cache keeps the files elsewhere."""
    assert main(["export", str(run.path), "--algorithm", "maml", "--out", "policy"]) == 0
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "policy").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert mr.load_policy("snapshot").config == run["maml"].config


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
        (
            ("--out", "x.pt"),
            "--out must end in .onnx, in .zip for a PPO model, or be a folder for the",
        ),
        (("--format", "hub", "--out", "x.zip"), "--out must have no ending for --format hub"),
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
