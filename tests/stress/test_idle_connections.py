"""Connections to `metarobot play` that send nothing, more than there are descriptors for."""

import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from small_training import ENVIRONMENT

pytestmark = pytest.mark.stress


def test_idle_connections_beyond_all_descriptors_are_one_line(tmp_path):
    command = f"ulimit -n 128; exec {sys.executable} -m metarobot play slide --port 0"
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
    errors = tmp_path / "errors.txt"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            ["bash", "-c", command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
        ExitStack() as at_the_end,
    ):
        at_the_end.callback(process.kill)  # where a check fails
        lines = [process.stdout.readline()]
        while "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], errors.read_text()
        (port,) = re.findall(r"open http://127\.0\.0\.1:(\d+)", "".join(lines))
        with ExitStack() as connections:
            for _ in range(156):
                connections.enter_context(socket.create_connection(("127.0.0.1", int(port))))
            time.sleep(3)
        time.sleep(2)
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as later:
            later.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert later.recv(12) == b"HTTP/1.1 200"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "")
    line = "metarobot: too many connections are open: others wait; `ulimit -n` allows more\n"
    assert errors.read_text() == line
