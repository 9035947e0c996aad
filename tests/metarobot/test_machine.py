"""Threads, versions, memory that is kept, and signals; OpenGL has a file of its own."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from metarobot import machine
from metarobot.console import InterruptedCommandError, interrupted_by_signals, listen_for_stop
from metarobot.machine import (
    choose_num_threads,
    map_on_threads,
    num_threads,
    own_settings,
    provenance,
    set_threads,
)


@pytest.mark.parametrize(
    ("wanted", "variable", "threads"),
    [
        (3, "5", 3),
        (0, "5", 5),
        (0, "4,2", 4),
        (1, "x", 1),
        (0, "99999", 1024),
        *((0, variable, 2) for variable in ("", "0", "-1", "all")),  # the physical cores
    ],
)
def test_threads_as_wanted_or_as_told(monkeypatch, wanted, variable, threads):
    cpuinfo = [{"physical id": "0", "core id": core} for core in ("0", "0", "1", "1")]
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(machine, "_cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    assert choose_num_threads(wanted) == threads


def test_parts_are_computed_on_threads_with_the_same_numbers_and_errors():
    rows = torch.randn(6, 300, 30, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(6, 30, 20, generator=torch.Generator().manual_seed(1), requires_grad=True)
    parts, found, seen = [slice(0, 2), slice(2, 4), slice(4, 6)], [], set()

    def product(tasks):
        seen.add((threading.get_ident(), torch.get_num_threads()))
        assert map_on_threads(str, parts) == [str(each) for each in parts]  # no thread waits
        return (rows[tasks] @ weights[tasks]).tanh()

    before, torch_before = num_threads(), torch.get_num_threads()
    for count in (1, 3):
        with own_settings():
            assert set_threads(count) == num_threads() == count
            seen.clear()
            found.append(torch.cat(map_on_threads(product, parts)))
            assert {threads for _, threads in seen} == {1}
            assert (threading.get_ident() in {ident for ident, _ in seen}) == (count == 1)
            with torch.no_grad():
                assert not map_on_threads(product, parts)[2].requires_grad
            with pytest.raises(ZeroDivisionError):
                map_on_threads(lambda part: 1 // part.start, parts)
    assert (num_threads(), torch.get_num_threads()) == (before, torch_before)
    assert found[0].requires_grad
    assert torch.equal(*found)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process cannot be forked here")
def test_a_forked_process_has_threads_of_its_own():
    with own_settings():
        set_threads(2)
        assert map_on_threads(abs, [-1, -2]) == [1, 2]
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # one that hangs must not stay
            os._exit(0 if map_on_threads(abs, [-1, -2]) == [1, 2] else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_provenance_names_versions_and_the_commit_of_the_source_tree(monkeypatch):
    """The tree that the package runs from, and no repository that merely surrounds it."""
    root, head = Path(machine.__file__).resolve().parents[1], 40 * "a"
    answers = {"rev-parse": str(root), "describe": head}
    monkeypatch.setattr(machine, "_git", lambda folder, command, *rest: answers[command])
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/metarobot", "train", "grip"])
    facts = provenance(threads=1)
    assert facts["versions"].keys() >= {"metarobot", "torch", "mujoco", "numpy", "gymnasium"}
    assert (facts["git_revision"], facts["machine"]["threads"]) == (head, 1)
    assert facts["command"] == ["metarobot", "train", "grip"]
    answers["rev-parse"] = str(root.parent)
    assert provenance(threads=1)["git_revision"] is None


# Signals.


@pytest.fixture
def handlers():
    """Begin with the usual handlers, and give back those that were there."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    assert [signal.getsignal(number) for number in numbers] == 3 * [signal.SIG_DFL]
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_request_and_a_second_ctrl_c_interrupts(number, handlers):
    with listen_for_stop() as request:
        assert request.signal_number == 0
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal_number == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_under_torchrun_signals_may_be_repeated(monkeypatch, handlers):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with interrupted_by_signals():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # torchrun ends its processes
        with listen_for_stop() as request:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            assert request.signal_number == signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_a_command_and_a_second_one_ends_it(number, handlers):
    cleaned = []

    def command() -> None:
        with interrupted_by_signals():
            try:
                os.kill(os.getpid(), number)
            finally:
                cleaned.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(InterruptedCommandError, match=f"^interrupted by {number.name}$") as error:
        command()
    assert cleaned == [signal.SIG_DFL]
    assert error.value.signal_number == number
