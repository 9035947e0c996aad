"""The server of the page: on the loopback address alone, for pages of its own."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import viser

LOOPBACK = "127.0.0.1"


@contextmanager
def serve(port: int) -> Iterator[viser.ViserServer]:
    """Serve a page to the browsers of this machine, until the context ends.

    Args:
        port: TCP port on the loopback address; 0 takes any that is free.

    Raises:
        ValueError: viser is not installed, or the port is in use or not for this user.
    """
    try:
        import viser
        import websockets.asyncio.server as websocket_server
    except ImportError as error:
        raise ValueError("metarobot play needs `pip install 'metarobot[play]'`") from error
    try:
        with socket.create_server((LOOPBACK, port)) as taken:  # viser would take the next one
            port = taken.getsockname()[1]
    except OSError as error:
        why = "in use" if error.errno == errno.EADDRINUSE else "not for this user"
        raise ValueError(
            f"--port {port} is {why}: name another, or 0 for any that is free"
        ) from error
    original, quiet = websocket_server.serve, StringIO()
    # viser asks for no origin: any page in the user's browser could move the sliders.
    own = [f"http://{LOOPBACK}:{port}", f"http://localhost:{port}", None]
    websocket_server.serve = partial(original, origins=own)
    try:
        with redirect_stdout(quiet):
            server = viser.ViserServer(LOOPBACK, port, verbose=False)
    finally:
        websocket_server.serve = original
    server.request_share_url = lambda verbose=True: None  # a browser can ask for a public address
    # A connection that ends before it has asked for anything would print a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    try:
        yield server
    finally:
        with redirect_stdout(quiet):
            server.stop()
