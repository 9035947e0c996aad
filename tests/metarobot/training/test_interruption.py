import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from metarobot.training.interruption import (
    InterruptedCommandError,
    InterruptedTrainingError,
    listen_for_stop,
    unwind_on_signals,
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_request_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with listen_for_stop() as request:
        assert request.signal_number == 0
        os.kill(os.getpid(), number)
        assert request.signal_number == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once_but_a_second_sigterm_does_not():
    with listen_for_stop() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert request.signal_number == signal.SIGTERM


def test_under_torchrun_signals_may_be_repeated(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with listen_for_stop() as request:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal_number == signal.SIGINT


def test_outside_the_main_thread_nothing_is_caught():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def listen():
        with listen_for_stop() as request:
            seen.append((request.signal_number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [(0, before)]


def test_the_error_says_how_to_go_on():
    error = InterruptedTrainingError(signal.SIGTERM, Path("runs/x"))
    assert str(error) == (
        "interrupted by SIGTERM: `metarobot train --resume runs/x` goes on with it"
    )


@pytest.fixture
def handlers():
    """Begin with the usual handlers, and give back those that were there."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    yield dict.fromkeys(numbers, signal.SIG_DFL)
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_unwinds_once(number, handlers):
    cleaned = []

    def command() -> None:
        with unwind_on_signals():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # impatience
                os.kill(os.getpid(), signal.SIGINT)
                cleaned.append(True)

    with pytest.raises(InterruptedCommandError, match=f"interrupted by {number.name}") as error:
        command()
    assert cleaned
    assert error.value.signal_number == number
    assert signal.getsignal(number) == signal.SIG_IGN


def test_a_signal_that_was_swallowed_can_be_repeated(monkeypatch, handlers):
    monkeypatch.setattr("metarobot.training.interruption._UNWINDING_S", 0.0)
    with unwind_on_signals():
        for _ in range(3):
            with pytest.raises(InterruptedCommandError):
                os.kill(os.getpid(), signal.SIGTERM)


def test_an_import_is_finished_first(handlers, tmp_path, monkeypatch):
    lines = ["import os, signal", "os.kill(os.getpid(), signal.SIGTERM)", "finished = True"]
    (tmp_path / "interrupted_module.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "interrupted_module", raising=False)
    with unwind_on_signals():
        import interrupted_module  # pyright: ignore[reportMissingImports]

        assert interrupted_module.finished
        with pytest.raises(InterruptedCommandError):
            time.sleep(10.0)


def test_without_a_signal_the_handlers_come_back_and_what_is_ignored_stays_so(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = {**handlers, signal.SIGHUP: signal.SIG_IGN}
    with unwind_on_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_polite_stop_is_not_interrupted_afterwards(handlers):
    with unwind_on_signals() as unwinding:
        with listen_for_stop() as request:
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert unwinding.signal_number == request.signal_number == signal.SIGTERM


def test_torchrun_ends_its_processes_itself(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    before = signal.getsignal(signal.SIGTERM)
    with unwind_on_signals():
        assert signal.getsignal(signal.SIGTERM) == before
