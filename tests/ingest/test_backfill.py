"""Files filled in afterwards: gaps filled, nothing doubled, replaced only with a reason, and made again the same."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from ingest import backfill, catalogue, export, feed, read
from ingest.backfill import Reason, instrument
from ingest.database import connect
from ingest.errors import FileError, StoreError
from ingest.migrate import migrate
from ingest.reading import Written
from ingest.rebuild import rebuild
from ingest.store import Writer
from station_agent.drivers import read_file
from station_agent.sample import Sample
from tests.ingest.payloads import START, batch, census, said, table
from tests.ingest.test_export import series
from tests.ingest.test_feed import new

FIRST = datetime.fromtimestamp(START, UTC)
ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
ME = Reason("me", "the logger's own file is complete")
WHERE = {"station": "lin-an", "instrument": "g2301"}
OPTIONS = {
    "columns": [{"name": "co2", "quantity": "co2", "unit": "ppm"}, {"name": "ch4", "quantity": "ch4", "unit": "ppb"}],
    "time": {"columns": ["time"], "format": "%Y-%m-%d %H:%M:%S", "zone": "UTC"},
}
HOW = {**WHERE, "driver": "delimited", "options": OPTIONS}


def written(path, minutes, *, value=lambda k: 400 + k % 7 / 8, bad=()):
    """Write a logger's file of minutes since START."""
    rows = ["time,co2,ch4"]
    for k in minutes:
        row = f"{FIRST + timedelta(minutes=k):%Y-%m-%d %H:%M:%S},{value(k)},{1900 + k % 5}"
        rows.append("nonsense" if k in bad else row)
    path.write_text("\n".join(rows) + "\n")
    return path


def live(store, minutes, *, value=lambda k: 400 + k % 7 / 8, spool="live"):
    """Store what the agent sent of the same minutes."""
    rows = [Sample((START + 60 * k) * 10**9, {"co2": value(k), "ch4": 1900.0 + k % 5}) for k in minutes]
    with connect(store) as conn:
        Writer(conn).write([said(batch(rows, spool=spool))])


def test_gaps_are_filled_and_a_second_time_adds_nothing(store, tmp_path):
    live(store, [*range(100), *range(200, 300)])
    path = written(tmp_path / "log.csv", range(300))
    done = backfill.instrument_file(store, path, **HOW)
    assert done.written == Written(new=200, same=400)
    assert (done.samples, done.messages, done.rejected) == (300, 1, 0)
    before = table(store)
    assert len(before) == 600
    again = backfill.instrument_file(store, path, **HOW)
    assert again.before is not None
    assert again.written == done.written
    once_more = backfill.instrument_file(store, path, **HOW, again=True)
    assert once_more.written == Written(same=600)
    assert census(store)["stored"] == 2
    # A longer file of the same instrument adds what is new in it.
    longer = written(tmp_path / "log.csv", range(350))
    assert backfill.instrument_file(store, longer, **HOW).written == Written(new=100, same=600)
    rebuild(store, *ALWAYS)
    assert len(table(store)) == 700


def test_what_differs_is_kept_aside(store, tmp_path):
    live(store, range(100))
    path = written(tmp_path / "log.csv", range(120), value=lambda k: 500.0 if k < 10 else 400 + k % 7 / 8)
    done = backfill.instrument_file(store, path, **HOW)
    assert done.written == Written(new=40, same=190, aside=10)
    values = [row[3] for row in table(store) if row[1] == "co2"]
    assert 500.0 not in values


def test_lines_that_are_none_wait_aside_with_their_file_and_line(plain_store, tmp_path):
    path = written(tmp_path / "log.csv", range(50), bad=(7, 8))
    done = backfill.instrument_file(plain_store, path, **HOW)
    assert (done.samples, done.rejected) == (48, 2)
    with psycopg.connect(plain_store) as conn:
        reasons = [row[0] for row in conn.execute("SELECT reason FROM message WHERE state = 'aside' ORDER BY id")]
    assert [reason.split(":")[0] for reason in reasons] == ["log.csv line 9", "log.csv line 10"]
    assert backfill.instrument_file(plain_store, path, **HOW, again=True).written == Written(same=96)
    assert census(plain_store)["aside"] == 2


