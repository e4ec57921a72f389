"""Stands between an agent and its broker, and spoils acknowledgements."""

import json
import socket
import threading


class Relay:
    """A TCP relay that understands as much of MQTT 3.1.1 as it takes to change what is published on ``ack``.

    Parameters
    ----------
    port
        The broker's, on this machine.
    spoil
        The acknowledgements of one message -> those that arrive instead.
    """

    def __init__(self, port, spoil):
        self.spoil = spoil
        self.spoiled = 0
        self._broker = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.close()
        for one in self._open:
            one.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._broker))
            self._open += [near, far]
            for task in (self._up, self._down):
                threading.Thread(target=task, args=(near, far), daemon=True).start()

    @staticmethod
    def _up(near, far):
        try:
            while data := near.recv(65_536):
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            far.close()

    def _down(self, near, far):
        stream = far.makefile("rb")
        try:
            while first := stream.read(1):
                near.sendall(self._packet(first, stream))
            near.shutdown(socket.SHUT_WR)
        except OSError:
            near.close()

    def _packet(self, first, stream):
        """Return the next packet as it is passed on."""
        size, shift = 0, 0
        while True:
            (digit,) = stream.read(1)
            size |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                break
        body = stream.read(size)
        if first[0] >> 4 == 3:  # PUBLISH
            head = 2 + int.from_bytes(body[:2], "big")
            topic, head = body[2:head], head + (2 if first[0] & 0x06 else 0)
            if topic.endswith(b"/ack"):
                body = body[:head] + self._changed(body[head:])
        return first + _length(len(body)) + body

    def _changed(self, payload):
        said = json.loads(payload)
        changed = self.spoil(said)
        self.spoiled += changed != said
        return json.dumps(changed, separators=(",", ":")).encode()


def _length(size):
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)
