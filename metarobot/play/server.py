"""Serves the page to a browser on this machine, and to nobody else.

It listens on the loopback address only.  Whoever asks must know the token in the page's address,
which other users of the machine do not, and must call this server by its own name, which a page of
somebody else's that tricks a browser into asking (DNS rebinding) does not.
"""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec

from metarobot.closable import Closable
from metarobot.envs import TaskError
from metarobot.play.connections import PATIENCE_S, BoundedServer
from metarobot.play.exchange import Action, Command, Exchange
from metarobot.play.sliders import Slider, read_values

LOOPBACK = "127.0.0.1"
_WAIT_S = 5.0
"""How long a request waits for something new."""
_MOST_BYTES = 4096
"""Length of a command, at most."""


class PlayServer(Closable, BoundedServer):
    """The page, its pictures and its commands over HTTP; a context manager that serves meanwhile.

    Args:
        port: TCP port; 0 takes any that is free.
        exchange: Where pictures and states come from, and where commands go.
        sliders: What may be set.
        make_page: Called with the nonce that lets the page's own script run; returns the page.

    Raises:
        ValueError: The port is in use, or is not for this user.
    """

    allow_reuse_address = os.name == "posix"  # elsewhere two servers could share a port

    def __init__(
        self,
        port: int,
        exchange: Exchange,
        sliders: tuple[Slider, ...],
        make_page: Callable[[str], str],
    ) -> None:
        self.exchange, self.sliders = exchange, sliders
        self.make_page = make_page
        self.token = secrets.token_urlsafe(18)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            why = {errno.EADDRINUSE: "in use", errno.EACCES: "not for this user"}
            if error.errno not in why:
                raise
            raise ValueError(
                f"--port {port} is {why[error.errno]}: name another, or 0 for any that is free"
            ) from error
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1})
        self._thread.daemon = True

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    @property
    def tunnel(self) -> str:
        """The command by which another machine reaches the page."""
        return f"ssh -L {self.server_port}:{LOOPBACK}:{self.server_port} THIS_MACHINE"

    @property
    def hosts(self) -> tuple[str, str]:
        """What a browser may call this server."""
        return f"{LOOPBACK}:{self.server_port}", f"localhost:{self.server_port}"

    def open(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that have gone away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Refused(Exception):  # noqa: N818  an answer, not an error of ours
    """A request that is answered by a status and one line."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def _split(address: str) -> SplitResult:
    """Return the parts of what a request asks for."""
    try:
        return urlsplit(address)
    except ValueError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, "the address is malformed") from error


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """A command as a page sends it."""

    action: Action
    values: dict[str, float] = {}


class _Handler(BaseHTTPRequestHandler):
    """Answers one browser's requests."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # a malformed line is answered with a status too
    server_version, sys_version = "metarobot", ""
    timeout = PATIENCE_S

    def handle_one_request(self) -> None:
        """Answer the next request, if it arrives in time."""
        self._play.await_request(self.connection)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer with the page, the state or a picture."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Take a command."""
        self._answer(self._post)

    @property
    def _play(self) -> PlayServer:
        return cast(PlayServer, self.server)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""

    def _answer(self, answer: Callable[[str], None]) -> None:
        try:
            self._address = _split(self.path)
            self._require_own_host()
            answer(self._path_behind_token())
        except _Refused as refused:
            self.close_connection = True  # what else it has sent is not read
            self._send(refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())

    def _require_own_host(self) -> None:
        """Refuse whoever calls this server by another name."""
        host = self.headers.get("Host", "")
        if host not in self._play.hosts:
            allowed = " or ".join(self._play.hosts)
            raise _Refused(
                HTTPStatus.FORBIDDEN,
                f"the host must be {allowed}: a tunnel must have the same port at both ends",
            )

    def _path_behind_token(self) -> str:
        """Return what is asked for, of those who know the token."""
        _, token, *rest = f"{self._address.path}/".split("/", 2)
        if not hmac.compare_digest(token.encode(), self._play.token.encode()):
            raise _Refused(HTTPStatus.NOT_FOUND, "no such page: take the address as it was printed")
        return rest[0].rstrip("/") if rest else ""

    def _get(self, path: str) -> None:
        exchange = self._play.exchange
        exchange.look()
        if path == "" and not self._address.path.endswith("/"):  # else the page finds no picture
            headers = {"Location": f"/{self._play.token}/"}
            self._send(HTTPStatus.PERMANENT_REDIRECT, "text/plain", b"", headers)
        elif path == "":
            self._send_page()
        elif path == "state":
            self._send_latest(exchange.state, "application/json")
        elif path.removeprefix("picture/") in exchange.pictures:
            name = path.removeprefix("picture/")
            self._send_latest(exchange.pictures[name], "image/jpeg")
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such thing here")

    def _post(self, path: str) -> None:
        if path != "command":
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such thing here")
        self._require_own_page()
        try:
            wanted = msgspec.json.decode(self._body(), type=_Wanted)
            values = read_values(self._play.sliders, wanted.values)
        except (msgspec.MsgspecError, TaskError, UnicodeError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not self._play.exchange.command(Command(wanted.action, values)):
            raise _Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many commands wait already")
        self._send(HTTPStatus.ACCEPTED, "application/json", b"{}")

    def _require_own_page(self) -> None:
        """Refuse what another site's page sends."""
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site")
        own = [f"http://{host}" for host in self._play.hosts]
        if (origin is not None and origin not in own) or site not in (None, "same-origin"):
            raise _Refused(HTTPStatus.FORBIDDEN, "commands come from the page itself")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "commands are application/json")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a command must state its length")
        if len(length) > 9 or int(length) > _MOST_BYTES:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a command has at most {_MOST_BYTES} bytes"
            )
        return self.rfile.read(int(length))

    def _send_page(self) -> None:
        nonce = secrets.token_urlsafe(12)
        policy = (
            "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; "
            f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        page = self._play.make_page(nonce).encode()
        headers = {"Content-Security-Policy": policy}
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page, headers)

    def _send_latest(self, latest: Any, media_type: str) -> None:
        """Send what is newer than what the browser has, as soon as it is there."""
        (after,) = parse_qs(self._address.query).get("after", ["0"])[:1]
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            raise _Refused(HTTPStatus.BAD_REQUEST, "after must be a number")
        self._play.take_request(self.connection)
        found = latest.wait(int(after), _WAIT_S)
        if found is None:
            self._send(HTTPStatus.NO_CONTENT, media_type, b"")
            return
        number, content = found
        self._send(HTTPStatus.OK, media_type, content, {"X-Number": str(number)})

    def _send(
        self,
        status: HTTPStatus,
        media_type: str,
        content: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        common = {
            "Content-Type": media_type,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if status is not HTTPStatus.NO_CONTENT:
            common["Content-Length"] = str(len(content))
        for name, value in {**common, **(headers or {})}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if content:
            self.wfile.write(content)
