"""What every driver's parser offers, and the rule by which equal stamps are spread."""

from __future__ import annotations

from typing import Any, Final, Protocol

from station_agent.sample import Mark, Rejected, Sample

EARLIEST_MS: Final = 631_152_000_000
"""1990-01-01: an instrument whose clock is before this does not know the time."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01."""


class Parser(Protocol):
    """Reads the lines of one file or stream, in order; the same object serves live tail and file.

    It never raises on a line. Its state is plain JSON, so that reading goes on after a restart as if it
    had not stopped.
    """

    encoding: str
    """Encoding of the bytes the lines come from."""

    @property
    def header(self) -> str | None:
        """The header line the next data line stands under, where the format has one."""

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the samples of a line (without its line end), why there are none, or None for header and blank."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to read on from here."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the parser that gave this state stopped."""


class Stamps:
    """Spreads equal stamps: the k-th repetition of a stamp is placed k steps after it.

    A stamp that is later than the one before but not later than where that one was placed goes one step
    after it, so times within a run of growing stamps are unique. A stamp that goes back is taken as it is.
    The rule looks at the run of stamps since the file's beginning only: a file read again, live or
    finite, in one go or after a restart, gives the same times.

    Parameters
    ----------
    step_ns
        The distance, ns; whole milliseconds, because that is what the wire carries.
    """

    __slots__ = ("placed", "raw", "step_ns")

    def __init__(self, step_ns: int) -> None:
        self.step_ns = step_ns
        self.raw: int | None = None
        """The last stamp as the instrument gave it, ns."""
        self.placed: int | None = None
        """Where it was placed, ns."""

    def place(self, raw_ns: int) -> tuple[int, int]:
        """Return the time of a sample stamped `raw_ns`, and its `Mark`."""
        raw, placed = self.raw, self.placed
        if raw is None or placed is None or raw_ns > placed or raw_ns < raw:
            self.raw = self.placed = raw_ns
            return raw_ns, 0
        self.raw = raw_ns
        self.placed = placed + self.step_ns
        return self.placed, int(Mark.SPREAD)
