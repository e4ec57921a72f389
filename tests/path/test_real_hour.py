"""The real G2301 hour through agent, broker, ingest and database, against the file read here line by line."""

import shutil

import numpy as np
import pytest

from ingest import read
from ingest.rebuild import rebuild
from tests.path.network import INSTRUMENT, STATION, until

FILE = "picarro_g2301_hour.dat"
OWN = {"co2": (1, "CO2", 1.0), "ch4": (2, "CH4", 1000.0), "h2o": (3, "H2O", 1.0)}
"""Quantity -> its own species, its column, and the factor to our unit."""


@pytest.fixture
def hour(shared):
    return shared / "data" / "instruments" / FILE


def own_rows(path):
    """(ms, value) of every own row, straight from the text."""
    header, *lines = path.read_text().splitlines()
    columns = header.split()
    rows = [dict(zip(columns, line.split(), strict=True)) for line in lines]
    return {
        quantity: [
            (round(float(row["EPOCH_TIME"]) * 1000), float(row[column]) * factor)
            for row in rows
            if float(row["species"]) == species
        ]
        for quantity, (species, column, factor) in OWN.items()
    }


def stored(network):
    ds = read.readings(network.dsn, station=STATION, instrument=INSTRUMENT)
    found = {}
    for quantity in OWN:
        there = np.isfinite(ds[quantity].values)
        ms = ds["time"].values[there].astype("datetime64[ms]").astype(int)
        found[quantity] = list(zip(ms.tolist(), ds[quantity].values[there].tolist(), strict=True))
    return found


def test_rows_and_means_are_those_of_the_file(network, hour):
    expected = own_rows(hour)
    assert [len(rows) for rows in expected.values()] == [1206] * 3
    network.deliver(network.configure("agent"), "replay", "--instrument", INSTRUMENT, str(hour))
    found = stored(network)
    assert found == expected
    means = {quantity: np.mean([value for _, value in rows]) for quantity, rows in found.items()}
    assert means["co2"] == np.mean([value for _, value in expected["co2"]])
    assert means["co2"] == pytest.approx(481.9533461591796, abs=1e-10)


def test_again_by_file_and_live_adds_nothing(network, hour):
    configuration = network.configure("agent")
    network.deliver(configuration, "replay", "--instrument", INSTRUMENT, str(hour))
    before = network.readings()
    network.deliver(configuration, "replay", "--instrument", INSTRUMENT, str(hour))
    live = network.configure("live")
    shutil.copy(hour, live.parent / "DataLog_User_1.dat")
    network.deliver(live, "run", "--until-drained")
    assert network.readings() == before
    assert network.query("SELECT count(*) FROM reading_aside") == [(0,)]


def test_rebuilt_from_messages_it_is_identical(network, hour):
    network.deliver(network.configure("agent"), "replay", "--instrument", INSTRUMENT, str(hour))
    network.end("ingest")
    before = network.readings()
    network.query("WITH gone AS (DELETE FROM reading RETURNING 1) SELECT count(*) FROM gone")
    assert network.count() == 0
    rebuild(network.dsn, *map(read.instant, ("2015-08-31", "2015-09-01")))
    assert network.readings() == before


def test_a_live_file_is_followed_as_it_grows(network, hour):
    configuration = network.configure("agent")
    log = configuration.parent / "DataLog_User_1.dat"
    data = hour.read_bytes()
    network.agent(configuration)
    for piece in np.array_split(np.frombuffer(data, np.uint8), 7):
        with log.open("ab") as file:
            file.write(piece.tobytes())
        seen = network.count()
        until(lambda seen=seen: network.count() > seen, "the new lines reach the database")
    until(lambda: len(stored(network)["co2"]) == 1206, "the whole hour reaches the database")
    assert stored(network) == own_rows(hour)
