"""A browser without a window, driven by Chromium's own protocol: enough to click and to look."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

from websockets.sync.client import connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
"""Where a browser is, None where there is none."""
_START_S, _ANSWER_S = 60.0, 60.0


class Page:
    """One tab."""

    def __init__(self, socket):
        self._socket, self._number = socket, 0

    def call(self, method, **params):
        """Call a method of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_ANSWER_S))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def do(self, script):
        """Return what a script evaluates to in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script, timeout_s=60.0):
        """Return the first true value of a script; an error, as while the page loads, is false."""
        script = f"(() => {{ try {{ return {script}; }} catch (error) {{ return null; }} }})()"
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            value = self.do(script)
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true: {script}")

    def size(self, width_px, height_px, scale=1.0):
        """Give the tab a size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width_px,
            height=height_px,
            deviceScaleFactor=scale,
            mobile=width_px < 600,
        )

    def scheme(self, name):
        """Prefer "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path):
        """Write a picture of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browse(address, folder):
    """Open a page in a browser of its own, whose profile is in a folder."""
    words = (PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run")
    options = ("--remote-debugging-port=0", f"--user-data-dir={folder}", address)
    process = subprocess.Popen(
        [*words, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port = _port(folder / "DevToolsActivePort")
        with connect(_tab(port), max_size=None) as socket:
            yield Page(socket)
    finally:
        process.kill()
        process.wait()


def _port(file):
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        if file.exists() and (lines := file.read_text().split()):
            return lines[0]
        time.sleep(0.05)
    raise TimeoutError("the browser has not started")


def _tab(port):
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        if pages:
            return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.05)
    raise TimeoutError("the browser has opened no page")
