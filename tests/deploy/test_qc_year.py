"""A year of an instrument at once, and what a minute more costs after it (`make soak`)."""

import json
import resource
import time

import pytest

from deploy.jobs import qc
from ingest import catalogue, partition, read
from ingest.database import connect
from ingest.migrate import migrate
from tests.deploy.test_qc_job import START, put
from tests.deploy.test_qc_stream import DAY, HELD, network_document, samples, series
from tests.path.network import STATION

STEP = 5
SHOWN = """
INSERT INTO reading (time, channel_id, value, state_id)
SELECT to_timestamp(%(start)s + s), %(channel)s,
       CASE WHEN p.port = '10' THEN 420 + 4 * sin(s / 86400.0 * 2 * pi()) ELSE p.held END
       + 0.3 + 0.02 * sin(s / 86400.0 / 20) + 0.03 * (random() + random() + random() - 1.5) * 2, p.state
FROM generate_series(%(first)s, %(last)s, %(step)s) AS s,
LATERAL (SELECT mod(s, 172800) - 3600 AS within) AS w,
LATERAL (SELECT CASE WHEN within >= 0 AND within < 3600 THEN substr('234234', 1 + within / 600, 1)
                ELSE '10' END AS at) AS a,
LATERAL (SELECT * FROM unnest(%(ports)s::text[], %(held)s::float[], %(states)s::int[]) AS u (port, held, state)
         WHERE u.port = a.at) AS p
"""


def fill(dsn, days):
    """Put a year into the store by its own means: 6.3 million readings as messages would take an hour."""
    put(dsn, samples(0, 2 * DAY), seq=1)  # the channel, and the states of all ports
    with connect(dsn) as conn:
        (channel,) = conn.execute("SELECT id FROM channel").fetchone()
        states = dict(conn.execute("SELECT port, id FROM state WHERE port IS NOT NULL").fetchall())
        ports = [*HELD, "10"]
        given = {"start": START, "channel": channel, "step": STEP, "ports": ports, "held": [*HELD.values(), 0.0]}
        given["states"] = [states[port] for port in ports]
        with conn.transaction():
            partition.create(conn, range(START // DAY, START // DAY + days + 1))
        for day in range(2, days):
            first = day * DAY
            conn.execute(SHOWN, given | {"first": first, "last": first + DAY - 1})


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_year_at_once_and_a_minute_more(plain_dsn):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, network_document())
    fill(plain_dsn, 365)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    qc.run_once(plain_dsn, series())
    seconds = time.perf_counter() - begin
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024 / 1e6
    minutes = read.minutes(plain_dsn, station=STATION, inlet="50m")
    assert minutes.sizes["time"] > 0.97 * 365 * 1440
    good = minutes["co2_flag"].values == 1
    assert good.mean() > 0.9
    put(plain_dsn, samples(365 * DAY, 365 * DAY + 60), seq=2)
    begin = time.perf_counter()
    (result,) = qc.run_once(plain_dsn, series())
    more = time.perf_counter() - begin
    assert result.hours.sizes["time"] <= 2
    print(json.dumps({"name": "qc.year_seconds", "value": round(seconds, 1), "unit": "s", "memory_mb": round(grown)}))
    print(json.dumps({"name": "qc.minute_more_seconds", "value": round(more, 3), "unit": "s"}))
