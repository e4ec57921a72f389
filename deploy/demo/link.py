"""A bad link: a TCP proxy between one station and the broker that dawdles and hangs up."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from random import Random
from types import TracebackType
from typing import Self

CHUNK = 16 * 1024


class BadLink:
    """Forward 127.0.0.1:`port` to an upstream, slowly, and cut every connection after a while.

    Parameters
    ----------
    upstream
        Host and port to forward to.
    random
        Draws how long a connection lives.
    lifetime
        Shortest and longest life of a connection, s.
    delay
        Held back before each chunk is passed on, s.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        *,
        random: Random,
        lifetime: tuple[float, float] = (0.5, 2.0),
        delay: float = 0.02,
    ) -> None:
        self._upstream = upstream
        self._random = random
        self._lifetime = lifetime
        self._delay = delay
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in list(self._threads):
            thread.join()
        self._listener.close()

    def _start(self, target: object, *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._upstream, timeout=5) as server:
            ends = time.monotonic() + self._random.uniform(*self._lifetime)
            up = self._start(self._pump, client, server, ends)
            self._pump(server, client, ends)
            up.join()
            if not self._closing.is_set():
                self.cuts += 1

    def _pump(self, source: socket.socket, sink: socket.socket, ends: float) -> None:
        source.settimeout(0.1)
        while time.monotonic() < ends and not self._closing.is_set():
            try:
                data = source.recv(CHUNK)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            self._closing.wait(self._delay)
            try:
                sink.sendall(data)
            except OSError:
                return
