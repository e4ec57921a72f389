"""What is given up when the quota is reached and reading is not to stop: which samples, and how that is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from station_agent.reading import Notice
from station_agent.sample import Sample
from station_agent.wire import decode_batch, round_ms


@dataclass(frozen=True, slots=True)
class Stored:
    """A frozen batch of samples as it lies in the spool; `thinned` says how often it was thinned already."""

    id: int
    instrument: str
    payload: bytes
    thinned: int


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one batch: these samples go, those stay (none: the batch leaves)."""

    batch: Stored
    gone: Sequence[Sample]
    stay: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Loss:
    """What one instrument lost.

    Parameters
    ----------
    instrument
        Its name.
    samples
        How many.
    readings
        Quantity -> how many values.
    first_ms, last_ms
        Times of the earliest and the latest of them, ms since 1970 UTC.
    """

    instrument: str
    samples: int
    readings: Mapping[str, int]
    first_ms: int
    last_ms: int


def plan(batches: Iterable[Stored], *, size: int, thin: bool) -> list[Change]:
    """Return what to give up so that about `size` bytes of payload become free.

    Parameters
    ----------
    batches
        In the order they are to be given up; read only as far as needed.
    size
        Bytes.
    thin
        Whether every second sample stays.
    """
    changes, freed = [], 0
    for batch in batches:
        if freed >= size:
            break
        samples = restored(batch.payload)
        stay, gone = halves(samples) if thin else ([], samples)
        if not gone:  # one of each kind: there is nothing to take every second of
            stay, gone = [], samples
        changes.append(Change(batch, gone, stay))
        freed += len(batch.payload) * len(gone) // len(samples)
    return changes


def halves(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return what stays and what goes: of samples with the same quantities and port the first, third, … stay.

    So an instrument that measures its gases in turn keeps all of them.
    """
    seen: Counter[tuple[frozenset[str], str | None]] = Counter()
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        kind = frozenset(sample.values), sample.port
        halves[seen[kind] % 2].append(sample)
        seen[kind] += 1
    return halves


def restored(payload: bytes) -> list[Sample]:
    """Return the samples a frozen batch was made of; raises WireError where it cannot be read."""
    batch = decode_batch(payload)
    rows = zip(*batch.q.values(), strict=True) if batch.q else ((),) * len(batch.t)
    names = list(batch.q)
    return [
        Sample(
            time * 1_000_000,
            {name: value for name, value in zip(names, row, strict=True) if value is not None},
            port,
            status,
            mark,
        )
        for time, row, port, status, mark in zip(batch.t, rows, batch.port, batch.status, batch.mark, strict=True)
    ]


def losses(changes: Iterable[Change]) -> list[Loss]:
    """Return what each instrument lost, in the order of their first loss."""
    gone: dict[str, list[Sample]] = {}
    for change in changes:
        gone.setdefault(change.batch.instrument, []).extend(change.gone)
    return [_loss(name, samples) for name, samples in gone.items()]


def _loss(name: str, samples: Sequence[Sample]) -> Loss:
    readings = Counter(quantity for sample in samples for quantity in sample.values)
    times = [round_ms(sample.time_ns) for sample in samples]
    return Loss(name, len(samples), dict(readings), min(times), max(times))


def told(loss: Loss, *, thin: bool, now_ms: int) -> Notice:
    """Return the event that says what was lost."""
    detail = {
        "reason": "quota: thin" if thin else "quota: drop-oldest",
        "samples": loss.samples,
        "readings": dict(loss.readings),
        "first": loss.first_ms,
        "last": loss.last_ms,
    }
    return Notice("readings_lost", now_ms * 1_000_000, detail)
