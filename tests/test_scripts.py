"""The scripts that do more than call the command line: benchmark, documentation."""

import json
import math
import shutil
import subprocess
from dataclasses import replace
from unittest.mock import patch

import benchmark
import gymnasium as gym
import numpy as np
import pytest
import shared
from evaluations import (
    around,
    changed,
    headroom,
    made_up_evaluation,
    with_another,
    with_headroom,
    with_rows,
)
from loading import load_script
from PIL import Image

from metarobot.config import PRESETS
from metarobot.diagnosis.recordings import Channel, Recordings, write_recordings
from metarobot.envs import FAMILIES
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation
from metarobot.training.load import FOLDER
from metarobot.training.run import train_run
from metarobot.training.run_folder import load_curve

reproduce = load_script("reproduce")
life = load_script("life")
build_site = load_script("build_site")
gallery = load_script("gallery")
diagnosis = load_script("diagnosis")
changes = load_script("changes")
update_docs = load_script("update_docs")

RATIOS = ("rollout_over_physics", "update_over_sampling", "iteration_over_physics")


def row(rollout_over_physics, update_over_sampling, family="metarobot/Grip-v0"):
    return {
        "family": family,
        "rollout_over_physics": rollout_over_physics,
        "update_over_sampling": update_over_sampling,
    }


def test_benchmark_writes_a_list_of_rows(tmp_path, capsys):
    out = tmp_path / "new" / "benchmark.json"
    families = ["--families", "grip"]
    assert benchmark.main(["--quick", "--threads", "1", "--json", str(out), *families]) == 0
    (r,) = json.loads(out.read_text())
    assert (r["family"], r["horizon"], r["nsim"]) == ("metarobot/Grip-v0", 10, 20)
    assert all(math.isfinite(r[name]) and r[name] > 0 for name in RATIOS)
    assert "metarobot/Grip-v0" in capsys.readouterr().out


def test_benchmark_measures_a_training_of_latent(tmp_path):
    out = tmp_path / "latent.json"
    words = ["--quick", "--threads", "1", "--measure", "latent", "--families", "panda"]
    assert benchmark.main([*words, "--json", str(out)]) == 0
    (r,) = json.loads(out.read_text())
    assert r["family"] == "metarobot/Panda-v0"
    assert r["training_over_physics"] > max(1.0, r["fit_over_physics"]) > 0.0
    assert r["adapting_over_physics"] > 1.0
    assert r["adapted_tasks_per_s"] > 0.0


def test_benchmark_measures_an_evaluation_of_shipped_policies(tmp_path):
    out = tmp_path / "evaluation.json"
    words = ["--quick", "--threads", "1", "--measure", "evaluation", "--families", "grip"]
    assert benchmark.main([*words, "--json", str(out)]) == 0
    (r,) = json.loads(out.read_text())
    assert r["policies"] >= 3
    assert r["evaluation_over_physics"] > 1.0


def test_benchmark_measures_environments_of_gymnasium_over_the_bare_ones(tmp_path):
    out = tmp_path / "outside.json"
    words = ["--quick", "--threads", "2", "--measure", "outside", "--repetitions", "1"]
    with patch.dict(FAMILIES), patch.dict(gym.registry):
        assert benchmark.main([*words, "--json", str(out)]) == 0
    (r,) = json.loads(out.read_text())
    assert (r["envs"], r["threads"]) == (4, 2)
    assert min(r["family_steps_per_s"], r["bare_steps_per_s"]) > 100.0


