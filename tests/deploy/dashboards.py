"""The network page served by a thread of the test, over a real store, at a time the test sets."""

import asyncio
import http.client
import json
import re
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from tornado.ioloop import IOLoop

from deploy.dashboard import server, users
from deploy.dashboard.page import Shown
from deploy.jobs import network

NAME, PASSWORD = "Li Hua", "correct horse battery"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Clock:
    """A clock that is set by hand."""

    def __init__(self, time):
        self.time = time

    def __call__(self):
        return self.time

    def advance(self, **length):
        self.time += timedelta(**length)


class Site:
    """A page that is served."""

    def __init__(self, settings, clock):
        self.settings, self.clock = settings, clock
        self.host = f"127.0.0.1:{settings.port}"
        self.url = f"http://{self.host}/"

    def request(self, method, path, *, body=None, headers=None):
        """Return status, headers and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def sign_in(self, name=NAME, password=PASSWORD, **headers):
        """Try to log in; returns status and the cookie."""
        form = urlencode({"name": name, "password": password})
        given = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.url.rstrip("/")} | headers
        status, answered, text = self.request("POST", "/login", body=form, headers=given)
        return status, (answered.get("Set-Cookie") or "").partition(";")[0], answered, text

    def proof(self, cookie):
        """Return what the page's form shows to whom it knows."""
        found = re.search(r'data-proof="([0-9a-f]+)"', self.request("GET", "/", headers={"Cookie": cookie})[2])
        return found and found[1]

    def flag(self, said, *, cookie="", proof="", origin=None):
        """Send what the form sends."""
        headers = {"Content-Type": "application/json", "Origin": origin or self.url.rstrip("/")}
        headers |= {"Cookie": cookie} if cookie else {}
        headers |= {"X-Skyledger-Proof": proof} if proof else {}
        status, _, text = self.request("POST", "/flag", body=json.dumps(said), headers=headers)
        return status, json.loads(text)


@contextmanager
def site(dsn, folder, *, now=None, login=True, every=0.2, crosscheck=None, series=None, write_dsn=None, read_dsn=None):
    """Serve the page."""
    folder = Path(folder)
    clock = Clock(now or datetime.now(UTC))
    if login:
        users.put(folder / "users.json", NAME, PASSWORD)
    settings = server.Settings(
        dsn=read_dsn or dsn,
        port=free_port(),
        users=folder / "users.json" if login else None,
        secret=folder / "secret" if login else None,
        write_dsn=(write_dsn or dsn) if login else "",
        shown=Shown(network.network_configuration() if series is None else series, crosscheck),
    )
    ready, held = threading.Event(), {}

    def serve():
        asyncio.set_event_loop(asyncio.new_event_loop())
        held["loop"] = IOLoop.current()
        try:
            held["server"], held["store"] = server.made(settings, now=clock, every=every)
            held["server"].start()
        finally:
            ready.set()
        held["loop"].start()
        held["server"].stop()
        held["store"].close()
        held["loop"].close(all_fds=True)

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    assert "server" in held
    try:
        yield Site(settings, clock)
    finally:
        held["loop"].add_callback(held["loop"].stop)
        thread.join(60)
        assert not thread.is_alive()
