"""What ``check`` and ``status`` say."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from station_agent.config import Config, Instrument
from station_agent.drivers import DRIVERS, make_parser, recognise
from station_agent.drivers.lines import LineStream
from station_agent.errors import DriverError
from station_agent.live.makers import connected
from station_agent.overview import Overview, overview
from station_agent.pushed import kept_path

TRIED: Final = 131_072
"""Bytes of an instrument's newest file that are read to try it."""


def checked(config: Config) -> Iterator[str]:
    """Yield the lines that say what a faultless configuration means here and now."""
    broker = config.broker
    security = "TLS" if broker.tls else "without TLS"
    yield f"{config.file}: no faults"
    if config.pushed and config.pushed.id:
        yield f"with the changes {config.pushed.id} that the server has pushed ({kept_path(config.spool.path)})"
    if config.pushed and config.pushed.refused:
        faults = "; ".join(config.pushed.refused.get("faults", ()))
        yield f"note: changes {config.pushed.refused.get('id')} that the server pushed were refused: {faults}"
    yield f"station {config.station}, broker {broker.host}:{broker.port} {security}, spool {config.spool.path}"
    for instrument in config.instruments:
        yield f"instrument {instrument.name} ({instrument.driver}): {_where_from(instrument)}"


def _where_from(instrument: Instrument) -> str:
    if instrument.connection is not None:
        return connected(instrument.driver, instrument.options, instrument.connection, poll=instrument.poll)
    return _files(instrument)


def _files(instrument: Instrument) -> str:
    if not DRIVERS[instrument.driver].reads_files:
        return DRIVERS[instrument.driver].about
    files = sorted(glob.glob(instrument.path))  # noqa: PTH207 - pathlib globs from a folder only
    if not files:
        return f"no file matches {instrument.path} yet"
    said = f"{len(files)} file(s), last {files[-1]}"
    try:
        recognised = instrument.driver if instrument.driver == "delimited" else recognise(Path(files[-1]))
        if recognised != instrument.driver:
            return f"{said}; note: it looks like {recognised}"
        return said + _tried(Path(files[-1]), instrument)
    except (DriverError, OSError) as error:
        return f"{said}; note: {error}"


def _tried(file: Path, instrument: Instrument) -> str:
    """Say what the first lines of a file give, where they do not give what they should."""
    with file.open("rb") as opened:
        head = opened.read(TRIED)
    _, parsed = LineStream(make_parser(instrument.driver, instrument.options)).feed(head)
    if parsed.asides:
        first = parsed.asides[0].rejected
        return (
            f"; note: of its first {parsed.lines:,} lines {len(parsed.asides):,} cannot be read, "
            f"line {first.line}: {first.reason}"
        )
    return "" if parsed.samples else "; note: nothing in its first lines is a reading yet"


def condition(config: Config) -> Iterator[str]:
    """Yield the lines that say what the spool holds."""
    seen = overview(config.spool.path)
    queue, quota = seen.queue, config.spool.quota
    running = "no agent is running" if seen.running is None else f"agent running (process {seen.running})"
    yield f"station {config.station}: {running}"
    full = "; FULL: reading stops" if seen.used_bytes >= quota else ""
    share = 100 * seen.used_bytes / quota
    yield f"spool {config.spool.path}: {seen.used_bytes:,} of {quota:,} bytes ({share:.1f} %){full}"
    oldest = f", oldest from {_when(queue.oldest_ms)}" if queue.oldest_ms is not None else ""
    yield f"waiting: {queue.batches:,} batches, {queue.samples:,} samples, {queue.size:,} bytes{oldest}"
    acknowledged = seen.meta.get("acknowledged_ms")
    yield f"last acknowledgement: {_when(int(acknowledged)) if acknowledged else 'none yet'}"
    for instrument in config.instruments:
        yield from _instrument(instrument.name, seen)


def _instrument(name: str, seen: Overview) -> Iterator[str]:
    queued, pending = seen.queued.get(name, 0), seen.pending.get(name, 0)
    yield f"instrument {name}: {queued:,} batches waiting, {pending:,} samples gathering"
    positions = seen.positions.get(name, {})
    for file, position in list(positions.items())[-1:]:
        where = f"{position['offset']:,} bytes, {position['line']:,} lines" if "offset" in position else "going on"
        yield f"  last source {file}: {where} read ({len(positions)} known)"


def condition_json(config: Config) -> str:
    """Return what the spool holds as JSON."""
    seen = overview(config.spool.path)
    document: dict[str, Any] = {
        "station": config.station,
        "running": seen.running,
        "spool": seen.meta.get("spool"),
        "used_bytes": seen.used_bytes,
        "quota_bytes": config.spool.quota,
        "reading": "stopped: quota" if seen.used_bytes >= config.spool.quota else "on",
        "queue_batches": seen.queue.batches,
        "queue_samples": seen.queue.samples,
        "queue_bytes": seen.queue.size,
        "queue_oldest": seen.queue.oldest_ms,
        "acknowledged_ms": int(seen.meta["acknowledged_ms"]) if "acknowledged_ms" in seen.meta else None,
        "queued": dict(seen.queued),
        "pending": dict(seen.pending),
        "positions": {
            name: {file: position.get("offset") for file, position in files.items()}
            for name, files in seen.positions.items()
        },
    }
    return json.dumps(document, indent=1)


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
