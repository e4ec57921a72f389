"""What a source gives: samples, events, and where that leaves its reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from station_agent.sample import Sample


@dataclass(frozen=True, slots=True)
class Notice:
    """An event to be spooled: what, when (ns since 1970 UTC), and what there is to say."""

    event: str
    time_ns: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in one go from one instrument, and where that leaves its source.

    Parameters
    ----------
    instrument
        Its name.
    samples, notices
        What was read and what was kept aside.
    positions
        Source -> where it stands now (plain JSON; None: forget it).
    """

    instrument: str
    samples: Sequence[Sample] = ()
    notices: Sequence[Notice] = ()
    positions: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)

    def move(self, standing: dict[str, dict[str, Any]]) -> None:
        """Change positions before this was read to those after it."""
        for file, state in self.positions.items():
            if state is None:
                standing.pop(file, None)
            else:
                standing[file] = state
