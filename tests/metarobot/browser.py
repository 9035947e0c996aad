"""A browser without a window: opens a page, acts in it, and tells what happened there.

It is spoken to over two pipes (``--remote-debugging-pipe``), so no port and no further package is
needed. Source: https://chromedevtools.github.io/devtools-protocol/
"""

import json
import os
import select
import shutil
import subprocess
import time
from itertools import count

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
BASH = shutil.which("bash")  # other shells take no descriptor of two digits
MISSING = not (CHROMIUM and BASH)
"""Whether there is nothing to open a page with."""
_TIMEOUT_S = 60.0


class Browser:
    """One page of a headless Chromium; use it as a context."""

    def __init__(self, profile):
        self.events = []
        self._ids, self._unread = count(1), b""
        (down_read, self._down), (self._up, up_write) = os.pipe(), os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-extensions"]
        options += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a GPU
        options += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        redirected = f'exec "$0" "$@" 3<&{down_read} 4>&{up_write}'
        self._process = subprocess.Popen(
            [BASH, "-c", redirected, CHROMIUM, *options],
            pass_fds=(down_read, up_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down_read)
        os.close(up_write)
        self._session = None

    def __enter__(self):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._down)
        os.close(self._up)

    def ask(self, method, **params):
        """Send a command and return its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._down, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address):
        """Open a page and wait until it is loaded; return when it was interactive, in s."""
        self.ask("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        return self.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") / 1000

    def evaluate(self, expression):
        """Return the value of an expression."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression):
        """Return the first true value of an expression; an error, as of a part not there, waits."""
        tried = f"(() => {{ try {{ return {expression}; }} catch (error) {{ return null; }} }})()"
        end_s = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < end_s:
            if value := self.evaluate(tried):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true: {expression}")

    def resize(self, width_px, height_px):
        """Give the page a size."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1.0}
        self.ask("Emulation.setDeviceMetricsOverride", mobile=width_px < 600, **size)

    def press(self, key):
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=_KEYS[key],
            )

    @property
    def complaints(self):
        """What was written to the console, or thrown."""
        methods = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event.get("method") in methods]

    @property
    def requests(self):
        """Addresses that were asked for, without those that hold their content."""
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        addresses = [event["params"]["request"]["url"] for event in sent]
        return [address for address in addresses if not address.startswith("data:")]

    def _read(self):
        end = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._up], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._up, 1 << 20)
            assert part, "the browser has ended"
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)


_KEYS = {"Tab": 9, "ArrowRight": 39}
