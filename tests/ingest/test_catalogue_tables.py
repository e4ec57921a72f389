"""The catalogue from tables, what it would change, what it did change, and out again."""

import copy
import sys
import tomllib
from datetime import UTC, datetime

import psycopg
import pytest

from deploy.__main__ import main
from ingest import catalogue, read
from ingest.catalogue.checks import region_of
from ingest.errors import CatalogueError
from ingest.migrate import migrate
from tests.ingest.payloads import CATALOGUE

STATIONS = "station,latitude,longitude,altitude,title,region,wigos\nlan,30.3,119.7,139,临安,330112,0-20008-0-LAN\n"
INLETS = "station,inlet,height\nlan,50m,50\nlan,10m,10\n"
INSTRUMENTS = "station;instrument;model;serial;driver\nlan;g2401;Picarro G2401;CFKADS2040;picarro\n"
PORTS = (
    "station,instrument,port,inlet,from,to\nlan,g2401,1,50m,,\nlan,g2401,1,10m,2026/3/1,\nlan,g2401,2,10m,,2026-03-01\n"
)
CHANNELS = "station,instrument,quantity,unit\nlan,g2401,co2,\nlan,g2401,ch4,nmol mol-1\n"
CYLINDERS = (
    "cylinder,species,value,scale,uncertainty,from\n"
    "CB1,co2,401.23,WMO CO2 X2019,0.02,\nCB1,co2,401.25,WMO CO2 X2019,0.01,2026-01-01T06:00:00+08:00\n"
)


@pytest.fixture
def empty(plain_dsn):
    migrate(plain_dsn)
    return plain_dsn


def files(tmp_path, **texts):
    paths = []
    for name, text in texts.items():
        path = tmp_path / f"{name}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths.append(path)
    return paths


ALL = {
    "cylinders": CYLINDERS, "ports": PORTS, "channels": CHANNELS, "instruments": INSTRUMENTS,
    "inlets": INLETS, "stations": STATIONS.encode("gb18030"),
}  # fmt: skip


def test_tables_in_any_order_are_one_document(empty, tmp_path):
    done = catalogue.apply(empty, *files(tmp_path, **ALL), who="me")
    assert len(done.added) == 1 + 2 + 1 + 3 + 2 + 2
    (station,) = read.stations(empty)
    assert (station.name, station.title, station.region) == ("lan", "临安", "CN-ZJ")
    moved = datetime(2026, 3, 1, tzinfo=UTC)
    assert [(p.port, p.inlet, p.start, p.end) for p in station.instruments[0].ports] == [
        ("1", "50m", None, moved),
        ("1", "10m", moved, None),
        ("2", "10m", None, moved),
    ]
    with psycopg.connect(empty) as conn:
        assert conn.execute("SELECT gbt_2260, wigos FROM station").fetchone() == ("330112", "0-20008-0-LAN")
        assert conn.execute("SELECT quantity, unit FROM channel ORDER BY id").fetchall() == [
            ("co2", "umol mol-1"),
            ("ch4", "nmol mol-1"),
        ]
        values = conn.execute("SELECT value, valid_to = 'infinity' FROM cylinder ORDER BY valid_from").fetchall()
    assert values == [(401.23, False), (401.25, True)]
    assert catalogue.apply(empty, *files(tmp_path, **ALL)).lines == []


def test_a_table_may_speak_of_what_is_in_the_catalogue(empty, tmp_path):
    catalogue.apply(empty, *files(tmp_path, **ALL))
    (path,) = files(tmp_path, more="station,instrument,port,inlet,from\nlan,g2401,3,50m,2026-05-01\n")
    done = catalogue.apply(empty, path)
    assert done.lines == ["added port lan/g2401/3"]
    # And a TOML document's port of inlets there are.
    document = {"station": [{**STATION, "instrument": [{"name": "new", "port": [{"inlet": "10m"}]}]}]}
    assert "added port lan/new/none" in catalogue.apply(empty, document).lines


STATION = {"name": "lan", "latitude": 30.3, "longitude": 119.7, "altitude": 139.0, "title": "临安", "region": "330112"}


def test_what_would_change_is_said_line_by_line_and_nothing_is_written(empty, tmp_path):
    catalogue.apply(empty, *files(tmp_path, **ALL))
    before = catalogue.export(empty)
    document = {"station": [{**STATION, "altitude": 140.0, "title": "", "wigos": "0-20008-0-LAN"}]}
    done = catalogue.apply(empty, document, dry_run=True)
    assert done.lines == ["changed station lan: title 临安 -> nothing, altitude 139.0 -> 140.0"]
    assert done.changed == ["station lan"]
    assert catalogue.export(empty) == before
    assert catalogue.apply(empty, document).lines == done.lines


