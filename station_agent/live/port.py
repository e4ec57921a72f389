"""One connection to an instrument that never blocks: from the attempt to connect until it is lost.

Connecting over TCP, where a name is looked up and the network may take its time, happens in a thread of its own
that ends with it. A serial port is set with termios: no further package is needed.
"""

from __future__ import annotations

import fcntl
import os
import socket
import termios
import threading
from contextlib import suppress
from typing import Final, Protocol

from station_agent.live.makers import Serial, Tcp

CONNECT_S: Final = 20.0
"""How long connecting over TCP may take, per address of the name."""
MOST: Final = 65_536
"""Bytes taken in one go."""
KEEPALIVE_S: Final = 60
"""Seconds of silence after which TCP asks whether the other side is still there."""

_BITS: Final = {7: termios.CS7, 8: termios.CS8}
_PARITIES: Final = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}


class Port(Protocol):
    """One connection."""

    lost: str
    """Why there is no connection any more; empty while there is, or may yet be."""

    @property
    def open(self) -> bool:
        """Whether it is connected."""

    def receive(self) -> bytes:
        """Return what has come; nothing where nothing has."""

    def send(self, data: bytes) -> None:
        """Send as much as goes without waiting; what became of the connection is seen when receiving."""

    def close(self) -> None:
        """Close it, or give up connecting."""


def open_port(address: Tcp | Serial) -> Port:
    """Return a new connection to an address."""
    return TcpPort(address) if isinstance(address, Tcp) else SerialPort(address)


class TcpPort:
    """A TCP connection, made in the background."""

    def __init__(self, address: Tcp) -> None:
        self._address = address
        self.lost = ""
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._given_up = False
        threading.Thread(target=self._connect, name="instrument", daemon=True).start()

    @property
    def open(self) -> bool:
        """Whether it is connected."""
        return self._socket is not None and not self.lost

    def receive(self) -> bytes:
        """Return what has come; nothing where nothing has."""
        if self._socket is None or self.lost:
            return b""
        try:
            data = self._socket.recv(MOST)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            self.lost = f"the connection broke: {_reason(error)}"
            return b""
        if not data:
            self.lost = "the instrument closed the connection"
        return data

    def send(self, data: bytes) -> None:
        """Send as much as goes without waiting."""
        if self._socket is not None:
            try:
                self._socket.send(data)
            except OSError:
                # There may be something to receive yet; then the reason is seen.
                return

    def close(self) -> None:
        """Close it, or give up connecting."""
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                self._socket.close()

    def _connect(self) -> None:
        address = self._address
        try:
            made = socket.create_connection((address.host, address.port), timeout=CONNECT_S)
        except (OSError, ValueError) as error:
            self.lost = f"no connection: {_reason(error)}"
            return
        with self._lock:
            if self._given_up:
                made.close()
                return
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
            self._socket = made


class SerialPort:
    """A serial port, without flow control."""

    def __init__(self, address: Serial) -> None:
        self.lost = ""
        self._number = -1
        try:
            self._number = os.open(address.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            _set_up(self._number, address)
        except (OSError, termios.error) as error:
            self.lost = f"the port cannot be opened: {_reason(error)}"
            if isinstance(error, PermissionError):
                self.lost += "; the agent's user must be in the group that owns it, often dialout"
            self.close()

    @property
    def open(self) -> bool:
        """Whether it is connected."""
        return self._number >= 0 and not self.lost

    def receive(self) -> bytes:
        """Return what has come; nothing where nothing has."""
        if not self.open:
            return b""
        try:
            data = os.read(self._number, MOST)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            self.lost = f"the port broke: {_reason(error)}"
            return b""
        if not data:
            self.lost = "the port was unplugged"
        return data

    def send(self, data: bytes) -> None:
        """Send as much as goes without waiting."""
        if self._number >= 0:
            try:
                os.write(self._number, data)
            except OSError:
                # There may be something to receive yet; then the reason is seen.
                return

    def close(self) -> None:
        """Close it."""
        if self._number >= 0:
            # The kernel forgets it only when the last one leaves: another that has it open would keep us out.
            with suppress(OSError):
                fcntl.ioctl(self._number, termios.TIOCNXCL)
            os.close(self._number)
            self._number = -1


def _set_up(number: int, address: Serial) -> None:
    """Set speed and framing; bytes come as they are, nothing is echoed, translated or waited for."""
    control = termios.CREAD | termios.CLOCAL | _BITS[address.bits] | _PARITIES[address.parity]
    if address.stop == 2:
        control |= termios.CSTOPB
    speed = getattr(termios, f"B{address.baud}")
    characters = termios.tcgetattr(number)[6]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    termios.tcsetattr(number, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
    # Two programs on one port take each other's bytes.
    fcntl.ioctl(number, termios.TIOCEXCL)


def _reason(error: Exception) -> str:
    """Return what the system says, without its number; termios puts it second."""
    said = getattr(error, "strerror", None) or (error.args[1] if len(error.args) > 1 else str(error))
    return str(said)
