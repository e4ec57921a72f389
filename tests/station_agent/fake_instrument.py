"""Instruments as servers over TCP and over a pseudo-terminal, speaking their makers' protocols, errors and all."""

import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
import tty
from collections import deque
from datetime import UTC, datetime

DEPTH = 512
"""Rows of a Picarro's buffer."""
TIOCGEXCL = 0x80045440


class Gone(Exception):  # noqa: N818 - nothing went wrong
    """The other side has left, or the test is over."""


class TcpEnd:
    """The instrument's side of TCP connections, one after the other."""

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self.port = self._listening.getsockname()[1]
        self.address = f'tcp = "127.0.0.1:{self.port}"'
        self._line = None

    def accept(self, stop):
        """Wait until somebody connects."""
        if self._line is not None:
            self._line.close()
        while not stop.is_set():
            try:
                self._line, _ = self._listening.accept()
            except TimeoutError:
                continue
            self._line.settimeout(0.05)
            return
        raise Gone

    def read(self, stop):
        """Return what has come."""
        while not stop.is_set():
            try:
                data = self._line.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                raise Gone from None
            if not data:
                raise Gone
            return data
        raise Gone

    def write(self, data, stop):
        """Send all of it, as fast as it is read."""
        view = memoryview(data)
        while view:
            if stop.is_set():
                raise Gone
            try:
                view = view[self._line.send(view) :]
            except TimeoutError:
                continue
            except OSError:
                raise Gone from None

    def cut(self, stop):
        """End the connection; what was sent arrives first."""
        try:
            self._line.shutdown(socket.SHUT_WR)
            while self.read(stop):
                pass
        except (Gone, OSError):
            self._line.close()

    def close(self):
        """End everything."""
        self._listening.close()
        if self._line is not None:
            self._line.close()


class PtyEnd:
    """The instrument's side of a serial port, which is unplugged and plugged in again; `path` stays the same."""

    def __init__(self, folder):
        self.path = folder / "ttyUSB0"
        self.address = f'serial = "{self.path}"'
        self._mine = self._its = -1

    def accept(self, stop):
        """Plug it in, and wait until somebody has opened it."""
        self.close()
        self._mine, self._its = os.openpty()
        tty.setraw(self._its)
        os.set_blocking(self._mine, False)
        fresh = self.path.with_name("fresh")
        fresh.symlink_to(os.ttyname(self._its))
        fresh.replace(self.path)
        while not stop.is_set():
            if self.taken:
                return
            time.sleep(0.002)
        raise Gone

    @property
    def taken(self):
        """Whether somebody holds the port alone."""
        answer = bytearray(4)
        fcntl.ioctl(self._its, TIOCGEXCL, answer)
        return struct.unpack("i", answer)[0] != 0

    def settings(self):
        """Return what the other side has set the port to."""
        return termios.tcgetattr(self._its)

    def read(self, stop):
        """Return what has come."""
        while not stop.is_set():
            if select.select([self._mine], [], [], 0.05)[0]:
                return os.read(self._mine, 4096)
        raise Gone

    def write(self, data, stop):
        """Send all of it, as fast as it is read."""
        while data:
            if stop.is_set():
                raise Gone
            select.select([], [self._mine], [], 0.05)
            try:
                data = data[os.write(self._mine, data[:1024]) :]
            except BlockingIOError:
                continue

    def cut(self, stop):
        """Unplug it, once what was sent has been read: a port that is gone has lost what was in it."""
        left, still = bytearray(4), 0
        while still < 3 and not stop.is_set():
            fcntl.ioctl(self._its, termios.FIONREAD, left)
            still = still + 1 if struct.unpack("i", left)[0] == 0 else 0
            time.sleep(0.003)
        self.close()

    def close(self):
        """End everything."""
        for number in (self._mine, self._its):
            if number >= 0:
                os.close(number)
        self._mine = self._its = -1


