"""Algorithms of a run are replaced, and added, as a whole."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from metarobot.algorithms import configure
from metarobot.config import RunConfig
from metarobot.training.run import plan_new_run, plan_resumed_run, write_plan
from metarobot.training.run_folder import read_run

OLD = RunConfig(total_steps=64, num_tasks=2, episodes_per_task=2)
NEW = replace(OLD, seed=1)
_CHANGES = ("open", "mkdir", "replace", "unlink", "rmdir", "fsync")


@pytest.fixture
def old(tmp_path, monkeypatch) -> Path:
    """A run with three algorithms, one of which was trained, and a file of somebody else's."""
    monkeypatch.setattr("metarobot.training.run.provenance", lambda threads: {})
    monkeypatch.setattr("metarobot.training.run_folder.versions", dict)
    run = tmp_path / "run"
    algorithms = ("maml", "reptile", "oracle")
    write_plan(plan_new_run(run, [configure(OLD, algorithm) for algorithm in algorithms]))
    for name in ("policy.safetensors", "curve.csv", "done.json", "checkpoints/iteration-000001.x"):
        (run / "maml" / name).parent.mkdir(exist_ok=True)
        (run / "maml" / name).write_text('{"total_steps": 64, "seconds": 1.0}')
    (run / "reptile" / "notes.txt").write_text("kept")
    return run


def content(run: Path) -> dict[str, str]:
    files = (path for path in run.rglob("*") if path.is_file())
    return {str(path.relative_to(run)): path.read_text() for path in files}


def _deadly(real, left):
    def call(*args, **kwargs):
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1
        return real(*args, **kwargs)

    return call


def die_after(number: int, act) -> bool:
    """Run ``act`` in a process that dies when it changes anything for the n-th time.

    Returns:
        Whether it died.
    """
    child = os.fork()
    if not child:  # nothing of pytest's may run here
        left = [number]
        for name in _CHANGES:
            setattr(os, name, _deadly(getattr(os, name), left))
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def test_new_algorithms_take_the_place_of_all_old_ones_and_files_of_others_stay(old):
    new = [configure(NEW, algorithm) for algorithm in ("maml", "promp")]
    write_plan(plan_new_run(old, new, overwrite=True))
    assert list(plan_resumed_run(old).trainings) == new
    assert set(content(old)) == {"maml/config.json", "promp/config.json", "reptile/notes.txt"}


def leftovers(run: Path) -> set[str]:
    """What a killed process had prepared, and nothing reads: the next one removes it."""
    return {name for name in content(run) if name.startswith(".prepared/") or ".partial" in name}


@pytest.mark.stress
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_kill_while_algorithms_are_added_leaves_those_that_were_there(old, tmp_path):
    before, number, died = content(old), 0, True
    while died:
        run = Path(shutil.copytree(old, tmp_path / f"run{number}"))
        more = ("promp", "rl2")

        def add(run=run, more=more):
            write_plan(plan_resumed_run(run, OLD, more))

        died = die_after(number, add)
        found = content(run)
        assert before.items() <= found.items()
        assert {"maml", "reptile", "oracle"} <= set(read_run(run))
        add()
        assert len(read_run(run)) == 5
        assert not leftovers(run)
        shutil.rmtree(run)
        number += 5
