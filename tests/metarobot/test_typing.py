"""What an editor says about a user's script: the keywords have names and types."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from loading import ROOT

from metarobot import api
from metarobot.algorithms import ALGORITHMS, option_readers
from metarobot.config import RenderConfig, RunConfig
from metarobot.envs import SceneRecord, Variant
from metarobot.evaluation.protocol import EvaluationConfig, ExplanationConfig

RIGHT = """
import gymnasium as gym
import metarobot as mr

run = mr.train("grip", algorithms=["latent"], seed=3, inner_lr=1, options={"my_option": 2.0})
policy: mr.AdaptablePolicy = mr.load_policy("grip", "latent")
robot = gym.make("metarobot/Grip-v0")
kept: list[mr.Episodes] = []
policy.explore(robot, episodes=5, on_ended=kept.append).write("log.csv", policy.elements)
kept += [mr.Episodes.from_csv("log.csv", elements=policy.elements).first(2)]
adapted = policy.adapt_from(mr.Episodes.join(kept))
adapted = policy.adapt(robot, episodes="auto", at_most=5)
line: str = adapted.report().line
helped: bool = policy.compare(robot, adapted, most_pairs=3).verdict == "helped"
evaluation = mr.evaluate([run, "grip"], out="results", num_tasks=3, splits=("train",))
film = mr.render("grip", "film.mp4", adaptation_episodes=(5,), grid=(3, 3))
size = open(mr.render(adapted, "after.mp4", task={"block_mass_kg": 1.5}), "rb").read()
mr.compare("grip", out="compared", seeds=[0, 1], total_steps=1000)
mr.explain("grip", "explained", num_tasks=50)
families: list[str] = list(mr.list_families().index)
words: str = evaluation.summary()
evaluation.plot_curve().savefig("curve.pdf")
returns: float = evaluation.rows[0].return_mean.value
mr.load_run("grip")["latent"].save("adapted.safetensors")
"""
WRONG = """
import metarobot as mr

mr.train("grip", num_taskz=3)
mr.train("grip", inner_objective="likelyhood_ratio")
mr.evaluate("grip", out="results", num_tasks="40")
policy = mr.load_run("grip")["latent"].adopt
mr.load_polici("grip", "latent")
mr.load_policy("grip").session(episodes="automatic")
"""


@pytest.mark.parametrize(
    ("keywords", "config"),
    [
        (api.TrainOptions, RunConfig),
        (api.EvaluateOptions, EvaluationConfig),
        (api.RenderOptions, RenderConfig),
        (api.ExplainOptions, ExplanationConfig),
    ],
)
def test_keywords_are_the_fields_of_the_configuration(keywords, config):
    known = {"Variant": Variant, "SceneRecord": SceneRecord}  # which help waits not for
    kinds = get_type_hints(config, localns=known)
    wanted: dict[str, Any] = {field.name: kinds[field.name] for field in fields(config)}
    if config is RunConfig:
        for name, readers in option_readers().items():
            found = [get_type_hints(ALGORITHMS[each].options_class)[name] for each in readers]
            assert found.count(found[0]) == len(found)
            wanted[name] = found[0]
    assert get_type_hints(keywords) == wanted


def test_a_type_checker_finds_every_mistake_and_no_other(tmp_path):
    pytest.importorskip("pyright")
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    settings = {"include": ["right.py", "wrong.py"], "extraPaths": [str(ROOT / "src")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in found
        if each["severity"] == "error"
    ]
    assert errors == [("wrong.py", line) for line in (4, 5, 6, 7, 8, 9)], found
