"""The scripts that do more than call the command line: benchmark, documentation."""

import json
import math
import shutil
from dataclasses import replace

import benchmark
import numpy as np
import pytest
import shared
import torch
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

from metarobot.algorithms import adapt_in_steps, train_config
from metarobot.config import PRESETS
from metarobot.diagnosis.recordings import Channel, Recordings, write_recordings
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import repeat_params
from metarobot.training.load import FOLDER, load_run
from metarobot.training.run import train_run
from metarobot.training.run_folder import load_curve

docs_tables = load_script("docs_tables")
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
    families = ["--families", "grip", "half-cheetah-direction"]
    assert benchmark.main(["--quick", "--threads", "1", "--json", str(out), *families]) == 0
    rows = json.loads(out.read_text())
    names = ["metarobot/Grip-v0", "metarobot/HalfCheetahDirection-v0"]
    assert [r["family"] for r in rows] == names
    assert [r["horizon"] for r in rows] == [10, 25]
    for r in rows:
        assert r["nsim"] == 20
        assert all(math.isfinite(r[name]) and r[name] > 0 for name in RATIOS)
    # A whole iteration is two rollouts and an update, none of which is faster than physics; but a
    # replay that the machine interrupts may seem slower than an iteration.
    assert max(r["iteration_over_physics"] for r in rows) > 1.0
    assert "metarobot/Grip-v0" in capsys.readouterr().out


def small_benchmark():
    config = train_config(env_id="metarobot/Grip-v0", num_tasks=2, episodes_per_task=2)
    return benchmark.FamilyBenchmark(config, horizon=4, threads=1)


def test_replay_repeats_the_rollout_bit_for_bit():
    small = small_benchmark()
    small.measure(0)  # raises otherwise


def test_rates_count_the_steps_of_all_that_was_timed(monkeypatch):
    small = small_benchmark()
    monkeypatch.setattr(small, "iterate", lambda: (1.0, 1.0, 1.0, 1.0))
    clock = iter(range(10**6))
    monkeypatch.setattr("benchmark.time.perf_counter", lambda: float(next(clock)))
    # Every rollout takes one tick for its 2 x 2 x 4 steps; the physics one for each control step.
    rates = small.measure(0)
    assert rates["rollout_steps_per_s"] == 16
    assert rates["physics_steps_per_s"] == 4


def test_replay_notices_another_trajectory(monkeypatch):
    small = small_benchmark()
    replay = small.recorder.replay

    def replay_something_else(take):
        take.ctrl[-1] += 0.1
        return replay(take)

    monkeypatch.setattr(small.recorder, "replay", replay_something_else)
    with pytest.raises(RuntimeError, match="left the trajectories"):
        small.measure(0)


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


def test_benchmark_measures_meta_updates_of_two_sizes(tmp_path, capsys):
    out = tmp_path / "update.json"
    assert benchmark.main(["--quick", "--update", str(out)]) == 0
    small, large = json.loads(out.read_text())
    assert small["growth"] == 1.0
    assert large["growth"] == pytest.approx(large["update_s"] / small["update_s"])
    assert 0.1 < small["peak_gb"] < 2.0
    assert "num_tasks" in capsys.readouterr().out


def test_bars_of_meta_updates():
    def rows(peak_gb, growth):
        return [{"peak_gb": 0.1, "growth": 1.0}, {"peak_gb": peak_gb, "growth": growth}]

    assert benchmark.missed_update_bars(rows(2.0, 12.0)) == []
    (line,) = benchmark.missed_update_bars(rows(2.01, 12.0))
    assert line == "a peak of 2.01 GB, wanted <= 2"
    (line,) = benchmark.missed_update_bars(rows(2.0, 12.1))
    assert line == "the update takes 12.1 times as long, wanted <= 12"


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (benchmark.main, ["--families", "gripp"]),
        (benchmark.main, ["--families", "point-navigation"]),
        (benchmark.main, ["--repetitions", "0"]),
        (life.main, ["--num-test", "many"]),
        (build_site.main, ["--nonsense"]),
        (gallery.main, ["--outt", "films"]),
        (gallery.main, ["--families", "gripp"]),
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
    for learners in (names[1:], names, names):
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


def test_tables_of_results(tmp_path):
    assert docs_tables.returns("grip") == docs_tables.headroom() == shared.PENDING
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up())
    assert docs_tables.returns("grip").splitlines()[-1] == (
        "| train | -6.00 | -2.00 | -2.10 | -1.05 | -1.00 | 0.20 "
        "| **0.75** [0.70, 0.80] | 0.70, 0.80 |"
    )
    train = docs_tables.success("grip").splitlines()[2]
    assert train == "| train |  (0.70) | 0.90 (0.70) | 0.90 (0.70) | 0.90 (0.70) |  |"
    assert docs_tables.headroom().splitlines()[-1] == (
        "| [Grip](families/grip.md) | train | -5.99 [-6.09, -5.89] | -1.99 [-2.09, -1.89] "
        "| -1.04 [-1.14, -0.94] | - | - | 0.20 | **0.75** [0.70, 0.80] | 0.70, 0.80 |"
    )
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up(meaningful=False))
    assert docs_tables.returns("grip").splitlines()[-1].endswith("| - | - |")


