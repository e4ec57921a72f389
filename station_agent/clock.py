"""The host's clock: steps against the monotonic clock, and what the kernel says of its synchronisation.

A step is a change of (wall clock - clock since boot) by more than a second between two looks. The clock since boot
counts suspension too, so waking up is no step. A slewed clock moves that difference
by 0.5 ms a second at most, which is none either.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

STEP_NS: Final = 1_000_000_000
"""A smaller change between two looks is no step."""
EARLIEST_NS: Final = 1_735_689_600 * 10**9
"""2025-01-01: a clock before this is not set (no battery, not synchronised yet)."""
STA_UNSYNC: Final = 0x0040
STA_NANO: Final = 0x2000
TIME_ERROR: Final = 5


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel says: whether the clock is synchronised, its offset and the largest error, s."""

    synchronised: bool
    offset: float
    max_error: float


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock was set: when (ns, after the step) and by how much (s, forward is positive)."""

    time_ns: int
    seconds: float


class _Timeval(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("fraction", ctypes.c_long))


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux, with room for what follows."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _Timeval),
        ("rest", ctypes.c_byte * 256),
    )


def kernel() -> Kernel | None:
    """Return what the kernel says of its clock, or None where it cannot be asked."""
    timex = _Timex()  # modes 0: only asks
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    scale = 1e-9 if timex.status & STA_NANO else 1e-6
    return Kernel(state != TIME_ERROR and not timex.status & STA_UNSYNC, timex.offset * scale, timex.maxerror * 1e-6)


def since_boot_ns() -> int:
    """Return ns since boot, suspension included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


class Clock:
    """Watches the host's clock.

    Parameters
    ----------
    now_ns, boot_ns
        The wall clock (ns since 1970) and one that is never set.
    ask
        Returns what the kernel says, or None.
    earliest_ns
        A clock before this is not set: the newest time the spool knows, or `EARLIEST_NS`.
    """

    def __init__(
        self,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] = since_boot_ns,
        ask: Callable[[], Kernel | None] = kernel,
        earliest_ns: int = EARLIEST_NS,
    ) -> None:
        self._now_ns, self._boot_ns, self._ask = now_ns, boot_ns, ask
        self._earliest_ns = max(EARLIEST_NS, earliest_ns)
        self._difference = self._apart()
        self._steps = 0
        self._last: Step | None = None

    @property
    def plausible(self) -> bool:
        """Whether the clock is not before a time that has certainly passed."""
        return self._now_ns() >= self._earliest_ns

    def _apart(self) -> int:
        """Return wall clock - clock since boot, read without a long pause between: a busy machine is no step."""
        while True:
            before = self._boot_ns()
            now = self._now_ns()
            if self._boot_ns() - before < STEP_NS // 10:
                return now - before

    def look(self) -> Step | None:
        """Return the step since the last look, if there was one."""
        difference = self._apart()
        moved, self._difference = difference - self._difference, difference
        if abs(moved) < STEP_NS:
            return None
        self._steps += 1
        self._last = Step(self._now_ns(), moved / 1e9)
        return self._last

    def state(self) -> dict[str, Any]:
        """Return the state of the clock for the status document: plain JSON, times in ms, durations in s."""
        said, last = self._ask(), self._last
        return {
            "plausible": self.plausible,
            "synchronised": said.synchronised if said else None,
            "offset": said.offset if said else None,
            "max_error": said.max_error if said else None,
            "steps": self._steps,
            "last_step": {"time": last.time_ns // 1_000_000, "seconds": last.seconds} if last else None,
        }
