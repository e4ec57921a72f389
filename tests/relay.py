"""Stands between two programs that speak over TCP, and spoils the line between them."""

import socket
import threading
import time

PUBLISH = 3


class Relay:
    """A relay to a server; each connection to it is one to the server.

    Parameters
    ----------
    target
        Where to: (host, port), or the path of a unix socket.
    change
        For MQTT: (whether it comes from the server, packet type, flags, body) -> the bodies of the packets of that
        type that are passed on instead, [] none. None: bytes are passed as they are.

    Attributes
    ----------
    delay
        Seconds each piece takes longer.
    hanging
        While it is set nothing passes, and no connection ends: half-open, as behind a dead radio.
    """

    def __init__(self, target, *, change=None):
        self.delay = 0.0
        self.hanging = threading.Event()
        self.connections = 0
        self._target, self._change = target, change
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listening.getsockname()
        self._open = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.close()
        self.hanging.clear()
        self.cut()

    def cut(self):
        """End every connection at once, in the middle of whatever it is saying."""
        with self._lock:
            ends, self._open = self._open, []
        for one in ends:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self):
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            kind = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
            far = socket.socket(kind)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                far.close()
                continue
            with self._lock:
                self._open += [near, far]
                self.connections += 1
            for source, sink, back in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=(source, sink, back), daemon=True).start()

    def _pump(self, source, sink, back):
        try:
            for piece in self._pieces(source, back):
                while self.hanging.is_set():
                    time.sleep(0.02)
                time.sleep(self.delay)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            source.close()

    def _pieces(self, source, back):
        if self._change is None:
            while data := source.recv(65_536):
                yield data
            return
        with source.makefile("rb") as stream:
            while first := stream.read(1):
                body = stream.read(_size(stream))
                for changed in self._change(back, first[0] >> 4, first[0] & 0xF, body):
                    yield first + _length(len(changed)) + changed


def published(flags, body):
    """Return the head (topic and number) and the payload of a PUBLISH packet."""
    at = 2 + int.from_bytes(body[:2], "big") + (2 if flags & 0x06 else 0)
    return body[:at], body[at:]


class Swapped:
    """Lets every second message overtake the one before it."""

    def __init__(self):
        self._held = {}

    def __call__(self, back, kind, _flags, body):
        if kind != PUBLISH:
            return [body]
        held = self._held.pop(back, None)
        if held is not None:
            return [body, held]
        self._held[back] = body
        return []


def _size(stream):
    size, shift = 0, 0
    while digit := stream.read(1):
        size |= (digit[0] & 0x7F) << shift
        shift += 7
        if not digit[0] & 0x80:
            break
    return size


def _length(size):
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)
