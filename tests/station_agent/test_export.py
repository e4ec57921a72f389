import csv
import math
import random
from datetime import datetime

import pytest

from station_agent.__main__ import main
from station_agent.config import read_config
from station_agent.drivers import read_file
from station_agent.export import moment
from station_agent.reading import Notice, Reading
from station_agent.sample import Sample
from station_agent.spool import Spool
from station_agent.wire import round_ms
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.picarro_text import text

AGAIN = {
    "columns": [
        {"name": "co2 [umol mol-1]", "quantity": "co2", "unit": "umol mol-1"},
        {"name": "ch4 [nmol mol-1]", "quantity": "ch4", "unit": "nmol mol-1"},
    ],
    "time": {"columns": ["time"], "format": "iso"},
    "port_column": "port",
    "status_column": "status",
}
"""The options with which `delimited` reads an exported file again; in the README as TOML."""


@pytest.fixture
def station(tmp_path):
    station = Station(tmp_path / "station", "127.0.0.1", 1)
    yield station
    station.stop()


def awkward(count):
    """Samples whose numbers need all their digits."""
    draw = random.Random(5)
    for k in range(count):
        values = {"co2": math.nextafter(400.0, draw.choice([0, 1e3])) + draw.random(), "ch4": 10 ** draw.uniform(-9, 9)}
        held = {name: value for name, value in values.items() if draw.random() < 0.8}
        if held:
            yield Sample(1_700_000_000_000_000_000 + k * 1_000_000, held, draw.choice([None, "1", 'a,"b']), k or None)


def fill(station, samples):
    with Spool(station.folder / "spool.db", station="lin-an", samples=60) as spool:
        notice = Notice("line_rejected", 1_700_000_000_000_000_000, {"text": "半\n行"})
        spool.append(Reading("g2301", samples, [notice]))


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_number_is_exact_and_can_be_read_again(station, tmp_path, capsys):
    samples = list(awkward(500))
    fill(station, samples)
    out = tmp_path / "out.csv"
    assert main(["export", "--config", str(station.file), "--to", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: {len(samples)} samples",
        f"{tmp_path}/out-events.csv: 1 events",
    ]
    got = rows(out)
    assert [row["instrument"] for row in got] == ["g2301"] * len(samples)
    for row, sample in zip(got, samples, strict=True):
        when = datetime.fromisoformat(row["time"])
        assert round(when.timestamp() * 1000) == round_ms(sample.time_ns)
        for name, column in (("co2", "co2 [umol mol-1]"), ("ch4", "ch4 [nmol mol-1]")):
            assert row[column] == ("" if name not in sample.values else repr(sample.values[name]))
            assert row[column] == "" or float(row[column]) == sample.values[name]
    (event,) = rows(tmp_path / "out-events.csv")
    assert (event["event"], event["detail"]) == ("line_rejected", '{"text": "半\\n行"}')


def test_delimited_reads_it_again(station, tmp_path):
    samples = [
        Sample(s.time_ns, s.values, None if s.port != "1" else "1", s.status) for s in awkward(300)
    ]  # `delimited` knows no quoted fields
    fill(station, samples)
    out = tmp_path / "out.csv"
    assert main(["export", "--config", str(station.file), "--to", str(out)]) == 0
    rejected = []
    again = list(read_file(out, "delimited", options=AGAIN, on_rejected=rejected.append))
    assert rejected == []
    assert again == samples


def test_it_exports_while_the_agent_runs(station, tmp_path):
    (station.data / "DataLog_1.dat").write_text(text(0, 130))
    station.configure(samples=60, extra="", instruments=None)
    station.file.write_text(station.file.read_text().replace("seconds = 0.3", "seconds = 3600"))
    agent = station.start("run")
    wait_until(lambda: (station.folder / "spool.db").exists() and station.status()["pending"] == {"g2301": 10})
    out = tmp_path / "out.csv"
    code, said, _ = station.call("export", "--to", out)
    assert (code, f"{out}: 130 samples" in said, agent.poll()) == (0, True, None)
    assert len(rows(out)) == 130
    assert station.status()["queue_batches"] == 2


def test_a_file_that_is_there_is_not_written_over(station, tmp_path, capsys):
    fill(station, list(awkward(3)))
    out = tmp_path / "out.csv"
    out.write_text("precious")
    assert main(["export", "--config", str(station.file), "--to", str(out)]) == 1
    assert "out.csv: is there already" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main(["export", "--config", str(station.file), "--to", "/dev/full/x"]) == 1
    assert capsys.readouterr().err == "/dev/full/x: cannot be written: Not a directory\n"


def test_times_at_the_edges():
    assert moment(0) == "1970-01-01T00:00:00.000Z"
    assert moment(-1) == "1969-12-31T23:59:59.999Z"
    assert moment(2**62) == str(2**62)


# --- sizing ----------------------------------------------------------------------------------


def days(said):
    (line,) = (line for line in said.splitlines() if "holds" in line and line.startswith("the quota"))
    return float(line.split()[-2].replace(",", ""))


def test_sizing_is_what_a_spool_takes(station, capsys):
    """The quota in days, from made-up readings, agrees with the file a spool of such readings makes."""
    station.configure(quota_mb=2000)
    station.file.write_text(station.file.read_text().replace("seconds = 0.3", "seconds = 60"))
    assert main(["sizing", "--config", str(station.file), "--rate", "1", "--quantities", "20"]) == 0
    predicted = days(capsys.readouterr().out)
    draw = random.Random(3)
    with Spool(station.folder / "big.db", station="lin-an", samples=60) as spool:
        for hour in range(3):
            samples = [
                Sample((hour * 3600 + k) * 10**9, {f"q{n}": round(draw.gauss(400, 5), 6) for n in range(20)}, "1", 963)
                for k in range(3600)
            ]
            spool.append(Reading("g2301", samples))
        used = spool.used_bytes
    real = 2e9 / (used / 3 * 24)
    assert 0.8 * real < predicted < 1.1 * real


def test_sizing_measures_what_waits_in_the_spool(station, capsys):
    clock = iter(range(1_700_000_000_000, 1_800_000_000_000, 60_000))
    with Spool(station.folder / "spool.db", station="lin-an", samples=60, now_ms=lambda: next(clock)) as spool:
        for minute in range(30):
            values = [Sample((minute * 60 + k) * 10**9, {"co2": 400.0 + k / 7}) for k in range(60)]
            spool.append(Reading("g2301", values))
        per_day = spool.used_bytes / 30 * 1440
    assert main(["sizing", "--config", str(station.file)]) == 0
    said = capsys.readouterr().out
    assert "by the 30 batches with 1,800 samples that wait in the spool" in said
    assert days(said) == pytest.approx(1e8 / per_day, abs=1)


def test_the_link_is_said(station, capsys):
    assert main(["sizing", "--config", str(station.file), "--rate", "1"]) == 0
    assert "the link carries" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sizing", "--config", str(station.file), "--rate", "0"])
    assert read_config(station.file).spool.quota == 100_000_000