FEW_EPISODES_TABLES = (
    docs_tables.seeds,
    docs_tables.headline,
    docs_tables.best,
    docs_tables.behind,
    lambda: docs_tables.by_algorithm("grip"),
    docs_tables.without_rewards,
    docs_tables.harm,
    docs_tables.later_blocks,
    docs_tables.costs,
)


def test_tables_by_episodes_wait_for_latent(tmp_path):
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up())
    assert {table() for table in FEW_EPISODES_TABLES} == {shared.PENDING}
    assert docs_tables.fallen() == "_Nowhere._"


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
    costs = [replace(p, seconds=(100.0, None, 200.0) if p.adapts else ()) for p in both.policies]
    both = replace(both, policies=tuple(costs))
    write_evaluation(tmp_path / "grip" / "evaluation.json", both)
    return both


@pytest.mark.usefixtures("with_latent")
def test_tables_by_episodes():
    assert docs_tables.seeds().splitlines()[2:] == ["| Grip | 0, 1, 2 |  |  |"]
    headings, _, line = docs_tables.headline().splitlines()
    assert headings.endswith("| told the task | captured after 5 | worse after 5 |")
    rates = "0.90 |  | 0.90 | 0.90 | 0.90 | 0.90 | 0.90 | 0.90 |  |"
    assert line == f"| Grip | train | {rates} **0.75** [0.70, 0.80] | 0.12 [0.08, 0.16] |"
    # What never adapts stays what it is: nothing else was measured after 2 episodes.
    never, both = "domain randomisation", "MAML-TRPO, latent"
    assert docs_tables.best().splitlines()[2:] == [
        f"| Grip | train | {never} | {never} | {never} | latent | {both} |"
    ]
    assert docs_tables.behind().splitlines()[2:] == [
        f"| Grip | train | 0 | {never} | 0.10 |",
        f"| Grip | train | 1 | {never} | 0.30 |",
    ]
    latent = "| latent | 0.90 | 0.90 |  | 0.90 | 0.90 |"
    assert docs_tables.by_algorithm("grip").splitlines()[-2] == latent
    assert docs_tables.harm().splitlines()[-1] == "| latent | 0.12, -, 0.12 |"
    (line,) = docs_tables.later_blocks().splitlines()[2:3]
    assert line == "| Grip | train | latent | -2.10 [-2.30, -1.90] | -1.05 [-1.25, -0.85] |"
    assert docs_tables.costs().splitlines()[2:] == ["| MAML-TRPO | 150 |", "| latent | 150 |"]
    assert docs_tables.fallen() == "_Nowhere._"  # -2.3 after one is within the interval of -2.1


def test_tables_by_episodes_join_what_was_measured_apart(tmp_path, with_latent):
    """MAML stands in both, and is that of the family's own evaluation."""
    apart = with_return(with_another(made_up(), "prototype"), 5, -0.5, ["prototype", "maml"])
    apart = replace(apart, seeds=(7,))
    write_evaluation(tmp_path / "grip" / "others" / "evaluation.json", apart)
    assert docs_tables.seeds().splitlines()[2:] == ["| Grip | 0, 1, 2 | 7 |  |"]
    names = [line.split(" | ")[0] for line in docs_tables.by_algorithm("grip").splitlines()[2:]]
    assert [name.removeprefix("| ") for name in names] == [
        *("random", "domain randomisation", "MAML-TRPO", "latent", "prototypes", "oracle")
    ]
    assert docs_tables.behind().splitlines()[-1] == "| Grip | train | 5 | prototypes | 0.56 |"
    for name in ("prototype", "rl2", "anil", "promp", "reptile", "meta_sgd", "fomaml"):
        with_latent = with_another(with_latent, name)
    write_evaluation(tmp_path / "grip" / "evaluation.json", with_latent)
    cell = docs_tables.best().splitlines()[2].split(" | ")[-1]  # nine are equally good
    assert cell.count(",") == 4
    assert cell.endswith(", 5 more |")


def test_the_table_without_rewards_and_of_returns_that_fall(tmp_path, with_latent):
    write_evaluation(tmp_path / "grip" / "rewards-hidden" / "evaluation.json", with_latent)
    lines = docs_tables.without_rewards().splitlines()
    assert lines[0].endswith("| algorithm | 0 | 1 | 2 | 5 | 20 | captured after 5 |")
    assert len(lines) == 2 + len(with_latent.policies)
    latent = "| Grip | train | latent | 0.90 | 0.90 |  | 0.90 | 0.90 | **0.75** [0.70, 0.80] |"
    assert latent in lines
    assert lines[-1].endswith(" | - |")  # the oracle, which does not adapt
    worse = with_return(with_latent, 1, -2.5, ["maml", "latent"])
    write_evaluation(tmp_path / "grip" / "evaluation.json", worse)
    assert [line.split(" | ")[2:4] for line in docs_tables.fallen().splitlines()[2:]] == [
        ["MAML-TRPO", "1"],
        ["latent", "1"],
    ]


