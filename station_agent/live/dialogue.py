"""What any way of speaking with an instrument offers, and what was heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from station_agent.drivers.lines import Parsed


@dataclass(slots=True)
class Heard:
    """What some bytes said.

    Parameters
    ----------
    parsed
        Samples and lines kept aside.
    events
        Event -> what there is to say, in order.
    understood
        Whether anything in it was what the instrument should say.
    """

    parsed: Parsed = field(default_factory=Parsed)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    understood: bool = False

    def add(self, parsed: Parsed) -> None:
        """Take in what more lines said."""
        self.parsed.samples += parsed.samples
        self.parsed.asides += parsed.asides
        self.parsed.lines += parsed.lines
        self.understood = self.understood or parsed.lines > len(parsed.asides)


class Dialogue(Protocol):
    """One instrument's way of speaking; outlives its connections."""

    def begin(self) -> Heard:
        """Begin on a new connection."""

    def question(self, now: float) -> bytes:
        """Return what is to be sent now (`now`: monotonic, s); nothing where nothing is."""

    def feed(self, data: bytes) -> Heard:
        """Return what these bytes say; a line still being written is kept for the next."""

    def end(self, reason: str) -> Heard:
        """Return what is left of a connection that is over."""

    @property
    def unfinished(self) -> int:
        """Bytes after the last line end."""

    def state(self) -> dict[str, Any]:
        """Return what is to be remembered, plain JSON; given to the next dialogue after a restart."""
