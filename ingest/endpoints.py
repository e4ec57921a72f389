"""What a consumer tells over HTTP: ``/metrics`` to Prometheus, ``/healthz`` and ``/readyz`` to whoever looks after it.

There is no password and nothing can be changed: an address for the loopback or a private network. Names a page in
somebody's browser could have made up for that address (DNS rebinding) are refused.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ingest.consumer import Consumer
from ingest.errors import StoreError
from ingest.metrics import Figures
from ingest.readiness import Readiness, Verdict, alive

log: Final = logging.getLogger(__name__)

SILENCE_S: Final = 15.0
"""Seconds after which who has connected and says nothing is hung up on."""
_TEXT: Final = "text/plain; charset=utf-8"
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?")
_CONTENTS: Final = "skyledger ingest\n/metrics\n/healthz\n/readyz\n"

Page = Callable[[str], tuple[int, str, bytes]]
"""From what the asker accepts to status, type and body."""


@contextmanager
def served(consumer: Consumer, host: str, port: int, *, names: Sequence[str] = ()) -> Iterator[int]:
    """Serve what a consumer tells as long as the context lasts, and give the port.

    Parameters
    ----------
    consumer
        It may not run yet.
    host, port
        Where; port 0 takes a free one.
    names
        Further names it may be asked by. Addresses, `localhost`, names without a dot and this machine's own need not be
        given.

    Raises
    ------
    StoreError
        The address cannot be listened at.
    """
    registry, figures, readiness = CollectorRegistry(), Figures(consumer), Readiness(consumer)
    registry.register(figures)

    def metrics(accepts: str) -> tuple[int, str, bytes]:
        encode, kind = choose_encoder(accepts)
        return 200, kind, encode(registry)

    pages: dict[str, Page] = {
        "/": lambda _: (200, _TEXT, _CONTENTS.encode()),
        "/metrics": metrics,
        "/healthz": lambda _: _told(alive(consumer, now=time.monotonic())),
        "/readyz": lambda _: _told(readiness.verdict()),
    }
    try:
        server = _Server(host, port, pages, frozenset(name.lower() for name in (host, socket.gethostname(), *names)))
    except OSError as error:
        raise StoreError(f"metrics cannot be served at {host}:{port}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        figures.close()
        readiness.close()


def _told(verdict: Verdict) -> tuple[int, str, bytes]:
    return 200 if verdict.well else 503, _TEXT, str(verdict).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, pages: dict[str, Page], names: frozenset[str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages, self.names = pages, names
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the name service who we are, as the parent would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Write one line, not a traceback, of a connection that broke."""
        log.debug("a connection to the metrics ended")


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENCE_S
    server_version = "skyledger"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = _TEXT
    server: _Server

    def __getattr__(self, name: str) -> Any:
        # Whatever the method is called, it is answered in the same way.
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def do_GET(self) -> None:
        """Answer."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) > 1 or (hosts and _HOST.fullmatch(hosts[0].strip()) is None):
            self._answer(400, _TEXT, b"the header Host is no name and port\n")
        elif hosts and not self._known(hosts[0].strip()):
            self._answer(421, _TEXT, b"not asked by a name of this server: give it as --metrics-name\n")
        elif (page := self.server.pages.get(self.path.partition("?")[0])) is None:
            self._answer(404, _TEXT, _CONTENTS.encode())
        else:
            self._answer(*page(self.headers.get("Accept", "")))

    def _known(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        assert found is not None
        name = found[1].strip("[]").rstrip(".").lower()
        if "." not in name and ":" not in name:
            return True  # localhost, or a name of a private network: nobody outside has such a name to give away
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.server.names
        return True

    def _refuse(self) -> None:
        self._answer(405, _TEXT, b"only GET is answered\n", allow="GET")

    def _answer(self, status: int, kind: str, body: bytes, *, allow: str = "") -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if allow:
            self.send_header("Allow", allow)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, template: str, *values: Any) -> None:
        """Say nothing of requests: anybody may write anything in one."""
