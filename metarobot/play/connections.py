"""Connections to a server: few at a time, and none that keeps it waiting for long.

Other users of the machine can connect to the loopback address too.  They must not take up the files
and threads of the server, or its owner could not connect any more.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

MOST_CONNECTIONS = 32
"""Connections at a time: far fewer than a process may open files; a browser needs 6."""
PATIENCE_S = 20.0
"""Time for a whole request to arrive, and for its answer to be read."""


class BoundedServer(ThreadingHTTPServer):
    """A server that closes connections which keep it waiting for a request.

    At the bound, the connection that has waited for the longest makes room for the next.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._awaited_until_s: dict[socket.socket, float] = {}
        """Deadlines of requests, those first that are awaited the longest."""
        super().__init__(*args)

    def await_request(self, connection: socket.socket) -> None:
        """Give a connection's next request a deadline, from now on."""
        self.take_request(connection)  # so that it comes last
        with self._changed:
            self._awaited_until_s[connection] = time.monotonic() + PATIENCE_S

    def take_request(self, connection: socket.socket) -> None:
        """Keep a connection open without a deadline, until its next request is awaited."""
        with self._changed:
            self._awaited_until_s.pop(connection, None)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether there is room for a connection."""
        with self._changed:
            while len(self._open) >= MOST_CONNECTIONS and self._awaited_until_s:
                self._cut(next(iter(self._awaited_until_s)))
                self._changed.wait(1.0)
            if len(self._open) >= MOST_CONNECTIONS:
                return False
            self._open.add(request)
            self.await_request(request)
        return True

    def service_actions(self) -> None:
        """Close connections whose request is late; called several times a second."""
        with self._changed:
            for connection, until_s in [*self._awaited_until_s.items()]:
                if time.monotonic() > until_s:
                    self._cut(connection)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        super().shutdown_request(request)
        with self._changed:
            self.take_request(request)
            self._open.discard(request)
            self._changed.notify_all()

    def _cut(self, connection: socket.socket) -> None:
        """End a connection: the thread that reads from it finds its end, and closes it."""
        self.take_request(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
