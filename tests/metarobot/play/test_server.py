"""The server over real HTTP: who is answered, and who is not."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from metarobot.play.exchange import Exchange
from metarobot.play.page import PlayPage
from metarobot.play.server import PlayServer


@pytest.fixture
def server(play):
    session = play()
    page = PlayPage(session, "runs/slide</script>", has_pictures=True)
    with PlayServer(0, Exchange(), session.sliders, page) as made:
        yield made


def ask(server, path="", method="GET", body=None, token=None, **headers):
    """Return the status, the headers and the content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, f"/{token or server.token}/{path}", body, names)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def command(server, content, **headers):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content_Type": "application/json", **headers}
    return ask(server, "command", "POST", body, **headers)


def test_the_page_loads_nothing_from_elsewhere(server):
    status, headers, content = ask(server)
    page = content.decode()
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("</script>") == 2  # the run's name has not ended one
    assert "slide&lt;/script&gt;" in page


def test_it_listens_on_the_loopback_address_only(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    others = [i[4][0] for i in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    for address in (each for each in others if not each.startswith("127.")):
        with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
            socket.create_connection((address, server.server_port), timeout=2).close()


@pytest.mark.parametrize("token", ["x", "%C3%A9", "x" * 24, "..", "%2e%2e"])
def test_who_does_not_know_the_token_learns_nothing(server, token):
    for path in ("", "state", "picture/before"):
        assert ask(server, path, token=token)[0] == 404
    assert ask(server, "command", "POST", b"{}", token=token)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", ""])
def test_another_name_of_this_server_is_refused(server, host):
    status, _, content = ask(server, Host=host)
    assert status == 403
    assert b"same port at both ends" in content
    assert ask(server, Host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "x"}, 411),
        ({"Content_Length": "5000"}, 413),
    ],
)
def test_commands_come_from_the_page_itself(server, headers, status):
    assert command(server, {"action": "try"}, **headers)[0] == status
    assert server.exchange.next_command() is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "truncated"),
        (b"\xff", "invalid"),
        ({"action": "quit"}, "Invalid enum value 'quit'"),
        ({}, "missing required field `action`"),
        ({"action": "try", "more": 1}, "unknown field `more`"),
        ({"action": "task", "values": {"mass": 1}}, "no slider 'mass', allowed: puck_mass_kg"),
        ({"action": "task", "values": {"puck_mass_kg": "1"}}, "Expected `float`"),
        (b'{"action": "task", "values": {"puck_mass_kg": NaN}}', "malformed"),
        (b'{"action": "task", "values": {"puck_mass_kg": 1e999}}', "out of range"),
    ],
)
def test_bad_commands_are_refused_in_one_line(server, content, words):
    status, _, answer = command(server, content)
    assert status == 400
    assert words.lower() in answer.decode().lower()
    assert answer.count(b"\n") == 1
    assert server.exchange.next_command() is None


def test_values_are_clipped_to_the_sliders(server):
    values = {"puck_mass_kg": 1e300, "table_friction": -1}
    assert command(server, {"action": "task", "values": values})[0] == 202
    mass, friction = server.sliders
    wanted = server.exchange.next_command()
    assert wanted.values == {"puck_mass_kg": mass.high, "table_friction": friction.low}


def test_a_flood_of_commands_is_refused(server):
    statuses = [command(server, {"action": "try"})[0] for _ in range(70)]
    assert statuses == [202] * 64 + [429] * 6


def test_a_request_waits_for_what_is_new(server):
    server.exchange.state.put(b"{}")
    status, headers, content = ask(server, "state?after=0")
    assert (status, headers["X-Number"], content) == (200, "1", b"{}")
    assert server.exchange.seconds_unseen() < 5
    server.exchange.pictures["before"].put(b"jpeg")
    assert ask(server, "picture/before")[2] == b"jpeg"
    assert ask(server, "picture/before?after=x")[0] == 400
    assert ask(server, "picture/other")[0] == 404
    assert ask(server, "../../etc/passwd")[0] == 404


@pytest.fixture
def connect(server):
    """Connect to the server, and send what need be no whole request."""
    with ExitStack() as stack:

        def make(content=b""):
            address = ("127.0.0.1", server.server_port)
            connection = stack.enter_context(socket.create_connection(address, timeout=30))
            connection.sendall(content)
            return connection

        yield make


@pytest.mark.parametrize("content", [b"", b"GET /x HTTP/1.1\r\nHost: "])
def test_idle_connections_make_room_for_new_ones(server, connect, content):
    server.exchange.state.put(b"{}")
    others = threading.active_count()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, server, "state?after=1")
        idle = [connect(content) for _ in range(160)]
        assert ask(server)[0] == 200
        assert idle[0].recv(1) == b""
        assert threading.active_count() <= others + 40
        server.exchange.state.put(b"{}")
        assert waiting.result()[0] == 200  # what waits for its answer is not idle


@pytest.mark.parametrize("head", ["", "POST /{}/command HTTP/1.1\r\nContent-Length: 4000\r\nX-"])
def test_bytes_that_trickle_in_hold_no_connection(server, connect, monkeypatch, head):
    monkeypatch.setattr("metarobot.play.connections.PATIENCE_S", 0.5)
    slow = connect(head.format(server.token).encode())
    began_s = time.monotonic()
    with suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() - began_s < 5.0:
            slow.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - began_s < 3.0


@pytest.mark.parametrize(
    "line", ["GET http://[x/ HTTP/1.1", "GET //[/ HTTP/x", "GET", "GET / x HTTP/1.1"]
)
def test_a_malformed_request_is_refused_and_nothing_printed(server, connect, capfd, line):
    asked = connect(f"{line}\r\nHost: {server.hosts[0]}\r\n\r\n".encode())
    assert asked.makefile("rb").read().split()[1] == b"400"
    assert capfd.readouterr() == ("", "")


def test_an_address_without_its_last_slash_leads_to_the_page(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", f"/{server.token}")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (308, b"")
    assert answer.headers["Location"] == f"/{server.token}/"
    connection.close()


def test_nothing_new_is_no_content(server, monkeypatch):
    monkeypatch.setattr("metarobot.play.server._WAIT_S", 0.05)
    began = time.monotonic()
    assert ask(server, "state")[0] == 204
    assert time.monotonic() - began < 5


def test_a_port_in_use_is_named(server):
    with pytest.raises(ValueError, match=f"--port {server.server_port} is in use: name another"):
        PlayServer(server.server_port, server.exchange, server.sliders, server.make_page)


def test_closing_frees_the_port(play):
    session = play()
    with PlayServer(0, Exchange(), session.sliders, str) as first:
        port = first.server_port
    with PlayServer(port, Exchange(), session.sliders, str) as second:
        assert second.token != first.token
        assert second.address.startswith(f"http://127.0.0.1:{port}/")
        assert f"-L {port}:127.0.0.1:{port}" in second.tunnel
