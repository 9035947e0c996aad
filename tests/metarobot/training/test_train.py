import csv
import os
import signal
from dataclasses import replace

import pytest
import torch
import trained
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarobot.algorithms import config_from_dict, configure
from metarobot.console import InterruptedCommandError
from metarobot.envs import Variant
from metarobot.io import Folder, read_json
from metarobot.training import train as training
from metarobot.training.load import load_run
from metarobot.training.run import resume_run, train_run
from metarobot.training.run_folder import CURVE_COLUMNS, RunError, load_curve
from metarobot.training.train import train_algorithm
from metarobot.training.trainer import MetaTrainer

TINY = replace(trained.TINY, total_steps=200)
"""2 x 2 episodes of 16 steps: 64 steps a block of episodes."""
DISTURBED = Variant.from_dict(
    {
        "family": "grip",
        "name": "all",
        "disturbances": {
            "action_delay_steps": 1,
            "observation_dropout": 0.2,
            "sensor_noise": {"m": 0.001},
            "push": {"force_n": 2.0, "duration_s": 0.1, "probability": 0.2},
        },
        "change": {"at_step": 8, "factors": {"block_mass_kg": 1.3}},
    }
)


class Recorder:
    """A display that remembers what it was told."""

    def __init__(self):
        self.calls = []

    def begin(self, config, total_steps):
        self.calls.append(f"begin {config.algorithm} at {total_steps}")

    def update(self, metrics, rejected=()):
        self.calls.append(f"update {metrics['time/total_steps']:.0f}")

    def finishing(self, share):
        self.calls.append(f"conclude {share:.2f}")

    def end(self):
        self.calls.append("end")


def test_every_algorithm_gets_the_same_budget_and_the_display_hears_of_it(tmp_path):
    display = Recorder()
    train_run(TINY, ["maml", "oracle", "maml"], tmp_path / "run", display)
    assert display.calls == [
        *("begin maml at 0", "update 128", "update 256", "end"),
        *("begin oracle at 0", "update 64", "update 128", "update 192", "update 256", "end"),
    ]
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["maml", "oracle"]


def test_what_follows_meta_training_is_shown_and_counts(tmp_path):
    display = Recorder()
    train_run(replace(TINY, episodes_per_task=3), ["latent"], tmp_path / "run", display)
    shown = display.calls
    assert shown[:5] == [
        *("begin latent at 0", "update 96", "update 192"),
        *("conclude 0.00", "conclude 0.25"),  # one more meta-batch spends the budget
    ]
    shares = [float(call.split()[1]) for call in shown[3:-1]]
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] < 1.0
    assert shown[-1] == "end"
    done = read_json(tmp_path / "run" / "latent" / "done.json")
    # Calibration takes 4 tasks, with 20 episodes of 16 steps each, at the least.
    assert (done["iterations"], done["total_steps"]) == (3, 3 * 96 + 4 * 20 * 16)


def test_what_an_algorithm_leaves_behind(tmp_path):
    train_run(TINY, ["maml"], tmp_path / "run")
    tmp_path = tmp_path / "run" / "maml"
    names = {path.name.partition(".tfevents")[0] for path in tmp_path.iterdir()}
    written = {"policy.safetensors", "curve.csv", "done.json", "events.out", "checkpoints"}
    assert names == {"config.json", *written}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [
        "iteration-000002.safetensors"
    ]
    done = read_json(tmp_path / "done.json")
    assert (done["iterations"], done["total_steps"]) == (2, 256)
    assert done["seconds"] > 0
    config = read_json(tmp_path / "config.json")
    assert config_from_dict(config["train"]) == configure(TINY, "maml")
    assert set(config) == {"train", "turn", "versions", "git_revision", "machine", "command"}


def test_curve_and_tensorboard_hold_the_same_numbers(tmp_path):
    train_algorithm(configure(TINY, "maml"), Folder(tmp_path))
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    board = EventAccumulator(str(tmp_path)).Reload()
    for column, tag in CURVE_COLUMNS.items():
        events = board.Scalars(tag)
        assert [event.step for event in events] == [128, 256]
        table = [float(row[column]) for row in rows]
        assert [event.value for event in events] == pytest.approx(table, rel=1e-5)


def interrupt_in(monkeypatch, iteration, number=signal.SIGTERM):
    """Let a signal arrive within the meta-iteration that follows this one."""
    step = MetaTrainer.step

    def interrupted_step(self):
        if self.iteration == iteration:
            os.kill(os.getpid(), number)
        return step(self)

    monkeypatch.setattr(MetaTrainer, "step", interrupted_step)


def same_curves(run, other, algorithm):
    """Whether two runs have the same curve, but for the times."""
    columns = [name for name in CURVE_COLUMNS if not name.endswith("_s")]
    return load_curve(run, algorithm, columns) == load_curve(other, algorithm, columns)


