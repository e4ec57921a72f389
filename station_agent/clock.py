"""The host's clock: steps against the monotonic clock, and what the kernel says of its synchronisation.

A step is a change of (wall clock - clock since boot) by more than a second between two looks. The clock since boot
counts suspension too, so waking up is no step. A slewed clock moves that difference
by 0.5 ms a second at most, which is none either.

A machine without a battery for its clock starts at a time long past, until the network has told it the time. The clock
is *settled* when it cannot be before a time that has certainly passed, and something keeps it right or has not come to
do so within ten minutes. A step of a clock that nothing kept right is its correction: what it had stamped is moved by
as much. Where something did keep it right, somebody has set it, and nobody knows whether rightly.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from station_agent.sample import Mark

STEP_NS: Final = 1_000_000_000
"""A smaller change between two looks is no step."""
EARLIEST_NS: Final = 1_735_689_600 * 10**9
"""2025-01-01: a clock before this is not set (no battery, not synchronised yet)."""
STA_UNSYNC: Final = 0x0040
STA_NANO: Final = 0x2000
TIME_ERROR: Final = 5
PATIENCE_NS: Final = 600 * 1_000_000_000
"""So long after booting a clock that nothing keeps right is taken as it is."""
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel says: whether the clock is synchronised, its offset and the largest error, s."""

    synchronised: bool
    offset: float
    max_error: float


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock was set.

    Parameters
    ----------
    time_ns
        What it said right after, ns since 1970 UTC.
    moved_ns
        By how much, forward is positive.
    corrects
        Whether nothing had kept the clock right before: the step corrects it.
    """

    time_ns: int
    moved_ns: int
    corrects: bool

    @property
    def seconds(self) -> float:
        """By how much, s."""
        return self.moved_ns / 1e9


@dataclass(frozen=True, slots=True)
class Standing:
    """How the wall clock stood to the clock since boot when something was stamped.

    Parameters
    ----------
    boot
        Which start of the machine it was.
    apart_ns
        Wall clock - clock since boot, ns.
    """

    boot: str
    apart_ns: int


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


def boot_id() -> str:
    """Return what this start of the machine is known by; empty where the system does not say."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class Clock:
    """Watches the host's clock.

    Parameters
    ----------
    now_ns, boot_ns
        The wall clock (ns since 1970) and one that is never set.
    ask
        Returns what the kernel says, or None.
    boot
        Which start of the machine this is.
    earliest_ns
        A clock before this is not set, unless the kernel says that something keeps it right: the last time the spool
        knows, or `EARLIEST_NS`.
    """

    def __init__(
        self,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] = since_boot_ns,
        ask: Callable[[], Kernel | None] = kernel,
        boot: str | None = None,
        earliest_ns: int = EARLIEST_NS,
    ) -> None:
        self.now_ns, self._boot_ns, self._ask = now_ns, boot_ns, ask
        self._boot = boot_id() if boot is None else boot
        self._earliest_ns = max(EARLIEST_NS, earliest_ns)
        self._apart_ns = self._apart()
        self._said = ask()
        self._stood_since_ns = boot_ns()
        self._passed_ns = (0, 0)
        self._steps = 0
        self._last: Step | None = None

    @property
    def plausible(self) -> bool:
        """Whether the clock is not before a time that has certainly passed."""
        kept = self._said is not None and self._said.synchronised
        return self.now_ns() >= (EARLIEST_NS if kept else self._earliest_ns)

    @property
    def settled(self) -> bool:
        """Whether times of the clock may be sent: it is plausible, and kept right or waited for long enough."""
        said = self._said
        return self.plausible and (said is None or said.synchronised or self._boot_ns() >= PATIENCE_NS)

    @property
    def standing(self) -> Standing:
        """How the clock stands; belongs to what is stamped now."""
        return Standing(self._boot, self._apart_ns)

    @property
    def mark(self) -> Mark:
        """What is to be known about a time that the clock gives now."""
        mark = Mark(0)
        if not self.plausible or (self._said is not None and not self._said.synchronised):
            mark |= Mark.CLOCK_UNCERTAIN
        first, last = self._passed_ns
        if first <= self.now_ns() <= last:
            mark |= Mark.CLOCK_STEPPED
        return mark

    def moved_since(self, standing: Standing) -> int | None:
        """Return by how many ns the clock was set since; None where the machine has been started anew."""
        if not standing.boot or standing.boot != self._boot:
            return None
        moved = self._apart_ns - standing.apart_ns
        return moved if abs(moved) >= STEP_NS else 0

    def _apart(self) -> int:
        """Return wall clock - clock since boot, read without a long pause between: a busy machine is no step."""
        while True:
            before = self._boot_ns()
            now = self.now_ns()
            if self._boot_ns() - before < STEP_NS // 10:
                return now - before

    def look(self) -> Step | None:
        """Return the step since the last look, if there was one."""
        before, self._said = self._said, self._ask()
        apart = self._apart()
        moved, self._apart_ns = apart - self._apart_ns, apart
        if abs(moved) < STEP_NS:
            return None
        now, boot = self.now_ns(), self._boot_ns()
        # What the clock said from the step before to this one: if it says it once more, it is marked.
        self._passed_ns = now - moved - (boot - self._stood_since_ns), now - moved
        self._stood_since_ns = boot
        corrects = now - moved < self._earliest_ns or (before is not None and not before.synchronised)
        self._steps += 1
        self._last = Step(now, moved, corrects)
        return self._last

    def state(self) -> dict[str, Any]:
        """Return the state of the clock for the status document: plain JSON, times in ms, durations in s."""
        said, last = self._said, self._last
        return {
            "plausible": self.plausible,
            "settled": self.settled,
            "synchronised": said.synchronised if said else None,
            "offset": said.offset if said else None,
            "max_error": said.max_error if said else None,
            "steps": self._steps,
            "last_step": {"time": last.time_ns // 1_000_000, "seconds": last.seconds} if last else None,
        }
