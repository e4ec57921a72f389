"""A channel with ten million readings, and one beside it with few: a series as long as a reader ever looks at."""

from datetime import UTC, datetime, timedelta

import numpy as np

from deploy.dashboard import timeseries
from ingest import catalogue, copy, partition, preview, screen
from ingest.database import Level, connect, level
from ingest.migrate import migrate
from tests.path.network import document

MANY, FEW = "g2301", "li850"
COUNT = 10_000_000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
SPIKE = FIRST + timedelta(days=50, hours=7, minutes=3, seconds=12)
WINDOWS = {
    "all": (FIRST, timedelta(seconds=COUNT)),
    "month": (FIRST + timedelta(days=40), timedelta(days=31)),
    "week": (FIRST + timedelta(days=46), timedelta(days=7)),
    "4 days": (FIRST + timedelta(days=48), timedelta(days=4)),
    "day": (FIRST + timedelta(days=50), timedelta(days=1)),
    "hour": (FIRST + timedelta(days=50, hours=7), timedelta(hours=1)),
    "minute": (FIRST + timedelta(days=50, hours=7, minutes=3), timedelta(minutes=1)),
}
"""A visitor's zooms, from everything to a minute around the spike."""


def filled(dsn, count=COUNT):
    """Fill a store: a reading a second of one instrument, one every ten minutes of the other; a spike in both."""
    migrate(dsn)
    catalogue.apply(dsn, document(MANY, FEW))
    with connect(dsn) as conn:
        for name, step in ((MANY, 1), (FEW, 600)):
            _put(conn, name, np.arange(0, count, step))
    return dsn


def _put(conn, instrument, seconds):
    row = conn.execute(
        "INSERT INTO channel (instrument_id, quantity, unit) SELECT id, 'co2', 'umol mol-1' FROM instrument"
        " WHERE name = %s RETURNING id",
        [instrument],
    ).fetchone()
    state = conn.execute(
        "INSERT INTO state (port, mark) VALUES ('10', 0) ON CONFLICT DO NOTHING RETURNING id"
    ).fetchone()
    number = (state or conn.execute("SELECT id FROM state WHERE port = '10'").fetchone())[0]
    base = int(FIRST.timestamp()) * 1000
    days = {(base // 1000 + int(s)) // 86_400 for s in (seconds[0], seconds[-1])}
    if level(conn) is Level.PLAIN:
        partition.create(conn, range(min(days), max(days) + 1))
    noise = np.random.default_rng(1)
    for part in np.array_split(seconds, max(seconds.size // 1_000_000, 1)):
        value = 420 + 5 * np.sin(part / 86_400 * 2 * np.pi) + noise.normal(0, 0.05, part.size)
        value[part == int((SPIKE - FIRST).total_seconds())] = 999.0
        columns = [
            copy.Column("time", "timestamptz", copy.micros(base + part * 1000)),
            copy.Column("value", "float8", value),
            copy.Column("channel_id", "int4", np.array(row)),
            copy.Column("state_id", "int4", np.array([number])),
        ]
        with conn.transaction():
            copy.write(conn, "reading", columns, part.size)
    last = FIRST + timedelta(seconds=int(seconds[-1]) + 1)
    for table, rows, length in (
        ("preview_hour", preview._HOURS, preview.HOUR),
        ("preview_day", preview._DAYS, preview.DAY),
    ):
        preview._roll(conn, table, rows, length, list(row), FIRST, last)
    conn.execute("ANALYZE reading, preview_hour, preview_day")


def choice(conn, instrument):
    """Return the readings of an instrument, as a visitor chooses them."""
    one = next(s for s in screen.every(conn) if instrument in s.instruments)
    return timeseries.Choice(one, instrument)


def looked(conn, instrument, window):
    """Look at a window, as a visitor's zoom does; returns the envelope."""
    start, length = WINDOWS[window]
    return next(iter(timeseries.look(conn, choice(conn, instrument), start, start + length).envelopes.values()))