def test_what_was_changed_is_kept(empty, tmp_path):
    catalogue.apply(empty, *files(tmp_path, **ALL), who="me")
    catalogue.apply(empty, {"station": [{**STATION, "wigos": "0-20008-0-LAN", "altitude": 141.0}]}, who="you")
    changes = catalogue.history(empty, "lan")
    assert [c.who for c in changes] == ["me"] * 10 + ["you"]
    assert str(changes[-1]) == "changed station lan: altitude 139.0 -> 141.0"
    assert (changes[-1].before["altitude"], changes[-1].after["altitude"]) == (139.0, 141.0)
    assert [str(c) for c in changes if "port" in c.what and c.before] == [
        "changed port lan/g2401/1 from -infinity: to infinity -> 2026-03-01T00:00:00+00:00"
    ]
    assert len(catalogue.history(empty)) == len(changes) + 3


def test_out_as_toml_and_into_another_database_it_is_the_same(empty, dsn, tmp_path):
    catalogue.apply(empty, *files(tmp_path, **ALL))
    catalogue.apply(empty, CATALOGUE)
    odd = {"name": 'say "x"\\', "species": "ch4", "value": 1900.0, "scale": "WMO CH4 X2004A"}
    catalogue.apply(empty, {"cylinder": [odd | {"to": datetime(2030, 1, 1, tzinfo=UTC)}]})
    text = catalogue.toml(catalogue.export(empty))
    migrate(dsn)
    (tmp_path / "all.toml").write_text(text)
    catalogue.apply(dsn, tmp_path / "all.toml")
    assert catalogue.export(dsn) == catalogue.export(empty)
    assert catalogue.toml(catalogue.export(dsn)) == text
    assert catalogue.apply(dsn, tmp_path / "all.toml").lines == []
    assert tomllib.loads(text)["station"][0]["name"] == "lan"


@pytest.mark.parametrize(
    ("table", "text", "sentence"),
    [
        ("stations", STATIONS.replace("30.3", "north"), "stations.csv, line 2: latitude is 'north', expected a number"),
        ("stations", STATIONS.replace("30.3", "95"), r"stations.csv, line 2: .*<= 90"),
        ("stations", STATIONS.replace("30.3", ""), "stations.csv, line 2: latitude is empty"),
        ("stations", STATIONS.replace("0-20008-0-LAN", "LAN"), r"stations.csv, line 2: .*matching regex"),
        ("stations", STATIONS.replace("330112", "990000"), "stations.csv, line 2: region '990000' is not known"),
        (
            "stations",
            STATIONS.replace("latitude", "lat"),
            r"stations.csv, line 1: columns station, lat, .*; expected",
        ),
        ("stations", b"\xff\xfe\xff\x00", "stations.csv is neither UTF-8 nor GB18030"),
        ("inlets", INLETS + "lan,5m\n", "inlets.csv, line 4: 2 cells, expected 3"),
        (
            "inlets",
            INLETS + "lam,5m,5\n",
            "inlets.csv, line 4: station 'lam' is neither in",
        ),
        ("inlets", INLETS + "lan,10m,10\n", "inlets.csv, line 4: inlet '10m' of lan is listed before"),
        ("inlets", "station,station\n", "inlets.csv, line 1: a column stands there twice"),
        (
            "ports",
            PORTS.replace("g2401,1,50m", "g2301,1,50m"),
            "ports.csv, line 2: instrument 'g2301' of 'lan'",
        ),
        ("ports", PORTS.replace("2026/3/1", "spring"), "ports.csv, line 3: from is 'spring', expected a time"),
        (
            "ports",
            PORTS.replace("1,10m", "1,7m"),
            "ports.csv, line 3: station lan has no inlet '7m' in these files or in the catalogue, it has 50m, 10m",
        ),
        (
            "channels",
            CHANNELS.replace("nmol mol-1", "ppm"),
            "channels.csv, line 3: channel 'ch4' is in 'ppm'; values are kept in 'nmol mol-1'",
        ),
        ("channels", CHANNELS.replace("ch4", "ch5"), "line 3: channel 'ch5' is no quantity; did you mean 'ch4'"),
        (
            "cylinders",
            CYLINDERS.replace("co2,401.23", "h2o,401.23"),
            "cylinders.csv, line 2: cylinder 'CB1' is for 'h2o', expected one of co2",
        ),
        ("cylinders", CYLINDERS.replace("401.23", "-1"), r"cylinders.csv, line 2: .*> 0"),
        (
            "cylinders",
            CYLINDERS.replace(",0.01,2026-01-01T06:00:00+08:00", ",0.01,"),
            r"two rows from the same time on, the value of 401.23 and the value of 401.25",
        ),
    ],
)
def test_a_row_that_is_wrong_is_named_with_its_line_and_nothing_changes(empty, tmp_path, table, text, sentence):
    with pytest.raises(CatalogueError, match=sentence):
        catalogue.apply(empty, *files(tmp_path, **{**ALL, table: text}))
    assert read.stations(empty) == []
    assert catalogue.history(empty) == []


