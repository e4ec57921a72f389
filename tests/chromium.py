"""A real Chromium, driven by its DevTools protocol: pages are opened, clicked, measured, photographed and printed."""

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

from tests import servers

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")
_PATIENCE = 60.0


@contextmanager
def browser(folder):
    """Run Chromium with a profile of its own; yields a function that opens a file, or an address, in a tab."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        servers.absent("no Chromium: apt-get install chromium fonts-noto-cjk")
    profile = Path(folder) / "profile"
    command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    loop = IOLoop(make_current=False)
    try:
        port = _port(profile, process)
        yield lambda path, **size: Tab(loop, port, path, **size)
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE)
        loop.close(all_fds=True)


def _port(profile, process):
    until = time.monotonic() + _PATIENCE
    known = profile / "DevToolsActivePort"
    while time.monotonic() < until:
        if known.exists() and len(lines := known.read_text().splitlines()) == 2:
            return lines
        assert process.poll() is None, "Chromium ended by itself"
        time.sleep(0.05)
    raise TimeoutError(profile)


class Tab:
    """A page that is open, and every request it made."""

    def __init__(self, loop, port, path, *, width=1200, height=1600):
        self._loop, self._number, self.requests, self.complaints = loop, 0, [], []
        self._connection = self._wait(
            lambda: websocket_connect(f"ws://127.0.0.1:{port[0]}{port[1]}", max_message_size=2**28)
        )
        self._session = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self(f"{domain}.enable")
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self("Page.navigate", url=str(path) if str(path).startswith("http") else Path(path).resolve().as_uri())
        self._until("Page.loadEventFired")

    def _wait(self, begin):
        async def bounded():
            return await begin()

        return self._loop.run_sync(bounded, timeout=_PATIENCE)

    def _next(self):
        message = json.loads(self._wait(self._connection.read_message))
        event, said = message.get("method"), message.get("params", {})
        if event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif event == "Log.entryAdded":
            self.complaints.append(said["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(f"{details['text']} {details.get('exception', {}).get('description', '')}".rstrip())
        return message

    def _until(self, event):
        while self._next().get("method") != event:
            pass

    def __call__(self, method, **params):
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._wait(lambda: self._connection.write_message(json.dumps(message)))
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, expression):
        """Return what a JavaScript expression is."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def click(self, selector, text):
        """Click with the mouse on the element of `selector` that reads `text`."""
        place = self.evaluate(
            f"""(() => {{ const all = [...document.querySelectorAll({json.dumps(selector)})];
            const one = all.find((e) => e.textContent.trim() === {json.dumps(text)}); if (!one) return null;
            one.scrollIntoView({{block: "center", inline: "center"}}); const r = one.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        )
        assert place, f"nothing reads {text!r}"
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def screenshot(self, path):
        """Photograph the whole page."""
        content = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(content))

    def pdf(self, path):
        """Print the page as its style sheet says."""
        content = self("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
        Path(path).write_bytes(base64.b64decode(content))


def pages_of(pdf):
    """Return the text of each page of a PDF, as it stands there."""
    program = shutil.which("pdftotext")
    if program is None:
        servers.absent("no pdftotext: apt-get install poppler-utils")
    done = subprocess.run([program, "-layout", pdf, "-"], capture_output=True, text=True, check=True, env=os.environ)
    return done.stdout.split("\f")[:-1]