def test_an_interrupted_run_goes_on_as_if_never_interrupted(tmp_path, monkeypatch):
    number, algorithm = signal.SIGINT, "maml"
    options = {"num_adaptation_steps": 2, "inner_objective": "dice"}
    config = replace(TINY, total_steps=128 * 5, variant=DISTURBED).with_options(**options)
    train_run(config, [algorithm, "oracle"], tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in(patch, 2, number)
        with pytest.raises(InterruptedCommandError) as interrupt:
            train_run(config, [algorithm, "oracle"], tmp_path / "run")
    assert interrupt.value.signal_number == number
    run = load_run(tmp_path / "run")
    assert run.unfinished == (algorithm, "oracle")
    assert len(load_curve(run.path, algorithm, ["iteration"])["iteration"]) == 3

    display = Recorder()
    assert resume_run(tmp_path / "run", display) == (algorithm, "oracle")
    steps = 64 * (configure(config, algorithm).adaptation_steps + 1)
    assert display.calls[:2] == [f"begin {algorithm} at {3 * steps}", f"update {4 * steps}"]
    for name in (algorithm, "oracle"):
        paths = [tmp_path / folder / name / "policy.safetensors" for folder in ("whole", "run")]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert same_curves(tmp_path / "whole", tmp_path / "run", name)
    assert resume_run(tmp_path / "run") == ()


def test_what_was_logged_after_the_checkpoint_is_cut_off(tmp_path, monkeypatch):
    config = replace(TINY, total_steps=64 * 10)
    train_run(config, ["oracle"], tmp_path / "whole")
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 4)

    def die(self):
        raise SystemExit  # as if killed: nothing is saved

    with monkeypatch.context() as patch:
        step = MetaTrainer.step
        patch.setattr(
            MetaTrainer, "step", lambda self: step(self) if self.iteration < 7 else die(self)
        )
        with pytest.raises(SystemExit):
            train_run(config, ["oracle"], tmp_path / "run")
    assert len(load_curve(tmp_path / "run", "oracle", ["iteration"])["iteration"]) == 7
    resume_run(tmp_path / "run")
    assert same_curves(tmp_path / "whole", tmp_path / "run", "oracle")
    board = EventAccumulator(str(tmp_path / "run" / "oracle")).Reload()
    steps = [event.step for event in board.Scalars("meta/post_return")]
    assert steps == [64 * n for n in range(1, 11)]


def test_the_number_of_threads_changes_no_bit(tmp_path):
    for threads in (1, 2):
        train_run(replace(TINY, num_threads=threads), ["maml"], tmp_path / f"{threads}")
    one, two = (load_run(tmp_path / f"{threads}").policies["maml"].params for threads in (1, 2))
    assert all(torch.equal(leaf, two[name]) for name, leaf in one.items())


def fail(self):
    raise ValueError("the family is broken")


@pytest.mark.parametrize(("method", "there"), [("__init__", True), ("step", False)])
def test_a_run_that_fails_at_once_leaves_nothing_in_the_way(tmp_path, monkeypatch, method, there):
    run = tmp_path / "run"
    if there:
        run.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(MetaTrainer, method, lambda self, *_, **__: fail(self))
        with pytest.raises(ValueError, match=r"^the family is broken$"):
            train_run(TINY, ["maml", "oracle"], run)
    assert not run.exists()
    assert not [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.csv")]
    train_run(TINY, ["maml"], run)


def test_a_run_of_another_configuration_or_version_is_refused_with_what_differs(
    tmp_path, monkeypatch
):
    train_run(TINY, ["maml"], tmp_path)
    other = replace(TINY.with_options(inner_lr=0.7), seed=3, num_threads=5)
    with pytest.raises(RunError, match=r"seed was 0, is 3, inner_lr was 0\.1, is 0\.7$"):
        resume_run(tmp_path, expected=other)
    monkeypatch.setattr(
        "metarobot.training.run_folder.versions", lambda: {"torch": "1.0", "mujoco": "9"}
    )
    assert resume_run(tmp_path) == ()  # what is finished does not go on
    (tmp_path / "maml" / "done.json").unlink()
    with pytest.raises(RunError, match=r"torch was \S+, is 1\.0, mujoco was \S+, is 9") as error:
        resume_run(tmp_path)
    assert "\n" not in str(error.value)


def test_the_best_policy_is_kept_and_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 1)
    returns = iter([-2.0, -1.0, -5.0, -5.0])
    step = MetaTrainer.step
    seen = []

    def scripted_step(self):
        metrics = step(self) | {"meta/post_return": next(returns)}
        seen.append(self.params)
        return metrics

    monkeypatch.setattr(MetaTrainer, "step", scripted_step)
    train_run(replace(TINY, total_steps=64 * 4), ["oracle"], tmp_path)
    best, last = (load_run(tmp_path, best=best).policies["oracle"].params for best in (True, False))
    assert all(torch.equal(best[name], leaf) for name, leaf in seen[1].items())
    assert all(torch.equal(last[name], leaf) for name, leaf in seen[3].items())
