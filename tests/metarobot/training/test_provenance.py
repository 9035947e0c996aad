import subprocess
import sys
from pathlib import Path

import pytest

import metarobot
from metarobot.training import provenance as module
from metarobot.training.provenance import choose_num_threads, provenance


@pytest.mark.parametrize(
    ("wanted", "variable", "threads"),
    [(3, "5", 3), (0, "5", 5), (0, "4,2", 4), (1, "x", 1), (0, "99999", 1024)],
)
def test_threads_as_wanted_or_as_told(monkeypatch, wanted, variable, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert choose_num_threads(wanted) == threads


@pytest.mark.parametrize("variable", ["", "0", "-1", "all"])
def test_threads_default_to_physical_cores(monkeypatch, variable):
    cpuinfo = [{"physical id": "0", "core id": core} for core in ("0", "0", "1", "1")]
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(module, "_cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    assert choose_num_threads() == 2


def test_provenance_names_no_revision_where_git_fails(monkeypatch):
    def fail(*args, **kwargs):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(module.subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/metarobot", "train", "grip"])
    facts = provenance(threads=1)
    assert facts["git_revision"] is None
    assert facts["versions"].keys() >= {"metarobot", "torch", "mujoco", "numpy", "gymnasium"}
    assert facts["machine"]["threads"] == 1
    assert facts["command"] == ["metarobot", "train", "grip"]


def test_provenance_names_the_commit_of_the_source_tree(monkeypatch):
    """The tree that the package runs from, and no repository that merely surrounds it."""
    root, head = Path(metarobot.__file__).resolve().parents[1], 40 * "a"
    answers = {"rev-parse": str(root), "describe": head}
    monkeypatch.setattr(module, "_git", lambda folder, command, *rest: answers[command])
    assert provenance(threads=1)["git_revision"] == head
    answers["rev-parse"] = str(root.parent)
    assert provenance(threads=1)["git_revision"] is None
