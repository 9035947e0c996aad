"""The scripts that do more than call the command line: benchmark, documentation."""

import json
import math
import shutil
from dataclasses import replace

import benchmark
import numpy as np
import pytest
import torch
from docs_tables import adaptation, comparisons, evaluations, few_episodes, harm, results
from docs_tables.markdown import PENDING
from evaluations import around, headroom, made_up_evaluation, with_another, with_headroom
from loading import load_script

from metarobot.algorithms import adapt_in_steps, train_config
from metarobot.config import PRESETS
from metarobot.diagnosis.recordings import Channel, Recordings, write_recordings
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import repeat_params
from metarobot.training.load import FOLDER, load_run
from metarobot.training.run import train_run
from metarobot.training.run_folder import load_curve

comparison = load_script("comparison")
literature = load_script("literature")
thin_curves = load_script("thin_curves")
thin_evaluation = load_script("thin_evaluation")
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


def made_up(random=-6.0):
    """An evaluation whose tables are known by heart."""
    rate = {False: 0.9, True: 0.7}

    def known(points, exploring):
        return tuple(
            replace(
                each,
                success=around(rate[exploring], 0.05),
                captured=each.captured and Interval(0.75, 0.7, 0.8),
                captured_per_seed=each.captured_per_seed and (0.7, 0.8),
            )
            for each in points
        )

    curves = [
        replace(
            curve,
            points=known(curve.points, curve.exploring),
            blocks=known(curve.blocks, curve.exploring),
        )
        for curve in made_up_evaluation().curves
        if curve.split == "train" and curve.algorithm != "oracle"
    ]
    whole = replace(made_up_evaluation(), curves=tuple(curves))
    return with_headroom(whole, headroom("train", random=random))


def write_evaluation(path, evaluation):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(evaluation.to_json())


def test_tables_of_results(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert evaluations.returns("grip") == PENDING
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up())
    assert evaluations.returns("grip").splitlines()[-1] == (
        "| train | -6.00 | -2.00 | -2.10 | -1.05 | -1.00 | 0.20 "
        "| **0.75** [0.70, 0.80] | 0.70, 0.80 |"
    )
    train = evaluations.success("grip").splitlines()[2]
    assert train == "| train |  (0.70) | 0.90 (0.70) | 0.90 (0.70) | 0.90 (0.70) |  |"
    lost = made_up(random=-0.5)  # the oracle is worse than random: no fraction is given
    write_evaluation(tmp_path / "grip" / "evaluation.json", lost)
    assert evaluations.returns("grip").splitlines()[-1].endswith("| - | - |")


FEW_EPISODES_TABLES = (
    few_episodes.seeds,
    few_episodes.headline,
    few_episodes.best,
    few_episodes.behind,
    lambda: few_episodes.by_algorithm("grip"),
    few_episodes.without_rewards,
    harm.harm,
    harm.later_blocks,
    comparisons.costs,
)


def test_tables_by_episodes_wait_for_latent(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up())
    assert {table() for table in FEW_EPISODES_TABLES} == {PENDING}
    assert harm.fallen() == "_Nowhere._"


def with_return(evaluation, number, mean, algorithms):
    """The evaluation, but for the mean return of some algorithms after a number of episodes."""
    curves = [
        replace(
            curve,
            points=tuple(
                replace(point, return_mean=around(mean))
                if curve.algorithm in algorithms and point.adaptation_episodes == number
                else point
                for point in curve.points
            ),
        )
        for curve in evaluation.curves
    ]
    return replace(evaluation, curves=tuple(curves))


