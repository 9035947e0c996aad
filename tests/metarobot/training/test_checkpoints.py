from dataclasses import replace

import pytest
import torch

from metarobot.algorithms import train_config
from metarobot.io import Folder
from metarobot.learning.distributed import ALONE
from metarobot.training.train import (
    NUM_KEPT,
    Progress,
    TrainerState,
    load_newest_checkpoint,
    save_checkpoint,
)

CONFIG = train_config()


def state(iteration):
    tensors = {"params.a": torch.full((3,), float(iteration))}
    return TrainerState(tensors, {"iteration": iteration, "total_steps": 10 * iteration})


def newest(folder, config=CONFIG):
    return load_newest_checkpoint(Folder(folder), config, state(0), ALONE)


def test_the_newest_comes_back_whole_and_the_last_ones_are_kept(tmp_path):
    for iteration in (10, 20, 30, 37, 40):
        save_checkpoint(Folder(tmp_path), CONFIG, state(iteration), Progress(log_bytes=iteration))
    assert len(list(tmp_path.iterdir())) == NUM_KEPT
    found, progress = newest(tmp_path)
    assert found.counters == {"iteration": 40, "total_steps": 400}
    assert found.tensors["params.a"].tolist() == [40.0] * 3
    assert progress == Progress(log_bytes=40)


def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_named(tmp_path):
    for iteration in (10, 20):
        save_checkpoint(Folder(tmp_path), CONFIG, state(iteration), Progress())
    last = tmp_path / "iteration-000020.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"000020.* delete it to go on from .*000010") as error:
        newest(tmp_path)
    assert "\n" not in str(error.value)
    last.unlink()
    assert newest(tmp_path)[0].counters["iteration"] == 10


def test_a_checkpoint_that_another_run_has_left_is_refused(tmp_path):
    save_checkpoint(Folder(tmp_path), CONFIG, state(10), Progress())
    assert newest(tmp_path, replace(CONFIG, num_threads=2)) is not None
    with pytest.raises(ValueError, match=r"of another run: inner_lr is 0\.1, not 0\.2"):
        newest(tmp_path, CONFIG.with_options(inner_lr=0.2))


def test_the_best_is_judged_by_a_smoothed_return():
    progress = Progress()
    assert not progress.is_best()
    progress.add_return(-2.0)
    assert progress.is_best()
    assert not progress.is_best()
    progress.add_return(0.0)
    assert progress.smoothed_return == pytest.approx(-1.8)
    assert progress.is_best()
    progress.add_return(float("nan"))
    assert progress.smoothed_return == pytest.approx(-1.8)
    progress.add_return(-9.0)
    assert not progress.is_best()
    assert progress.best_return == pytest.approx(-1.8)
