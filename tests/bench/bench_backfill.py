"""Benchmark of filling in files afterwards: one JSON object a line.

``python -m tests.bench backfill``. Loggers' files of minutes, twenty stations, a month each, four quantities; ours
lasts from opening the first file to the last commit. The reference copies the same rows, laid out beforehand, in
transactions as large. Rounds alternate; the figures are medians. A year of the same is a soak
(`tests/ingest/test_backfill.py`).
"""

import json
import statistics
import time
from datetime import UTC, datetime, timedelta

from deploy.local.postgres import Postgres
from ingest import backfill, catalogue, copy, reading
from ingest.backfill.instrument import _SPOOL, ROWS, _Frozen, _groups
from ingest.database import connect
from ingest.directory import Directory
from ingest.migrate import migrate
from ingest.reading import Part, Written
from tests.servers import throwaway_folder

ROUNDS = 3
STATIONS = 20
MINUTES = 30 * 1440
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
INSTRUMENT = "logger"
QUANTITIES = ("co2", "ch4", "h2o", "cavity_temperature")
UNITS = ("ppm", "ppb", "%", "degC")
OPTIONS = {
    "columns": [{"name": q, "quantity": q, "unit": u} for q, u in zip(QUANTITIES, UNITS, strict=True)],
    "time": {"columns": ["time"], "format": "%Y-%m-%d %H:%M:%S", "zone": "UTC"},
}


def stations():
    return [f"station-{number:02}" for number in range(STATIONS)]


def written(path, *, seed):
    rows = ["time," + ",".join(QUANTITIES)]
    for k in range(MINUTES):
        x = (k * 7 + seed) % 997 / 100
        rows.append(
            f"{FIRST + timedelta(minutes=k):%Y-%m-%d %H:%M:%S},{410 + x:.3f},{1900 + x:.2f},{x / 5:.4f},{45 + x:.3f}"
        )
    path.write_text("\n".join(rows) + "\n")
    return path


def filled(dsn, files, **how):
    """Return what became of the values, and seconds."""
    begin = time.perf_counter()
    total = Written()
    for station, path in zip(stations(), files, strict=True):
        total += backfill.instrument_file(
            dsn, path, station=station, instrument=INSTRUMENT, driver="delimited", options=OPTIONS, **how
        ).written
    return total, time.perf_counter() - begin


def laid_out(conn, files):
    """The same rows as COPY streams, one a transaction of ours."""
    directory = Directory()
    streams = []
    for station, path in zip(stations(), files, strict=True):
        frozen = _Frozen(path, "delimited", OPTIONS, station=station, instrument=INSTRUMENT, spool=str(_SPOOL))
        for group in _groups(frozen.messages(0)):
            directory.learn(conn, group)
            parts = [Part(0, directory.instruments[c.station, c.instrument], c.columns) for c in group]
            rows = reading.rows(parts, directory)
            streams.append((copy.encode(reading._columns(rows), rows.size), rows.size))
    return streams


def copied(conn, streams):
    begin = time.perf_counter()
    statement = "COPY reading (time, value, channel_id, state_id) FROM STDIN (FORMAT binary)"
    for stream, _ in streams:
        with conn.transaction(), conn.cursor() as cursor, cursor.copy(statement) as target:
            target.write(stream)
    return time.perf_counter() - begin


def emptied(conn):
    conn.execute("TRUNCATE message, reading, event, reading_aside, backfill, replacement")
    conn.execute("CHECKPOINT")


def main():
    where = {"latitude": 30.0, "longitude": 120.0, "altitude": 10.0, "instrument": [{"name": INSTRUMENT}]}
    with throwaway_folder() as folder, Postgres(folder) as server, connect(_migrated(server.dsn)) as conn:
        catalogue.apply(server.dsn, {"station": [{"name": name, **where} for name in stations()]})
        files = [written(folder / f"{name}.csv", seed=k) for k, name in enumerate(stations())]
        expected = STATIONS * MINUTES * len(QUANTITIES)
        filled(server.dsn, files)  # makes the days
        streams = laid_out(conn, files)
        pairs = []
        for _ in range(ROUNDS):
            emptied(conn)
            limit = expected / copied(conn, streams)
            emptied(conn)
            total, seconds = filled(server.dsn, files)
            if total != Written(new=expected):
                raise SystemExit(f"{total}, expected {expected} new values")
            pairs.append((expected / seconds, limit))
        again, _ = filled(server.dsn, files, again=True)
        if again != Written(same=expected):
            raise SystemExit(f"a second time: {again}, expected nothing new")
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    reference = f"columnar binary COPY, same rows, transactions of {ROWS}"
    figure = {"name": "backfill.rows_per_s", "value": round(value), "unit": "rows/s", "reference": reference}
    more = {"reference_value": round(limit), "ratio": round(value / limit, 3), "again_new": again.new}
    print(json.dumps({**figure, **more}), flush=True)


def _migrated(dsn):
    migrate(dsn)
    return dsn


if __name__ == "__main__":
    main()
