import os
import signal
import threading
from pathlib import Path

import pytest

from metarobot.interruption import InterruptedTrainingError, listen_for_stop


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
