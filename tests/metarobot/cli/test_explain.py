"""`metarobot explain`, and the sentences that it prints."""

import json

import numpy as np
import pytest

from metarobot.cli.main import main
from metarobot.envs import find_family
from metarobot.evaluation.explain import (
    ActionChange,
    Estimate,
    Explanation,
    LayerUpdate,
    Narrowing,
    OneTask,
    Reading,
    Sensitivity,
    StateMap,
)
from metarobot.evaluation.protocol import ExplanationConfig
from metarobot.reporting.explanation import one_task_sentences, sentences

NBSP = "\N{NO-BREAK SPACE}"
RUN = "slide"  # of the package
FEW = ["--num-tasks", "10", "--adaptation-episodes", "0", "2"]


def made_up() -> Explanation:
    r2 = {"block_mass_kg": 0.93, "pad_friction": 0.45}
    estimate = Estimate(parameter="block_mass_kg", true=1.5, value=1.1, low=0.9, high=1.3)
    best = (
        Reading(
            parameter=name, split="extrapolation", adaptation_episodes=5, r2=0.99, low=0, high=1
        )
        for name in r2
    )
    change = ActionChange(element="logarithm of the squeezing force", before=0.1, after=0.5)
    return Explanation(
        family="metarobot/Grip-v0",
        variant="greasy pads",
        parameters=find_family("metarobot/Grip-v0").distribution.parameters,
        algorithm="latent",
        config=ExplanationConfig(adaptation_episodes=(0, 5)),
        tasks=((0.1, 0.5), (0.2, 0.6)),
        readings=tuple(
            Reading(parameter=name, split=split, adaptation_episodes=5, r2=r2[name], low=0, high=1)
            for split in ("train", "extrapolation")
            for name in r2
        ),
        identified=tuple(best),
        believed=(),
        narrowing=tuple(
            Narrowing(parameter=name, adaptation_episodes=5, width=width, holds_truth=0.92)
            for name, width in zip(r2, (0.1, 0.4), strict=True)
        ),
        state_map=StateMap(
            adaptation_episodes=5, places=((0.0, 1.0), (1.0, 0.0)), shares=(0.6, 0.25)
        ),
        sensitivities=(
            Sensitivity(parameter="block_mass_kg", element="force", change=0.93, of_oracle=0.96),
            Sensitivity(parameter="pad_friction", element="force", change=-0.2, of_oracle=None),
        ),
        updates=(LayerUpdate(layer="layers.2.bias", size=0.16),),
        one_task=OneTask(
            adaptation_episodes=5,
            estimates=(estimate,),
            changes=(change,),
            beyond=("block_mass_kg",),
        ),
        similarity=((0.1, 0.9), (0.2, 0.8), (0.7, -0.6), (0.8, -0.8)),
    )


def test_a_sentence_for_every_picture() -> None:
    told = sentences(made_up())
    assert told["readings"] == (
        "After 5 episodes, readable well: the block mass (R² 0.93); roughly: the pad "
        "friction (R² 0.45). Their mean R² is 0.69 beyond that range. Of simulation, "
        "fitted to the same 5 episodes of held-out tasks, it is 0.99 for the block mass, 0.99 for "
        "the pad friction."
    )
    assert told["belief"] == (
        f"After 5 episodes the 90 % band of the block mass is 10{NBSP}% as wide as before and "
        f"contains 92{NBSP}% of the true values, that of the pad friction 40{NBSP}% and 92{NBSP}%, "
        "over all held-out tasks."
    )
    assert told["states"].startswith("85 % of what differs")
    assert told["actions"] == (
        "The force follows the block mass most: it changes by 0.93 half ranges from the lowest to "
        "the highest value trained on, and that of the oracle, which observes the task, by 0.96."
    )
    assert "have a mean cosine of 0.85, of others −0.70." in told["updates"]


def test_one_task_in_words_with_a_warning_beyond_the_training_range() -> None:
    found = made_up()
    assert found.one_task
    words = one_task_sentences(found.one_task, found.family, found.parameters)
    estimate, warning, change = words
    assert estimate == (
        "After 5 episodes: the block mass is about 1.1 kg [0.9, 1.3] (in truth 1.5)."
    )
    assert warning.startswith("Warning: block mass lies beyond the training range")
    assert change == "After 5 episodes, its mean action changes: squeezing force from 5.53 to 16 N."


@pytest.mark.usefixtures("quick_pages")
def test_it_writes_numbers_pictures_and_a_page_that_loads_nothing(
    tmp_path, capsys, monkeypatch
) -> None:
    middle = np.full((3, 2), 0.5)
    monkeypatch.setattr("metarobot.evaluation.explain.fit_tasks", lambda *_: middle)
    words = ["explain", RUN, "--out", str(tmp_path), "--task", "table_friction=0.09"]
    assert main([*words, "--algorithm", "maml", *FEW, "--num-identified", "3"]) == 0
    printed = capsys.readouterr().out
    assert "(in truth 0.09)" in printed
    assert f"page: {tmp_path / 'explanation.html'}" in printed
    values = json.loads((tmp_path / "explanation.json").read_text())
    assert values["algorithm"] == "maml"
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("readings.png", "states.png", "actions.png", "updates.png")
    }
    page = (tmp_path / "explanation.html").read_text()
    assert page.count("<figure>") == page.count('src="data:image/png;base64,') == 4
    assert "http://" not in page
    assert ">simulation, 2<" in page
    assert "the first 3 tasks of each held-out split" in page
    # latent moves no layer: the picture of the one before is gone. But it believes something.
    assert main(["explain", RUN, "--out", str(tmp_path), "--algorithm", "latent", *FEW]) == 0
    assert not (tmp_path / "updates.png").exists()
    assert (tmp_path / "belief.png").exists()
    assert "simulation" not in (tmp_path / "explanation.html").read_text().lower()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--algorithm", "oracle"], "holds no oracle that adapts, only latent, maml"),
        (["--task", "mass=1"], "no task parameter 'mass', allowed: puck_mass_kg"),
        (["--num-tasks", "3"], "num_tasks must be an integer in [10, 10000], got 3"),
        (["--task", "puck_mass_kg=-5"], "puck_mass_kg"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, words, tmp_path, capsys) -> None:
    assert main(["explain", RUN, "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
