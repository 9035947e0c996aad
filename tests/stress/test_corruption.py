"""A checkpoint that is not what was written is refused, in one line."""

import dataclasses
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_training import OPTIONS, STEPS_PER_ITERATION

from metarobot.cli.main import main
from metarobot.config import RunConfig
from metarobot.machine import InterruptedCommandError
from metarobot.training.load import load_run
from metarobot.training.run import resume_run, train_run
from metarobot.training.run_folder import RunError
from metarobot.training.trainer import MetaTrainer

CONFIG = RunConfig(
    num_tasks=8, episodes_per_task=2, hidden_sizes=(8,), total_steps=100 * STEPS_PER_ITERATION
)
assert OPTIONS[1] == "grip"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run of two meta-iterations, and one checkpoint."""
    run = tmp_path_factory.mktemp("corruption") / "run"
    with pytest.MonkeyPatch.context() as patch:
        step = MetaTrainer.step

        def last_step(self):
            import os
            import signal

            if self.iteration == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self)

        patch.setattr(MetaTrainer, "step", last_step)
        with pytest.raises(InterruptedCommandError):
            train_run(CONFIG, ["maml"], run)
    return run


def flip_bits(data, rng):
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 10))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(data, rng):
    return data[: rng.randrange(len(data))]


def extend(data, rng):
    return data + rng.randbytes(rng.randint(1, 1000))


def overwrite(data, rng):
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(min(64, len(data) - start)) + data[start + 64 :]


def cut_out(data, rng):
    start = rng.randrange(len(data) - 1)
    return data[:start] + data[rng.randint(start + 1, len(data)) :]


def replace(data, rng):
    return rng.choice((b"", b"\x80\x04K\x01.", rng.randbytes(len(data)), b"{}" * 1000))


DAMAGES = (flip_bits, truncate, extend, overwrite, cut_out, replace)


def test_damaged_checkpoints_are_refused(interrupted, tmp_path, in_full, capfd):
    count, rng, refused = 200 if in_full else 24, random.Random(0), 0
    run = shutil.copytree(interrupted, tmp_path / "run")
    (checkpoint,) = (run / "maml" / "checkpoints").glob("iteration-*")
    policy = run / "maml" / "policy.safetensors"
    whole = {path: path.read_bytes() for path in (checkpoint, policy)}
    for number in range(count):
        path = (checkpoint, policy)[number % 2]
        damaged = DAMAGES[number % len(DAMAGES)](whole[path], rng)
        if damaged == whole[path]:
            continue
        path.write_bytes(damaged)
        command = ["train", "--resume", str(run)]
        if path == policy:
            command = ["render", str(run), "--out", str(tmp_path / "x.mp4")]
        assert main(command) == 2
        err = capfd.readouterr().err
        assert len(err.splitlines()) == 1
        assert path.name in err
        path.write_bytes(whole[path])
        refused += 1
    print(f"{refused} of {refused} damaged files refused in one line")


def test_tensors_of_another_shape_or_family_are_refused(interrupted, tmp_path):
    run = shutil.copytree(interrupted, tmp_path / "run")
    (checkpoint,) = (run / "maml" / "checkpoints").glob("iteration-*")
    other = tmp_path / "other"
    wide = dataclasses.replace(CONFIG, hidden_sizes=(9,), total_steps=1)
    train_run(wide, ["maml", "domain_randomisation"], other)
    for algorithm, message in (
        ("maml", "must be F32"),
        ("domain_randomisation", "lacks params.step_signal"),
    ):
        (foreign,) = (other / algorithm / "checkpoints").glob("iteration-*")
        shutil.copy(foreign, checkpoint)
        with pytest.raises(ValueError, match=message):
            resume_run(run)


def test_a_file_made_to_execute_code_is_refused(interrupted, tmp_path):
    run = shutil.copytree(interrupted, tmp_path / "run")
    policy = run / "maml" / "policy.safetensors"

    class Bomb:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'exploded')!r}, 'w')",))

    tensors = {name: leaf.clone() for name, leaf in load_file(policy).items()}  # it is mapped
    for write in (
        lambda: torch.save({"state": Bomb()}, policy),
        lambda: torch.save(tensors, policy),
        lambda: save_file(tensors, policy),
    ):
        write()
        with pytest.raises(RunError, match="seal is broken"):
            load_run(run)
    assert not (tmp_path / "exploded").exists()