def test_in_place_of_what_is_there_and_made_again_the_same(store, tmp_path):
    live(store, range(300), value=lambda _: 390.0)
    live(store, range(60, 90), value=lambda _: 380.0, spool="clone")  # loses to the first
    path = written(tmp_path / "log.csv", range(50, 250, 2))
    done = backfill.instrument_file(store, path, **HOW, in_place=ME)
    assert done.samples == 100
    assert done.replaced == 2 * 199
    co2 = {row[2]: row[3] for row in table(store) if row[1] == "co2"}
    begin, end = FIRST + timedelta(minutes=50), FIRST + timedelta(minutes=249)
    inside = {when: value for when, value in co2.items() if begin <= when < end}
    assert len(inside) == 100  # where the file has nothing, nothing stands
    assert 390.0 not in inside.values()
    assert co2[FIRST] == co2[end] == 390.0
    before = table(store)
    rebuild(store, *ALWAYS)
    assert table(store) == before
    with psycopg.connect(store) as conn:
        assert conn.execute("SELECT who, why FROM replacement").fetchall() == [("me", ME.why)]
        mends = conn.execute("SELECT mend FROM message WHERE mend <> '[]' ORDER BY id").fetchall()
    assert [next(iter(mend[-1]["what"].keys() - {"of"})) for (mend,) in mends] == ["without", "without", "with"]
    assert mends[0][0][0]["why"] == ME.why


def test_quantities_the_file_does_not_have_stay(store, tmp_path):
    rows = [Sample((START + 60 * k) * 10**9, {"co2": 390.0, "h2o": 1.5}) for k in range(100)]
    with connect(store) as conn:
        Writer(conn).write([said(batch(rows, spool="live"))])
    backfill.instrument_file(store, written(tmp_path / "log.csv", range(100)), **HOW, in_place=ME)
    before = table(store)
    assert sum(row[1] == "h2o" for row in before) == 100
    assert 390.0 not in {row[3] for row in before}
    rebuild(store, *ALWAYS)
    assert table(store) == before


def test_a_replacement_that_was_ended_is_brought_to_its_end(store, tmp_path, monkeypatch):
    live(store, range(100), value=lambda _: 390.0)
    path = written(tmp_path / "log.csv", range(100))

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(instrument, "rebuild", killed)
    with pytest.raises(KeyboardInterrupt):
        backfill.instrument_file(store, path, **HOW, in_place=ME)
    assert 390.0 in {row[3] for row in table(store)}
    monkeypatch.undo()
    backfill.instrument_file(store, path, **HOW)  # without asking for it again
    before = table(store)
    assert 390.0 not in {row[3] for row in before}
    rebuild(store, *ALWAYS)
    assert table(store) == before


def test_the_same_file_of_another_instrument_or_read_otherwise_is_another(store, tmp_path):
    path = written(tmp_path / "log.csv", range(30))
    assert backfill.instrument_file(store, path, **HOW).written == Written(new=60)
    other = {**HOW, "instrument": "li850"}
    assert backfill.instrument_file(store, path, **other).written == Written(new=60)
    zone = {**OPTIONS, "time": {**OPTIONS["time"], "zone": "+08:00"}}
    assert backfill.instrument_file(store, path, **{**HOW, "options": zone}, again=True).written == Written(new=60)
    assert len(table(store)) == 180


def test_a_file_put_back_stands_again(store, tmp_path):
    first, second = (
        written(tmp_path / "a.csv", range(100)),
        written(tmp_path / "b.csv", range(100), value=lambda _: 410.0),
    )
    backfill.instrument_file(store, first, **HOW)
    before = table(store)
    backfill.instrument_file(store, second, **HOW, in_place=ME)
    assert {row[3] for row in table(store) if row[1] == "co2"} == {410.0}
    backfill.instrument_file(store, first, **HOW, in_place=Reason("me", "it was right"))
    assert table(store) == before
    rebuild(store, *ALWAYS)
    assert table(store) == before