@pytest.fixture
def with_latent(tmp_path, monkeypatch):
    """MAML and `latent`, which does as MAML but for its return after 5 episodes, 0.2 higher."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    both = with_return(with_another(made_up(), "latent"), 5, -1.06, ["latent"])
    costs = [replace(p, seconds=(100.0, None, 200.0) if p.adapts else ()) for p in both.policies]
    both = replace(both, policies=tuple(costs))
    write_evaluation(tmp_path / "grip" / "evaluation.json", both)


@pytest.mark.usefixtures("with_latent")
def test_tables_by_episodes():
    assert few_episodes.seeds().splitlines()[2:] == ["| Grip | 0, 1, 2 |  |  |"]
    headings, _, line = few_episodes.headline().splitlines()
    assert headings.endswith("| told the task | captured after 5 | worse after 5 |")
    rates = "0.90 |  | 0.90 | 0.90 | 0.90 | 0.90 | 0.90 | 0.90 |  |"
    assert line == f"| Grip | train | {rates} **0.75** [0.70, 0.80] | 0.12 [0.08, 0.16] |"
    # What never adapts stays what it is: nothing else was measured after 2 episodes.
    never, both = "domain randomisation", "MAML-TRPO, latent"
    assert few_episodes.best().splitlines()[2:] == [
        f"| Grip | train | {never} | {never} | {never} | latent | {both} |"
    ]
    assert few_episodes.behind().splitlines()[2:] == [
        f"| Grip | train | 0 | {never} | 0.10 |",
        f"| Grip | train | 1 | {never} | 0.30 |",
    ]
    assert few_episodes.by_algorithm("grip").splitlines()[-2] == (
        "| latent | 0.90 | 0.90 |  | 0.90 | 0.90 |"
    )


@pytest.mark.usefixtures("with_latent")
def test_tables_by_episodes_join_what_was_measured_apart(tmp_path):
    """MAML stands in both, and is that of the family's own evaluation."""
    apart = with_return(with_another(made_up(), "prototype"), 5, -0.5, ["prototype", "maml"])
    apart = replace(apart, seeds=(7,))
    write_evaluation(tmp_path / "grip" / "others" / "evaluation.json", apart)
    assert few_episodes.seeds().splitlines()[2:] == ["| Grip | 0, 1, 2 | 7 |  |"]
    names = [line.split(" | ")[0] for line in few_episodes.by_algorithm("grip").splitlines()[2:]]
    assert [name.removeprefix("| ") for name in names] == [
        *("random", "domain randomisation", "MAML-TRPO", "latent", "prototypes", "oracle")
    ]
    assert few_episodes.behind().splitlines()[-1] == "| Grip | train | 5 | prototypes | 0.56 |"
    rows = adaptation.adaptation_rows()
    assert [row["seeds"] for row in rows if row["episodes"] == 5] == [[0, 1, 2], [0, 1, 2], [7]]
    assert [row["return"] for row in rows if row["episodes"] == 5] == [-1.26, -1.06, -0.5]


@pytest.mark.usefixtures("with_latent")
def test_a_thinned_evaluation_gives_the_same_tables(tmp_path, capsys):
    path = tmp_path / "grip" / "evaluation.json"
    tables = [table() for table in FEW_EPISODES_TABLES]
    size = path.stat().st_size
    assert thin_evaluation.main([str(path), "--out", str(path)]) == 0
    assert path.stat().st_size < 0.9 * size
    assert [table() for table in FEW_EPISODES_TABLES] == tables
    path.write_text("[]")
    assert thin_evaluation.main([str(path), "--out", str(tmp_path / "x.json")]) == 2
    assert "thin_evaluation.py: error:" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.usefixtures("with_latent")
def test_a_cell_names_the_best_and_counts_the_others(tmp_path):
    """Nine are equally good."""
    measured = results.read_evaluation("grip/evaluation.json")
    for name in ("prototype", "rl2", "anil", "promp", "reptile", "meta_sgd", "fomaml"):
        measured = with_another(measured, name)
    write_evaluation(tmp_path / "grip" / "evaluation.json", measured)
    cell = few_episodes.best().splitlines()[2].split(" | ")[-1]
    assert cell.count(",") == 4
    assert cell.endswith(", 5 more |")


@pytest.mark.usefixtures("with_latent")
def test_the_table_without_rewards(tmp_path):
    measured = with_another(made_up(), "latent")
    write_evaluation(tmp_path / "grip" / "rewards-hidden" / "evaluation.json", measured)
    lines = few_episodes.without_rewards().splitlines()
    assert lines[0].endswith("| algorithm | 0 | 1 | 2 | 5 | 20 | captured after 5 |")
    assert len(lines) == 2 + len(measured.policies)
    latent = "| Grip | train | latent | 0.90 | 0.90 |  | 0.90 | 0.90 | **0.75** [0.70, 0.80] |"
    assert latent in lines
    assert lines[-1].endswith(" | - |")  # the oracle, which does not adapt


@pytest.mark.usefixtures("with_latent")
def test_tables_of_harm():
    assert harm.harm().splitlines()[-1] == "| latent | 0.12, -, 0.12 |"
    (line,) = harm.later_blocks().splitlines()[2:3]
    assert line == "| Grip | train | latent | -2.10 [-2.30, -1.90] | -1.05 [-1.25, -0.85] |"
    assert comparisons.costs().splitlines()[2:] == ["| MAML-TRPO | 150 |", "| latent | 150 |"]
    assert harm.fallen() == "_Nowhere._"  # -2.3 after one episode is within the interval of -2.1