def commit_of(tree, script):
    """A repository in a folder with a benchmark script, and its commit."""
    (tree / "scripts").mkdir(exist_ok=True)
    (tree / "scripts/benchmark.py").write_text(script)
    git = ["git", "-C", str(tree), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x", "--allow-empty"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return tree


SCRIPT = """
import json, sys
from pathlib import Path
assert sys.argv[1:5] == ["--families", "grip", "--repetitions", "1"], sys.argv
row = {"family": "Grip", "iteration_over_physics": %s, "rollout_over_physics": 0.9}
Path(sys.argv[-1]).write_text(json.dumps([row]))
"""


def test_benchmark_compares_a_commit_with_this_tree(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "ROOT", commit_of(tmp_path, SCRIPT % 2.0))
    words = ["--against", "HEAD", "--families", "grip", "--repetitions", "1", "--check"]
    out = tmp_path / "compared.json"
    for now, code in ((1.9, 0), (2.3, 1)):
        (tmp_path / "scripts/benchmark.py").write_text(SCRIPT % now)
        assert benchmark.main([*words, "--json", str(out)]) == code
        (r,) = json.loads(out.read_text())
        assert r["subject"] == "Grip iteration_over_physics"
        assert (r["before"], r["now"]) == (2.0, now)
        assert r["now_over_before"] == pytest.approx(now / 2)
    assert "now_over_before 1.15, wanted <= 1.10" in capsys.readouterr().out
    (tmp_path / "scripts/benchmark.py").write_text("raise SystemExit('no such option')")
    assert benchmark.main(words) == 2
    assert "fails: no such option" in capsys.readouterr().err
    assert benchmark.main([*words[:1], "nothing", *words[2:]]) == 2
    assert "no commit 'nothing' here" in capsys.readouterr().err


def test_bars():
    assert benchmark.missed_bars([row(0.80, 0.35)]) == []
    (line,) = benchmark.missed_bars([row(0.79, 0.35)])
    assert line == "metarobot/Grip-v0: rollout_over_physics 0.79, wanted >= 0.80"
    (line,) = benchmark.missed_bars([row(0.80, 0.36)])
    assert "update_over_sampling 0.36, wanted <= 0.35" in line
    cheetah = "metarobot/HalfCheetahDirection-v0"
    assert benchmark.missed_bars([row(0.80, 0.50, cheetah)]) == []
    (line,) = benchmark.missed_bars([row(0.80, 0.51, cheetah)])
    assert line == f"{cheetah}: update_over_sampling 0.51, wanted <= 0.50"


@pytest.mark.stress
def test_benchmark_measures_meta_updates_of_two_sizes(tmp_path, capsys):
    out = tmp_path / "update.json"
    assert benchmark.main(["--quick", "--measure", "update", "--json", str(out)]) == 0
    small, large = json.loads(out.read_text())
    assert small["growth"] == 1.0
    assert large["growth"] == pytest.approx(large["update_s"] / small["update_s"])
    assert 0.1 < small["peak_gb"] < 2.0
    assert "num_tasks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (benchmark.main, ["--families", "gripp"]),
        (life.main, ["--num-test", "many"]),
        (build_site.main, ["--nonsense"]),
        (gallery.main, ["--outt", "films"]),
        (diagnosis.main, ["--tasks", "many"]),
        (changes.main, ["--families", "push"]),
    ],
)
def test_bad_input_is_one_line(main, arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert ".py: error: " in err


def test_learners_of_faults_are_measured_once_beside_references(tmp_path, capsys):
    rng, label = np.random.default_rng(0), np.array(["slow", "fast"] * 18)
    hertz = np.where(label == "slow", 2, 6)[:, None] * np.linspace(0, 1, 40)
    signals = (np.sin(2 * np.pi * hertz) + rng.normal(size=(36, 40))).astype(np.float32)
    machine = np.repeat(["a", "b", "c"], 12)
    recordings = Recordings(
        tuple(signals[:, None]), 40.0, (Channel("i", "A"),), label, machine, label
    )
    write_recordings(recordings, tmp_path / "folder")
    out, names = tmp_path / "rows.json", ["nearest_mean", diagnosis.FOREST, diagnosis.UNTRAINED]
    options = ["--data", f"press={tmp_path / 'folder'}", "--tasks", "3", "--out", str(out)]
    for learners in (names[1:], names):
        assert diagnosis.main([*options, "--learners", *learners]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3 * 2 * 3  # nothing twice
    rows = json.loads(out.read_text())
    assert {row["data"] for row in rows} == {"press, a", "press, b", "press, c"}
    assert {row["split"] for row in rows} == {"one machine", "machine unseen"}
    assert {row["learner"] for row in rows if row["chosen"]} == {"nearest_mean"}
    assert {row["learner"] for row in rows if row["calibration_error"] is None} == {*names[1:]}
    assert all(row["accuracy_ci"][0] <= row["accuracy"] <= row["accuracy_ci"][1] for row in rows)


def made_up(meaningful=True):
    """An evaluation whose tables are known by heart."""
    whole = made_up_evaluation()
    rows = [
        changed(
            row,
            success=around(0.7 if row.exploring else 0.9, 0.05),
            captured=Interval(0.75, 0.7, 0.8) if row.captured and meaningful else None,
            captured_per_seed=(0.7, 0.8) if row.captured and meaningful else (),
        )
        for row in whole.rows
        if row.split == "train" and row.algorithm != "oracle" and not row.variant
    ]
    random = -6.0 if meaningful else -0.5  # the oracle is then worse than random actions
    return with_headroom(replace(whole, rows=tuple(rows)), headroom("train", random=random))


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """No committed results."""
    monkeypatch.setattr(shared, "RESULTS", tmp_path)


def write_evaluation(path, evaluation):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(evaluation.to_json())


def with_return(evaluation, number, mean, algorithms):
    """The evaluation, but for the mean return of some algorithms after a number of episodes."""
    return with_rows(
        evaluation,
        lambda row: row.algorithm in algorithms and row.episodes == number and not row.exploring,
        return_mean=around(mean),
    )


@pytest.fixture
def with_latent(tmp_path):
    """MAML and `latent`, which does as MAML but for its return after 5 episodes, 0.2 higher."""
    both = with_return(with_another(made_up(), "latent"), 5, -1.06, ["latent"])
    cost = {"seconds": (100.0, None, 200.0), "total_steps": (9,)}
    costs = [replace(p, **cost) if p.adapts else p for p in both.policies]
    both = replace(both, policies=tuple(costs))
    write_evaluation(tmp_path / "grip" / "evaluation.json", both)
    return both


def test_tables_by_episodes(tmp_path, with_latent, monkeypatch):
    """MAML stands in both evaluations, and is that of the family's own."""
    monkeypatch.setattr(update_docs, "ARM_FAMILIES", ("grip",))
    (latent,) = [r for r in update_docs.by_episodes("grip") if r["algorithm"] == "latent"]
    assert latent == {
        "split": "train",
        "algorithm": "latent",
        **{str(n): Interval(0.9, 0.85, 0.95) for n in (0, 1, 5, 20)} | {"2": None},
        "captured after 5": Interval(0.75, 0.7, 0.8),
        "worse after 1": Interval(0.12, 0.08, 0.16),
        "worse after 5": Interval(0.12, 0.08, 0.16),
    }
    # What never adapts stays what it is: nothing else was measured after 2 episodes.
    never, both = "domain randomisation", "MAML-TRPO, latent"
    assert [*update_docs.best()[0].values()] == [*("Grip", "train"), *[never] * 3, "latent", both]
    assert [row.get("Grip") for row in update_docs.costs()[1:]] == [150, 150]
    apart = with_return(with_another(made_up(), "prototype"), 5, -0.5, ["prototype", "maml"])
    write_evaluation(tmp_path / "grip" / "others" / "evaluation.json", apart)
    assert [row["algorithm"] for row in update_docs.by_episodes("grip")] == [
        *("random", "domain randomisation", "MAML-TRPO", "latent", "prototypes", "oracle")
    ]
    assert update_docs.best()[0]["after 5 episodes"] == "prototypes"
    for name in ("prototype", "rl2", "anil", "promp", "reptile", "meta_sgd", "fomaml"):
        with_latent = with_another(with_latent, name)
    write_evaluation(tmp_path / "grip" / "evaluation.json", with_latent)
    assert update_docs.best()[0]["after 20 episodes"].endswith(", 5 more")  # nine are as good


def test_a_table_by_blocks_and_its_csv(with_latent):
    rows = update_docs.by_blocks("grip", ("latent",), family="Grip")
    assert update_docs.table(rows).splitlines()[2:] == [
        "| Grip | train | latent | -2.10 | -1.05 | 0.90 | 0.90 | 0.75 |"
    ]
    headings, line = update_docs.as_csv(rows).splitlines()
    assert headings.startswith('family,split,algorithm,return 0,"return 0, low","return 0, high",')
    assert line.endswith(",0.75,0.7,0.8")


def test_a_small_evaluation_gives_the_same_tables(tmp_path, with_latent):
    path = tmp_path / "grip" / "evaluation.json"
    Image.new("RGB", (90, 60), "red").save(path.with_name("heat_map.png"))
    tables = update_docs.by_episodes("grip"), update_docs.by_blocks("grip")
    size = path.stat().st_size
    reproduce.shrink(path.parent, is_thin=True)
    assert path.stat().st_size < 0.9 * size
    assert (update_docs.by_episodes("grip"), update_docs.by_blocks("grip")) == tables
    assert {each.name for each in path.parent.iterdir()} == {"evaluation.json", "heat_map.webp"}


def test_update_touches_only_what_is_generated():
    text = "before\n<!-- generated: grip parameters -->\nold\n<!-- end -->\nafter\n"
    new, _ = update_docs.update(text)
    assert new.startswith("before\n<!-- generated: grip parameters -->\n| parameter |")
    assert new.endswith("|\n<!-- end -->\nafter\n")
    assert update_docs.update(new) == (new, {})
    with pytest.raises(KeyError):
        update_docs.update(text.replace("grip", "grap"))


@pytest.mark.stress
def test_scaling_compares_processes(tmp_path, capsys):
    path = tmp_path / "new" / "scaling.json"
    options = [
        "--measure",
        "scaling",
        "--json",
        str(path),
        "--quick",
        "--families",
        "grip",
        "--processes",
        "1",
        "2",
    ]
    assert benchmark.main(options) == 0
    rows = json.loads(path.read_text())
    assert [(row["processes"], row["speed_up"] > 0) for row in rows] == [(1, True), (2, True)]
    assert rows[0]["speed_up"] == 1.0
    assert "processes" in capsys.readouterr().out


def test_reproducing_compares_family_by_family(tmp_path, monkeypatch, capsys):
    calls, small = [], []
    monkeypatch.setattr(reproduce, "metarobot", lambda words: calls.append(words) or 0)
    monkeypatch.setattr(reproduce, "shrink", lambda folder, *, is_thin: small.append(folder))
    options = ["--results", str(tmp_path), "--families", "grip", "reach", "--total-steps", "1200"]
    assert reproduce.main(["others", "identification", *options]) == 0
    assert [(words[1], words[-1]) for words in calls] == [
        (family, str(tmp_path / family / folder))
        for folder in ("others", "identification")
        for family in ("reach", "grip")
    ]
    assert all(words[-6:-4] == ["--total-steps", "1200"] for words in calls)
    assert [str(folder) for folder in small] == [words[-1] for words in calls]

    monkeypatch.setattr(reproduce, "metarobot", lambda words: 3)
    assert reproduce.main(["learners", *options]) == 3
    for wrong in (["nothing"], ["--families", "gripp"], ["learners", "--jason", "3"]):
        assert reproduce.main(wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith("reproduce.py: error: ")
        assert error.count("\n") == 1


def test_literature_is_one_evaluation(tmp_path):
    folder = tmp_path / "point-navigation"
    shutil.copytree(FOLDER / "point-navigation", folder / "point-navigation-seed0")
    command = reproduce.ReproduceCommand(results=tmp_path, families=("point-navigation",))
    assert reproduce.literature(command, num_tasks=2, num_blocks=1) == 0
    measured = Evaluation.from_dict(json.loads((folder / "literature.json").read_text()))
    assert [policy.algorithm for policy in measured.policies] == [
        *("domain_randomisation", "maml", "oracle")
    ]
    assert [row.episodes for row in measured.blocks["maml", "train", False]] == [0, 40]
    assert (measured.config.action_noise, measured.config.later_step_length) == ("trained", 0.5)


def test_curves_are_thinned_and_those_of_other_trainings_kept(tmp_path, capsys):
    out = tmp_path / "curves.json"
    same = {"preset": "slide", "run": "slide-seed0", "algorithm": "maml"}
    others = [{**same, "algorithm": "anil"}, {**same, "run": "slide-seed1"}]
    out.write_text(json.dumps([*others, {**same, "replaced": True}]))
    run, small = tmp_path / "slide" / "slide-seed0", {"num_tasks": 2, "episodes_per_task": 2}
    train_run(replace(PRESETS["slide"], total_steps=1000, **small), ["maml", "oracle"], run)
    command = reproduce.ReproduceCommand(results=tmp_path, families=("slide",))
    assert reproduce.curves(command) == 0
    first, *rows, last = json.loads(out.read_text())
    assert [first, last] == others
    assert [row["algorithm"] for row in rows] == ["maml", "oracle"]
    for thinned in rows:
        curve = load_curve(run, thinned["algorithm"], ("total_steps", "post_return", "update_s"))
        length = len(curve["post_return"])
        assert thinned["iterations"] == length
        assert len(thinned["steps"]) == len(thinned["post_return"]) <= 13
        assert thinned["steps"][-1] == curve["total_steps"][-1] == thinned["total_steps"]
        size = math.ceil(length / 13)
        assert thinned["post_return"][0] == pytest.approx(
            np.mean(curve["post_return"][:size]), abs=1e-3
        )
        assert thinned["post_return_at_end"] == pytest.approx(np.mean(curve["post_return"][-10:]))
        assert thinned["post_return_best"] == max(curve["post_return"])
        assert thinned["update_s"] == pytest.approx(sum(curve["update_s"]), abs=0.01)
    curve_file = run / "oracle/curve.csv"
    heading, *lines = curve_file.read_text().splitlines(keepends=True)
    curve_file.write_text("".join([heading, *lines[1::2]]))
    assert reproduce.curves(command) == 0
    assert "the curve of oracle lacks meta-iterations" in capsys.readouterr().out
    assert json.loads(out.read_text()) == [first, *rows, last]
