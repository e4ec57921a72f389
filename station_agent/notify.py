"""Telling systemd how the agent is: ready, turning, stopping. Does nothing where systemd did not ask."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

LONGEST: Final = 200
"""Characters of a status line."""


class Notifier:
    """The service manager's socket, as named in the environment.

    Parameters
    ----------
    environment
        ``NOTIFY_SOCKET`` (a path, or an abstract name after ``@``) and ``WATCHDOG_USEC`` are looked at, and
        ``WATCHDOG_PID`` where it says that another process is watched.
    monotonic
        The clock, s.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environment.get("WATCHDOG_USEC", "")
        # Twice as often as it is looked at, as sd_watchdog_enabled(3) asks.
        self._every = int(period) / 2e6 if watched and period.isdigit() else 0.0
        self._due = 0.0
        self._said = ""

    def ready(self) -> None:
        """Say that the agent has started, or has read its configuration again."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the agent is ending."""
        self._send("STOPPING=1")

    def turned(self) -> None:
        """Say that the loop has turned; only the loop may, so that a loop that hangs is noticed."""
        if self._every and (now := self._monotonic()) >= self._due:
            self._due = now + self._every
            self._send("WATCHDOG=1")

    def status(self, sentence: str) -> None:
        """Say how it goes, for ``systemctl status``; the same again is not sent."""
        if sentence != self._said:
            self._said = sentence
            self._send("STATUS=" + " ".join(sentence.split())[:LONGEST])

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(message.encode(), self._address)
        except OSError:
            # A manager that is not there or does not listen must not end the agent; the watchdog sees to it.
            return