@pytest.mark.usefixtures("with_latent")
def test_a_return_that_falls_is_named(tmp_path):
    evaluation = results.read_evaluation("grip/evaluation.json")
    worse = with_return(evaluation, 1, -2.5, ["maml", "latent"])
    write_evaluation(tmp_path / "grip" / "evaluation.json", worse)
    assert [line.split(" | ")[2:4] for line in harm.fallen().splitlines()[2:]] == [
        ["MAML-TRPO", "1"],
        ["latent", "1"],
    ]


def test_rows_by_adaptation_episodes(tmp_path, monkeypatch):
    """One for each point."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up())
    rows = adaptation.adaptation_rows()
    assert [(row["algorithm"], row["episodes"]) for row in rows] == [
        *[("random", 0), ("domain_randomisation", 0)],
        *[("maml", 0), ("maml", 1), ("maml", 5), ("maml", 20)],
    ]
    assert rows[4] == {
        "family": "metarobot/Grip-v0",
        "rewards": "seen",
        "split": "train",
        "algorithm": "maml",
        "episodes": 5,
        "return": -1.26,
        "return_ci": pytest.approx([-1.46, -1.06]),
        "success": 0.9,
        "success_ci": pytest.approx([0.85, 0.95]),
        "captured": 0.75,
        "captured_ci": [0.7, 0.8],
        "harmed": 0.12,
        "harmed_ci": [0.08, 0.16],
        "seeds": [0, 1, 2],
    }
    assert (rows[0]["captured"], rows[0]["harmed_ci"]) == (None, None)
    hidden = replace(made_up(), config=EvaluationConfig(rewards="hidden"))
    write_evaluation(tmp_path / "grip" / "rewards-hidden" / "evaluation.json", hidden)
    assert adaptation.adaptation_rows() == [*rows, *({**row, "rewards": "hidden"} for row in rows)]


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


def test_the_headroom_table_has_interquartile_means(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert evaluations.headroom() == PENDING
    write_evaluation(tmp_path / "grip" / "evaluation.json", made_up())
    assert evaluations.headroom().splitlines()[-1] == (
        "| [Grip](families/grip.md) | train | -5.99 [-6.09, -5.89] | -1.99 [-2.09, -1.89] "
        "| -1.04 [-1.14, -0.94] | - | - | 0.20 | **0.75** [0.70, 0.80] | 0.70, 0.80 |"
    )


def test_comparisons_run_family_by_family(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(comparison, "metarobot", lambda words: calls.append(words) or 0)
    options = ["--seeds", "4", "5", "--total-steps", "1200", "--folder", "comparison"]
    families = ["--families", "grip", "reach"]
    assert comparison.main(["--results", str(tmp_path), *options, *families]) == 0
    for family, words in zip(("grip", "reach"), calls, strict=True):
        folder = tmp_path / family
        places = ["--runs", str(folder), "--out", str(folder / "comparison")]
        train = ["--seeds", "4", "5", "--total-steps", "1200"]
        assert words == ["compare", family, *train, *places]


def test_a_table_of_a_comparison(tmp_path):
    folder = tmp_path / "grip" / "comparison"
    policies = [
        replace(each, total_steps=(100, 300), seconds=(1.0, None)) if each.adapts else each
        for each in made_up().policies
    ]
    compared = replace(made_up(), policies=tuple(policies))
    write_evaluation(folder / "evaluation.json", compared)
    table, costs = comparisons.comparison("grip", tmp_path).split("\n\n")
    table = table.splitlines()
    assert len(table) == 2 + 3
    assert table[2].startswith("| random | -6.00 [-6.20, -5.80] |  |  |  |  |  |")
    returns = ("-2.10 [-2.30, -1.90]", "-2.30 [-2.50, -2.10]", "-1.26 [-1.46, -1.06]")
    assert table[4].startswith(f"| MAML-TRPO | {' | '.join(returns)} | -1.05 [-1.25, -0.85] |  | ")
    assert table[4].endswith(" | 0.75 | 0.75 | 0.75 | 0.12 | 0.12 | 0.12 | > 20 |")
    assert costs.splitlines()[2:] == ["| MAML-TRPO | 200 | 1 |"]
    assert comparisons.comparison("push", tmp_path) == PENDING


def test_a_comparison_that_fails_ends_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "metarobot", lambda words: 2)
    assert comparison.main(["--results", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())
    for wrong in (["--algorithms", "nobody"], ["--families", "gripp"], ["--jason", "3"]):
        assert comparison.main(wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith("comparison.py: error: ")
        assert error.count("\n") == 1


@pytest.fixture(scope="module")
def point_run():
    return load_run(FOLDER / "point-navigation")


@pytest.fixture
def small_task_set(point_run):
    command = literature.LiteratureCommand(num_tasks=2)
    config = literature.authors_protocol(point_run.env_id, command)
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
    scores = replace(small_task_set, config=two_blocks).score(trained).by_blocks
    own, of_exploring = trained.policy.min_log_std, trained.algorithm.exploring_policy.min_log_std
    # The first block is collected once, before the policy is judged.
    assert floors == [of_exploring, own, own, of_exploring, own, of_exploring]
    assert own != of_exploring
    assert len({tuple(score.judged.returns) for score in scores}) == 3


def test_literature_is_one_evaluation(tmp_path, capsys):
    options = ["--seeds", "0", "--num-tasks", "2", "--num-blocks", "1"]
    results = tmp_path / "results"
    shutil.copytree(
        FOLDER / "point-navigation", results / "point-navigation" / "point-navigation-seed0"
    )
    options += ["--results", str(results), "--out", str(tmp_path)]
    assert literature.main(["--families", "point-navigation", *options]) == 0
    path = tmp_path / "point-navigation" / "literature.json"
    measured = Evaluation.from_dict(json.loads(path.read_text()))
    assert [policy.algorithm for policy in measured.policies] == [
        *("domain_randomisation", "maml", "oracle")
    ]
    assert measured.splits == ("train",)
    curve = measured.curve("maml", "train")
    assert [point.adaptation_episodes for point in curve.blocks] == [0, 40]
    assert curve.points == curve.blocks[:1]
    assert (measured.config.action_noise, measured.config.later_step_length) == ("trained", 0.5)
    before = path.read_text()
    missing = ["--families", "point-navigation", "--seeds", "9", *options[2:]]
    for wrong, said in (
        (missing, "point-navigation-seed9"),
        (["--families", "jumping"], "jumping"),
    ):
        assert literature.main(wrong) == 2
        assert said in capsys.readouterr().err
    assert path.read_text() == before


def test_curves_are_thinned_and_those_of_other_trainings_kept(tmp_path, capsys):
    out = tmp_path / "curves.json"
    same = {"preset": "slide", "run": "slide-seed0", "algorithm": "maml"}
    others = [{**same, "algorithm": "anil"}, {**same, "run": "slide-seed1"}]
    out.write_text(json.dumps([*others, {**same, "replaced": True}]))
    run, small = tmp_path / "slide-seed0", {"num_tasks": 2, "episodes_per_task": 2}
    train_run(replace(PRESETS["slide"], total_steps=2000, **small), ["maml", "oracle"], run)
    assert thin_curves.main(["--preset", "slide", "--runs", str(run), "--out", str(out)]) == 0
    first, *rows, last = json.loads(out.read_text())
    assert [first, last] == others
    assert [row["algorithm"] for row in rows] == ["maml", "oracle"]
    for thinned in rows:
        curve = load_curve(run, thinned["algorithm"], ("total_steps", "post_return", "update_s"))
        length = len(curve["post_return"])
        assert thinned["iterations"] == length
        assert len(thinned["steps"]) == len(thinned["post_return"]) <= 25
        assert thinned["steps"][-1] == curve["total_steps"][-1] == thinned["total_steps"]
        size = math.ceil(length / 25)
        assert thinned["post_return"][0] == pytest.approx(
            np.mean(curve["post_return"][:size]), abs=1e-3
        )
        assert thinned["post_return_at_end"] == pytest.approx(np.mean(curve["post_return"][-10:]))
        assert thinned["post_return_best"] == max(curve["post_return"])
        assert thinned["update_s"] == pytest.approx(sum(curve["update_s"]), abs=0.01)
    curve_file = run / "oracle/curve.csv"
    heading, *lines = curve_file.read_text().splitlines(keepends=True)
    curve_file.write_text("".join([heading, *lines[1::2]]))
    assert thin_curves.main(["--preset", "slide", "--runs", str(run), "--out", str(out)]) == 0
    assert "the curve of oracle lacks meta-iterations" in capsys.readouterr().out
    assert json.loads(out.read_text()) == [first, *rows, last]
    missing = ["--preset", "slide", "--runs", str(tmp_path / "none"), "--out", str(out)]
    assert thin_curves.main(missing) == 2
    assert "none" in capsys.readouterr().err
