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


def test_idle_connections_beyond_all_descriptors_are_one_line():
    command = f"ulimit -n 128; exec {sys.executable} -m metarobot play slide --port 0"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(["bash", "-c", command], env=environment, **pipes) as process:
        lines = [process.stdout.readline()]
        while "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
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
        output, error = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "")
    assert error == "too many connections are open: others wait; `ulimit -n` allows more\n"