def test_a_replacement_is_news_for_the_jobs(store, tmp_path):
    path = written(tmp_path / "a.csv", range(100))
    backfill.instrument_file(store, path, **HOW)
    new(store)
    backfill.instrument_file(store, path, **HOW, in_place=ME)
    (change,) = new(store)
    assert isinstance(change, feed.Change)
    assert change.start == np.datetime64(FIRST.replace(tzinfo=None), "ns")


def test_a_run_that_is_killed_goes_on_where_it_was(plain_store, tmp_path):
    path = written(tmp_path / "long.csv", range(-150_000, 0))
    command = [sys.executable, "-m", "deploy", "backfill", str(path), "--dsn", plain_store, "--station", "lin-an"]
    command += ["--instrument", "g2301", "--driver", "delimited"]
    command += [part for key, value in OPTIONS.items() for part in ("--option", f"{key} = {toml(value)}")]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        known = progress(plain_store)
        end = time.monotonic() + 60
        while progress(plain_store) <= known and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 0 < progress(plain_store) < 150
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "long.csv: delimited, 150000 samples; " in done.stdout
    assert census(plain_store) == {"stored": 150, "readings": 300_000, "rows": 300_000, "rows_aside": 0, "events": 0}
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "was filled in on" in again.stdout
    assert "nothing to do" in again.stdout


def toml(value):
    """Return a value as TOML has it on one line."""
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return f'"{value}"'


def progress(dsn):
    with psycopg.connect(dsn) as conn:
        return conn.execute("SELECT coalesce(max(messages), 0) FROM backfill").fetchone()[0]


def test_samples_far_apart_do_not_share_a_message(plain_store, tmp_path):
    rows = [Sample((START - 86_400 * 150 * k) * 10**9, {"co2": 400.0 + k}) for k in range(10)]
    assert [len(batch) for batch in instrument._batches(iter(rows))] == [2, 2, 2, 2, 2]
    path = tmp_path / "old.csv"
    lines = [f"{FIRST - timedelta(days=150 * k):%Y-%m-%d %H:%M:%S},{400 + k},1900" for k in reversed(range(10))]
    path.write_text("time,co2,ch4\n" + "\n".join(lines) + "\n")
    assert backfill.instrument_file(plain_store, path, **HOW).written == Written(new=20)


def test_what_cannot_be_is_said(plain_store, tmp_path):
    path = written(tmp_path / "log.csv", range(5))
    with pytest.raises(StoreError, match="instrument 'x' of station 'lin-an' is not in the catalogue"):
        backfill.instrument_file(plain_store, path, **{**HOW, "instrument": "x"})
    with pytest.raises(FileError, match="columns"):
        backfill.instrument_file(plain_store, path, **WHERE)
    with pytest.raises(FileError, match="cannot be read: No such file"):
        backfill.instrument_file(plain_store, tmp_path / "none", **WHERE)
    with pytest.raises(StoreError, match="replacing needs who does it and why"):
        Reason("me", " ")
    assert census(plain_store)["rows"] == 0


@pytest.mark.parametrize("name", ["picarro_g2301_hour.dat", "picarro_g4301.dat", "licor_li7810.data", "lgr_ugga.csv"])
def test_real_instrument_files(plain_store, shared, name):
    path = shared / "data/instruments" / name
    options = {"date_order": "mdy"} if name.startswith("lgr") else None
    try:
        samples = list(read_file(path, options=options))
    except Exception as error:  # noqa: BLE001 the driver wants to be told something
        pytest.fail(str(error))
    done = backfill.instrument_file(plain_store, path, **WHERE, options=options)
    values = sum(len(sample.values) for sample in samples)
    assert done.samples == len(samples)
    assert done.written.new + done.written.same + done.written.aside == values
    assert census(plain_store)["rows"] == done.written.new > 0
    assert backfill.instrument_file(plain_store, path, **WHERE, options=options, again=True).written.new == 0