def test_a_small_evaluation_gives_the_same_tables(tmp_path, with_latent):
    path = tmp_path / "grip" / "evaluation.json"
    Image.new("RGB", (90, 60), "red").save(path.with_name("heat_map.png"))
    tables = [table() for table in FEW_EPISODES_TABLES]
    size = path.stat().st_size
    reproduce.shrink(path.parent, is_thin=True)
    assert path.stat().st_size < 0.9 * size
    assert [table() for table in FEW_EPISODES_TABLES] == tables
    assert {each.name for each in path.parent.iterdir()} == {"evaluation.json", "heat_map.webp"}


def test_update_touches_only_what_is_generated():
    text = "before\n<!-- generated: grip parameters -->\nold\n<!-- end -->\nafter\n"
    new = update_docs.update(text)
    assert new.startswith("before\n<!-- generated: grip parameters -->\n| parameter |")
    assert new.endswith("|\n<!-- end -->\nafter\n")
    assert update_docs.update(new) == new
    with pytest.raises(KeyError):
        update_docs.update(text.replace("grip", "grap"))


def test_scaling_compares_processes(tmp_path, capsys):
    path = tmp_path / "new" / "scaling.json"
    options = ["--scaling", str(path), "--quick", "--families", "grip", "--processes", "1", "2"]
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


def test_a_table_of_a_comparison(tmp_path):
    folder = tmp_path / "grip" / "comparison"
    policies = [
        replace(each, total_steps=(100, 300), seconds=(1.0, None)) if each.adapts else each
        for each in made_up().policies
    ]
    compared = replace(made_up(), policies=tuple(policies))
    write_evaluation(folder / "evaluation.json", compared)
    table, costs = docs_tables.comparison("grip", tmp_path).split("\n\n")
    table = table.splitlines()
    assert len(table) == 2 + 3
    assert table[2].startswith("| random | -6.00 [-6.20, -5.80] |  |  |  |  |  |")
    returns = ("-2.10 [-2.30, -1.90]", "-2.30 [-2.50, -2.10]", "-1.26 [-1.46, -1.06]")
    assert table[4].startswith(f"| MAML-TRPO | {' | '.join(returns)} | -1.05 [-1.25, -0.85] |  | ")
    assert table[4].endswith(" | 0.75 | 0.75 | 0.75 | 0.12 | 0.12 | 0.12 | > 20 |")
    assert costs.splitlines()[2:] == ["| MAML-TRPO | 200 | 1 |"]
    assert docs_tables.comparison("push", tmp_path) == shared.PENDING


@pytest.fixture(scope="module")
def point_run():
    return load_run(FOLDER / "point-navigation")


@pytest.fixture
def small_task_set(point_run):
    config = reproduce.authors_protocol(point_run.env_id, num_tasks=2, num_blocks=3)
    return TaskSet.of_split(point_run.env_id, "train", replace(config, episodes_per_block=3))


def test_literature_takes_later_steps_half_as_long(point_run, small_task_set):
    """As the authors do, who do not shrink steps: by how much would depend on inner_lr."""
    trained = point_run.policies["maml"]
    trained = replace(trained, config=trained.config.with_options(shrink_steps=False))
    algorithm, params = trained.algorithm, repeat_params(trained.params, 2)
    inner_lr = trained.config.options.inner_lr
    halved = replace(trained, config=trained.config.with_options(inner_lr=inner_lr / 2))

    def explore(step, policy, params):
        return small_task_set.collect(policy, params, num_episodes=3, noisy=True, block=step)

    length = small_task_set.config.later_step_length
    first, second = adapt_in_steps(algorithm, params, 2, explore, length)
    whole = algorithm.adapt(params, first.episodes, first.advantages)
    half = halved.algorithm.adapt(first.params, second.episodes, second.advantages)
    torch.testing.assert_close(first.params, whole, rtol=0, atol=0)
    torch.testing.assert_close(second.params, half)
    assert any((half[name] != whole[name]).any() for name in half)


def test_literature_scores_with_the_policys_own_noise_and_learns_from_that_of_exploring(
    point_run, small_task_set, monkeypatch
):
    trained, floors = point_run.policies["maml"], []
    collect, two_blocks = TaskSet.collect, replace(small_task_set.config, num_blocks=2)

    def spy(self, policy, *args, **options):
        assert options["noisy"]
        floors.append(policy.min_log_std)
        return collect(self, policy, *args, **options)

    monkeypatch.setattr(TaskSet, "collect", spy)
    scores = replace(small_task_set, config=two_blocks).score("maml", trained)
    own, of_exploring = trained.policy.min_log_std, trained.algorithm.exploring_policy.min_log_std
    # The first block is collected once, before the policy is judged.
    assert floors == [of_exploring, own, own, of_exploring, own, of_exploring]
    assert own != of_exploring
    judged = [tuple(score.returns) for score in scores if not score.exploring]
    assert len(set(judged)) == len(judged) == 3


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
    train_run(replace(PRESETS["slide"], total_steps=2000, **small), ["maml", "oracle"], run)
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