class Fake:
    """A thread that serves one connection after the other until the `with` block ends."""

    def __init__(self, end):
        self.end = end
        self.stop = threading.Event()
        self.connections = 0
        self.fault = None
        self._thread = threading.Thread(target=self._run, name="fake", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join(20)
        self.end.close()
        if self.fault is not None:
            raise self.fault

    def _run(self):
        try:
            while not self.stop.is_set():
                try:
                    self.end.accept(self.stop)
                    self.connections += 1
                    self.serve()
                except Gone:
                    continue
        except Exception as fault:  # noqa: BLE001 - told by the test's thread
            self.fault = fault

    def serve(self):
        """Speak on one connection."""
        raise NotImplementedError

    def say(self, data):
        """Send it."""
        self.end.write(data, self.stop)

    def cut(self):
        """End this connection."""
        self.end.cut(self.stop)
        raise Gone

    def stall(self):
        """Say nothing more, until the other side leaves."""
        while self.end.read(self.stop):
            pass


class FakePicarro(Fake):
    """A Picarro: measures between two questions until it has `pace` rows, keeps the last 512, gives them once.

    Parameters
    ----------
    rows
        What it measures, as it says it, without line end.
    plan
        Number of the question -> what happens: "" (it answers), "cut" before its buffer is emptied, "cut answer",
        "stall", "garbage" before the answer, "echo", "late", or an error's number.
    """

    def __init__(self, end, rows, *, plan=lambda _number: "", pace=400, newline=b"\r\n"):
        super().__init__(end)
        self.rows, self.plan, self.pace, self.newline = deque(rows), plan, pace, newline
        self.buffer = deque(maxlen=DEPTH)
        self.questions = []
        self.sent = 0
        self.lost = []
        """Rows that left the buffer and were not sent whole."""

    @property
    def exhausted(self):
        """Whether all was measured and given away."""
        return not self.rows and not self.buffer

    def serve(self):
        command = b""
        while True:
            command += self.end.read(self.stop)
            while b"\r" in command:
                said, _, command = command.partition(b"\r")
                if said.strip(b"\n"):
                    self.questions.append(said.strip(b"\n").decode())
                    self._answer(self.questions[-1].upper())

    def _answer(self, command):
        for _ in range(min(self.pace - len(self.buffer), len(self.rows))):
            self.buffer.append(self.rows.popleft())
        what = self.plan(len(self.questions))
        if what == "cut":
            self.cut()
        if what == "stall":
            return
        if what.isdigit():
            self._line(f"ERR:{what}\t{datetime.now(UTC):%Y-%m-%d %H:%M:%S}.000")
        elif command == "_MEAS_GETBUFFER":
            self._give_buffer(what)
        elif command == "_MEAS_GETCONC":
            self._line(self.buffer[-1] if self.buffer else "ERR:3002")
        else:
            self._line("ERR:1002")

    def _give_buffer(self, what):
        given, _ = list(self.buffer), self.buffer.clear()
        lines = [f"{len(given)};", *given]
        data = b"".join(line.encode() + self.newline for line in lines)
        if what == "garbage":
            self.say(b"\xff\x00\x13" + self.newline)
        if what == "cut answer":
            data = data[: len(data) * 3 // 5]
            whole = data.count(self.newline) - 1
            self.lost += given[whole:]
            self.sent += whole
            self.say(data)
            self.cut()
        self.sent += len(given)
        self.say(data)

    def _line(self, text):
        self.say(text.encode() + self.newline)


class FakeStream(Fake):
    """An instrument that sends lines by itself: on each connection what it begins with, then the next lines.

    Parameters
    ----------
    preamble
        Bytes a connection begins with: header lines, or the end of a line of which the beginning was missed.
    cuts
        Line -> "cut" in the middle of it (it is sent whole on the next connection) or "stall" before it.
    """

    def __init__(self, end, lines, *, preamble=b"", cuts=None, newline=b"\r\n"):
        super().__init__(end)
        self.lines, self.preamble, self.newline = lines, preamble, newline
        self.cuts = dict(cuts or {})
        self.next = 0
        self.halves = 0

    @property
    def exhausted(self):
        """Whether all lines were sent."""
        return self.next >= len(self.lines)

    def serve(self):
        self.say(self.preamble)
        while not self.exhausted:
            last = min([len(self.lines), self.next + 200, *(cut for cut in self.cuts if cut >= self.next)])
            self.say(b"".join(line.encode() + self.newline for line in self.lines[self.next : last]))
            self.next = last
            what = self.cuts.pop(last, None)
            if what == "cut":
                self.say(self.lines[last].encode()[:40])
                self.halves += 1
                self.cut()
            if what == "stall":
                self.stall()
        while not self.stop.wait(0.02):
            pass