# --- archives --------------------------------------------------------------------------------


def obs(n, *, value=400.0):
    """Return hours on one scale as an ICOS-style file would say them."""
    return series(np.full(n, value) + np.arange(n) / 8, flag=np.ones(n, int))


def test_an_archives_hours_fill_gaps_and_replace_with_a_reason(store, tmp_path):

    series_of = {"station": "lin-an", "inlet": "50m"}
    export.icos(obs(5), tmp_path / "a.CO2")
    done = backfill.archive_file(store, tmp_path / "a.CO2", **series_of)
    assert (done.format, done.samples, done.written) == ("icos", 5, Written(new=5))
    export.icos(obs(8, value=500.0), tmp_path / "b.CO2")
    done = backfill.archive_file(store, tmp_path / "b.CO2", **series_of)
    assert done.written == Written(new=3, same=5)
    hours = read.hourly(store, **series_of)
    assert hours["co2"].values.tolist() == [400 + k / 8 for k in range(5)] + [500 + k / 8 for k in range(5, 8)]
    assert hours["co2"].attrs["scale"] == "WMO CO2 X2019"
    assert backfill.archive_file(store, tmp_path / "b.CO2", **series_of).before is not None
    done = backfill.archive_file(store, tmp_path / "b.CO2", **series_of, in_place=ME)
    assert (done.written, done.replaced) == (Written(new=8), 8)
    assert read.hourly(store, **series_of)["co2"].values.tolist() == [500 + k / 8 for k in range(8)]
    with psycopg.connect(store) as conn:
        assert conn.execute("SELECT who, why FROM replacement").fetchall() == [("me", ME.why)]


def test_an_archives_file_that_does_not_fit(plain_store, tmp_path, shared):

    with pytest.raises(FileError, match="has intervals of 86400 s; means are kept of 60 s and 3600 s"):
        backfill.archive_file(
            plain_store, shared / "data/records/noaa_brw_co2_daily.txt", station="lin-an", inlet="50m"
        )
    export.icos(obs(5), tmp_path / "a.CO2")
    with pytest.raises(StoreError, match="station 'lin-an' has no inlet '7m'"):
        backfill.archive_file(plain_store, tmp_path / "a.CO2", station="lin-an", inlet="7m")
    backfill.archive_file(plain_store, tmp_path / "a.CO2", station="lin-an", inlet="50m")
    export.icos(obs(9), tmp_path / "b.CO2")
    with pytest.raises(StoreError, match="co2 is on scale 'other' in the file, on 'WMO CO2 X2019' in the store"):
        backfill.archive_file(plain_store, tmp_path / "b.CO2", station="lin-an", inlet="50m", said={"scale": "other"})


# --- a year ----------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_year_of_minutes_of_twenty_stations(plain_dsn, tmp_path, capsys):
    names = [f"s{k:02}" for k in range(20)]
    migrate(plain_dsn)
    where = {"latitude": 30.0, "longitude": 120.0, "altitude": 10.0, "instrument": [{"name": "g2301"}]}
    catalogue.apply(plain_dsn, {"station": [{"name": name, **where} for name in names]})
    path = written(tmp_path / "year.csv", range(-525_600, 0))
    begun = time.monotonic()
    for name in names:
        done = backfill.instrument_file(plain_dsn, path, **{**HOW, "station": name})
        assert done.written == Written(new=2 * 525_600)
    seconds = time.monotonic() - begun
    with capsys.disabled():
        print(f"\na year of minutes of 20 stations: {20 * 2 * 525_600 / seconds:,.0f} values/s, {seconds:.0f} s")
    assert backfill.instrument_file(plain_dsn, path, **{**HOW, "station": names[7]}, again=True).written == Written(
        same=2 * 525_600
    )
