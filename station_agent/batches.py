"""Frozen batches as they are sent, answered and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from station_agent.wire import Kind


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen batch or event as it is to be sent."""

    id: int
    digest: str
    instrument: str
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What some acknowledgements changed.

    Parameters
    ----------
    removed
        Digests of batches that left the spool.
    aside
        How many of them the server keeps aside, to be mended.
    rekeyed
        Digest before -> number of the batch, which is to be sent again under its new one.
    """

    removed: tuple[str, ...] = ()
    aside: int = 0
    rekeyed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits in the spool: batches, samples and bytes in them, and when the oldest was frozen (ms, None: none)."""

    batches: int
    samples: int
    size: int
    oldest_ms: int | None
