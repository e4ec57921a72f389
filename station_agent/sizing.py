"""How long the quota holds, and what the link has to carry: by what the spool holds, or by batches made for it."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from station_agent.config import Config
from station_agent.errors import SpoolError
from station_agent.overview import open_to_read
from station_agent.sample import Sample
from station_agent.spool_file import used_bytes
from station_agent.wire import Kind, encode_batch

DAY_S: Final = 86_400
PAGE: Final = 4096
"""Bytes of a page of the spool's file."""
ROW_BESIDE: Final = 120
"""Bytes of a batch's row beside its payload."""
INDEX_ROW: Final = 65
"""Bytes of a batch in the index of digests, whose pages are two thirds full."""
LINK_OVERHEAD: Final = 250
"""Bytes a batch costs on the link beside itself: topic, its part of the acknowledgement, TCP/IP and TLS both ways."""
HEARTBEAT_BYTES: Final = 2_000
LEAST_BATCHES: Final = 20
"""Batches a spool has to hold for what it says to be worth more than what is made up."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one reading (one sample with all its quantities) costs.

    Parameters
    ----------
    per_second
        Samples a second.
    bytes_sample
        Bytes of a batch per sample.
    stored_sample
        Bytes of the spool's file per sample.
    samples_batch
        Samples in a batch.
    basis
        Where this comes from, as it may stand in a sentence.
    """

    per_second: float
    bytes_sample: float
    stored_sample: float
    samples_batch: float
    basis: str


def made_up(config: Config, *, per_second: float, quantities: int) -> Rate:
    """Return the rate of invented readings whose digits do not repeat, batched as the configuration says."""
    most = max(1, min(config.batch.samples, math.ceil(per_second * config.batch.seconds)))
    draw = random.Random(1)  # noqa: S311 - numbers to be compressed, nothing to guard
    samples = [
        Sample(
            1_767_225_600_000_000_000 + round(k * 1e9 / per_second),
            {f"quantity_{n}": round(draw.gauss(400.0, 5.0), 6) for n in range(quantities)},
            "1",
            963,
        )
        for k in range(most)
    ]
    size = len(encode_batch(samples, spool="0" * 36, seq=100_000, host_ms=10**12))
    said = f"{per_second:g} samples a second of {quantities} quantities, numbers that do not repeat"
    return Rate(per_second, size / most, file_bytes(size) / most, most, said)


def file_bytes(size: int) -> float:
    """Return the bytes of the spool's file that a batch of this size takes.

    A row that does not fit its page keeps a part there, and the rest fills overflow pages of its own; so the waste
    goes up and down with the size (SQLite, "Database File Format", section 1.6).
    """
    payload, most, least = size + ROW_BESIDE, PAGE - 35, (PAGE - 12) * 32 // 255 - 23
    local = payload
    if payload > most:
        kept = least + (payload - least) % (PAGE - 4)
        local = kept if kept <= most else least
    overflow = math.ceil((payload - local) / (PAGE - 4))
    rows_page = (PAGE - 8) // (local + 11)
    return PAGE / rows_page + overflow * PAGE + INDEX_ROW


def measured(config: Config) -> Rate | None:
    """Return the rate of what the spool holds, or None where it holds too little."""
    try:
        with closing(open_to_read(config.spool.path)) as db:
            sql = (
                "SELECT count(*), sum(samples), sum(length(payload)), min(frozen_ms), max(frozen_ms) "
                "FROM batch WHERE kind = ?"
            )
            count, samples, size, first, last = db.execute(sql, (Kind.DATA.value,)).fetchone()
            file = used_bytes(db)
    except (sqlite3.Error, SpoolError):
        return None
    if count < LEAST_BATCHES or last <= first:
        return None
    per_second = samples * (count - 1) / count / ((last - first) / 1000)
    said = f"the {count:,} batches with {samples:,} samples that wait in the spool ({file:,} bytes)"
    return Rate(per_second, size / samples, file / samples, samples / count, said)


def said(config: Config, rate: Rate) -> Iterator[str]:
    """Yield the lines that say what this rate means."""
    daily = rate.per_second * DAY_S
    stored = daily * rate.stored_sample
    batches = daily / rate.samples_batch
    link = daily * rate.bytes_sample + batches * LINK_OVERHEAD + DAY_S / config.heartbeat * HEARTBEAT_BYTES
    yield f"by {rate.basis}"
    yield f"a reading takes {rate.bytes_sample:,.0f} bytes in a batch of {rate.samples_batch:,.0f}"
    yield f"the spool grows by {stored / 1e6:,.1f} MB a day while nothing is acknowledged"
    yield f"the quota of {config.spool.quota / 1e6:,.0f} MB holds {config.spool.quota / stored:,.0f} days"
    yield f"the link carries {link / 1e6:,.1f} MB a day ({link * 8 / DAY_S / 1000:,.2f} kbit/s), heartbeats included"
    free = _free(config.spool.path)
    if free is not None and free < config.spool.quota:
        days = free / stored
        yield f"note: the disk has {free / 1e6:,.0f} MB free, less than the quota; it holds {days:,.0f} days"


def _free(path: Path) -> int | None:
    from station_agent.health import disk_free  # noqa: PLC0415 - ctypes, for this line only

    return disk_free(path)
