"""Looks at everything a station needs, and says for each thing whether it is well and what to do."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from station_agent import broker_check, lock
from station_agent.config import MEGABYTE, Config, Instrument, read_config
from station_agent.drivers import DRIVERS, make_parser
from station_agent.drivers.lines import LineStream, Parsed
from station_agent.errors import AgentError, ConfigError
from station_agent.findings import Finding, not_ok, ok
from station_agent.health import clock_state, disk_free
from station_agent.sample import Sample
from station_agent.words import MARKS, TODO, Language, say

TAIL: Final = 65_536
"""Bytes at the end of an instrument's newest file that are read, and at its beginning, where its header is."""
LIVE_S: Final = 10.0
"""How long a reading of a live instrument is waited for, beside the time between two questions."""
SHOWN: Final = 4
"""Values of a reading that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of what the doctor says."""

    ok: bool
    text: str


def examine(file: Path, *, language: Language) -> Iterator[Line]:
    """Look at everything, yielding each line as it is known; what is wrong takes a second line: what to do."""
    for finding in _findings(file):
        mark = MARKS[language][not finding.ok]
        what, found = say(finding.what, language, **finding.about), say(finding.found, language, **finding.values)
        text = f"{mark}  {what}: {found}"
        if finding.todo:
            text += f"\n        {TODO[language]}: {say(finding.todo, language)}"
        yield Line(finding.ok, text)


def _findings(file: Path) -> Iterator[Finding]:
    try:
        config = read_config(file)
    except ConfigError as error:
        # Every fault at once; what is open to other users is one of them.
        for fault in str(error).splitlines():
            yield not_ok("configuration", "refused", "do configuration", error=fault)
        return
    yield ok("configuration", "no faults", file=file)
    yield from _permissions(config)
    yield from _spool(config)
    for instrument in config.instruments:
        if instrument.connection is None:
            yield from _instrument(instrument)
        else:
            yield from _live(instrument, lock.holder(config.spool.path))
    yield from broker_check.findings(config)
    yield _clock()


# --- this machine ----------------------------------------------------------------------------


def _permissions(config: Config) -> Iterator[Finding]:
    tls = config.broker.tls
    paths = [config.file, *((tls.ca, tls.cert, tls.key) if tls else ())]
    well = True
    for path in paths:
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            well = False
            yield not_ok("permissions", "unreadable", "do permissions", path=path, error=error.strerror)
    if well:
        yield ok("permissions", "private")


def _spool(config: Config) -> Iterator[Finding]:
    path = config.spool.path
    try:
        # What may be written is tried, not computed: a disk may be read-only, a sandbox in between.
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
        if path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        yield ok("spool", "writable", path=path)
    except OSError as error:
        yield not_ok("spool", "unwritable", "do spool", path=path, error=error.strerror)
    free = disk_free(path)
    if free is not None:
        used = path.stat().st_size if path.exists() else 0
        need = max(0, config.spool.quota - used)
        numbers: dict[str, Any] = {"free": free // MEGABYTE, "need": need // MEGABYTE}
        yield ok("disk", "disk free", **numbers) if free > need else not_ok("disk", "disk free", "do disk", **numbers)
    process = lock.holder(path)
    yield ok("agent", "running", process=process) if process is not None else ok("agent", "not running")


def _clock() -> Finding:
    clock = clock_state()
    if clock.synchronised is None:
        return not_ok("clock", "clock unknown", "do clock")
    if not clock.synchronised:
        return not_ok("clock", "not synchronised", "do clock")
    return ok("clock", "synchronised", offset=clock.offset_s)


# --- instruments -----------------------------------------------------------------------------


def _instrument(instrument: Instrument) -> Iterator[Finding]:
    about = {"name": instrument.name}
    driver = DRIVERS[instrument.driver]
    if not driver.reads_files:
        yield ok("instrument", "makes its own", about=driver.about, what=about)
        return
    files = sorted(glob.glob(instrument.path))  # noqa: PTH207 - pathlib globs from a folder only
    if not files:
        yield not_ok("instrument", "no files", "do files", path=instrument.path, what=about)
        return
    yield ok("instrument", "files", count=len(files), file=files[-1], what=about)
    try:
        yield _reading(instrument, Path(files[-1]))
    except OSError as error:
        yield not_ok("reading", "unreadable", "do permissions", path=files[-1], error=error.strerror, what=about)
    except AgentError as error:
        yield not_ok("reading", "refused", "do reading", error=error, what=about)


def _live(instrument: Instrument, agent: int | None) -> Iterator[Finding]:
    """Connect to an instrument and wait for a reading; not beside an agent, which would lose what is read here."""
    about = {"name": instrument.name}
    assert instrument.connection is not None
    yield ok("instrument", "live", connection=instrument.connection.address, what=about)
    if agent is not None:
        yield ok("reading", "read by agent", process=agent, what=about)
        return
    seconds = LIVE_S + 2 * instrument.poll
    samples, reason = _heard(instrument, seconds)
    if samples:
        yield ok("reading", "read", what=about, **_shown(samples))
    else:
        yield not_ok("reading", "nothing heard", "do live", seconds=seconds, reason=reason, what=about)


def _heard(instrument: Instrument, seconds: float) -> tuple[list[Sample], str]:
    """Return the first samples that come within some seconds, or the last that was said about there being none."""
    from station_agent.live.source import LiveSource  # noqa: PLC0415  where one is read live only

    source, reason = LiveSource(instrument, {}, first=0.5, last=2.0), "no answer"
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            reading = source.read(thorough=False)
            if reading is not None and reading.samples:
                return list(reading.samples), ""
            for notice in reading.notices if reading is not None else ():
                reason = str(notice.detail.get("reason", notice.event))
            time.sleep(0.05)
    finally:
        source.close()
    return [], reason


def _reading(instrument: Instrument, file: Path) -> Finding:
    parsed = read_tail(instrument, file)
    about = {"name": instrument.name}
    if not parsed.samples:
        reason = f": {parsed.asides[-1].rejected.reason}" if parsed.asides else ""
        return not_ok(
            "reading", "nothing read", "do reading", lines=parsed.lines, file=file.name, reason=reason, what=about
        )
    return ok("reading", "read", what=about, **_shown(parsed.samples))


def read_tail(instrument: Instrument, file: Path) -> Parsed:
    """Return what the last lines of a file say, read as the agent reads them."""
    stream = LineStream(make_parser(instrument.driver, instrument.options))
    with file.open("rb") as opened:
        _, parsed = stream.feed(opened.read(TAIL))
        size = opened.seek(0, os.SEEK_END)
        if size <= TAIL:
            return parsed
        opened.seek(max(TAIL, size - TAIL))
        opened.readline(TAIL)  # the rest of a line
        return stream.feed(opened.read(TAIL))[1]


def _shown(samples: list[Sample]) -> dict[str, str]:
    """Return the last time, and the last value of the first few quantities."""
    values: dict[str, float] = {}
    for sample in samples[-100:]:
        values.update(sample.values)
    when = datetime.fromtimestamp(samples[-1].time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    said = ", ".join(f"{name} {value:g}" for name, value in list(values.items())[:SHOWN])
    status = samples[-1].status
    return {"time": when, "values": said if status is None else f"{said}, status {status}"}