def test_values_of_a_cylinder_that_overlap(empty):
    one = {"name": "CB1", "species": "co2", "value": 400.0, "scale": "S", "to": datetime(2027, 1, 1, tzinfo=UTC)}
    other = {"name": "CB1", "species": "co2", "value": 401.0, "scale": "S", "from": datetime(2026, 1, 1, tzinfo=UTC)}
    with pytest.raises(CatalogueError, match=r"the value of 400 holds until 2027-01-01 .*, another from 2026"):
        catalogue.apply(empty, {"cylinder": [other, one]})


def test_a_wigos_identifier_is_one_stations(empty):
    catalogue.apply(empty, {"station": [{**STATION, "wigos": "0-20008-0-LAN"}]})
    with pytest.raises(CatalogueError, match="station 'b' has the WIGOS identifier '0-20008-0-LAN' of 'lan'"):
        catalogue.apply(empty, {"station": [{**STATION, "name": "b", "wigos": "0-20008-0-LAN"}]})
    with pytest.raises(CatalogueError, match="WIGOS identifier '0-1-0-A' is listed 2 times"):
        catalogue.apply(empty, {"station": [{**STATION, "name": n, "wigos": "0-1-0-A"} for n in "cd"]})


@pytest.mark.parametrize(
    ("region", "division", "expected"),
    [
        (None, None, (None, None)),
        ("CN-ZJ", None, ("CN-ZJ", "330000")),
        ("330000", None, ("CN-ZJ", "330000")),
        ("330100", None, ("CN-ZJ", "330100")),
        ("浙江省", None, ("CN-ZJ", "330000")),
        ("CN-ZJ", "330112", ("CN-ZJ", "330112")),
        ("CN", None, ("CN", None)),
        ("SE", None, ("SE", None)),
        ("GB-ENG", None, ("GB-ENG", None)),
    ],
)
def test_regions_by_either_code(region, division, expected):
    assert region_of(region, division) == expected


NONE = [("CN-XX", None), ("990000", None), ("Atlantis", None), ("CN-ZJ", "320000")]


@pytest.mark.parametrize(("region", "division"), NONE)
def test_regions_that_are_none(region, division):
    with pytest.raises(CatalogueError, match=r"is not known|are two: the code is of CN-JS"):
        region_of(region, division)


def test_the_commands(empty, tmp_path, monkeypatch, capsys):
    def skyledger(*arguments):
        monkeypatch.setattr(sys, "argv", ["skyledger", "catalog", *map(str, arguments)])
        monkeypatch.setenv("SKYLEDGER_DSN", empty)
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return said.err.strip() if code else said.out.strip()

    paths = files(tmp_path, **ALL)
    assert skyledger("apply", *paths, "--dry-run").splitlines()[-1] == "Nothing was written: --dry-run."
    assert "added port lan/g2401/2" in skyledger("apply", *paths, "--who", "me")
    assert skyledger("apply", *paths) == "The catalogue says so already."
    shown = skyledger("show")
    assert "station lan: 30.3000, 119.7000, 139 m, 临安, CN-ZJ, 330112, 0-20008-0-LAN" in shown
    assert "    port 1: inlet 10m" in shown
    assert "port 2" not in shown  # no longer in force
    assert "cylinder CB1: co2 401.25 ± 0.01, WMO CO2 X2019" in shown
    assert "cylinder" not in skyledger("show", "lan")
    assert skyledger("show", "lam") == "skyledger: station 'lam' is not in the catalogue; it has lan"
    assert skyledger("export").startswith('[[station]]\nname = "lan"\n')
    assert "me: added station lan" in skyledger("history", "lan")


def test_documents_given_are_not_changed(empty):
    document = copy.deepcopy(CATALOGUE)
    catalogue.apply(empty, document)
    assert document == CATALOGUE
