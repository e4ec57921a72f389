"""What an application leaves alone, what it refuses, and that its history stays."""

import math
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest

from ingest import catalogue, read
from ingest.catalogue.checks import region_of
from ingest.errors import CatalogueError
from ingest.migrate import migrate, migrations

STATION = {"name": "lan", "latitude": 30.3, "longitude": 119.7, "altitude": 139.0}
FULL = {**STATION, "title": "临安", "region": "330112", "wigos": "0-20008-0-LAN", "time_zone": "Asia/Shanghai"}
CYLINDER = {"name": "CB1", "species": "co2", "value": 400.0, "scale": "WMO CO2 X2019"}
CHINA = timezone(timedelta(hours=8))


def utc(*when):
    return datetime(*when, tzinfo=UTC)


def ports(*rows):
    inlets = [{"name": "50m", "height": 50.0}, {"name": "10m", "height": 10.0}]
    return {"station": [{**STATION, "inlet": inlets, "instrument": [{"name": "g2401", "port": list(rows)}]}]}


def cylinders(*rows):
    return {"cylinder": [CYLINDER | row for row in rows]}


def csv(tmp_path, text, *, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def empty(plain_dsn):
    migrate(plain_dsn)
    return plain_dsn


# --- what is not mentioned stays --------------------------------------------------------------


def test_keys_that_are_absent_leave_what_is_there(empty, tmp_path):
    device = {"name": "g2401", "model": "Picarro G2401", "serial": "CFKADS1", "driver": "picarro"}
    catalogue.apply(empty, {"station": [{**FULL, "instrument": [device]}]})
    before = catalogue.export(empty)
    assert catalogue.apply(empty, {"station": [{**STATION, "instrument": [{"name": "g2401"}]}]}).lines == []
    assert (
        catalogue.apply(empty, csv(tmp_path, "station,latitude,longitude,altitude\nlan,30.3,119.7,139\n")).lines == []
    )
    text = "station,latitude,longitude,altitude,wigos\nlan,30.3,119.7,139,\n"
    assert catalogue.apply(empty, csv(tmp_path, text)).lines == []
    assert catalogue.export(empty) == before
    changed = catalogue.apply(empty, csv(tmp_path, "station,instrument,serial\nlan,g2401,CFKADS2\n"))
    assert changed.lines == ["changed instrument lan/g2401: serial CFKADS1 -> CFKADS2"]


def test_an_empty_text_empties(empty):
    catalogue.apply(empty, {"station": [FULL]})
    done = catalogue.apply(empty, {"station": [{**STATION, "title": "", "region": "", "wigos": ""}]})
    emptied = (
        "title 临安 -> nothing, region CN-ZJ -> nothing, gbt_2260 330112 -> nothing, wigos 0-20008-0-LAN -> nothing"
    )
    assert done.lines == [f"changed station lan: {emptied}"]
    (found,) = catalogue.export(empty)["station"]
    assert found == STATION | {"time_zone": "Asia/Shanghai"}


def test_ports_alone_leave_a_station_whose_region_is_no_code(empty, tmp_path):
    """As a database of an earlier version may have it."""
    catalogue.apply(empty, ports({"port": "1", "inlet": "50m"}))
    with psycopg.connect(empty) as conn:
        conn.execute("UPDATE station SET region = 'Yangtze delta'")
    done = catalogue.apply(empty, csv(tmp_path, "station,instrument,port,inlet\nlan,g2401,2,10m\n"))
    assert done.lines == ["added port lan/g2401/2"]
    assert read.stations(empty)[0].region == "Yangtze delta"


# --- validities -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        # Their texts sort the other way round than their times.
        (
            [
                {"from": datetime(2026, 1, 1, 6, tzinfo=CHINA), "to": utc(2026, 6, 1)},
                {"value": 401.0, "from": utc(2025, 12, 31, 23)},
            ],
            "the value of 400 holds until 2026-06-01 .*, another from 2025-12-31 23:00",
        ),
        (
            [{"from": datetime(2026, 1, 1)}, {"value": 401.0, "from": utc(2026, 1, 1)}],  # noqa: DTZ001  without a zone
            "two rows from the same time on, the value of 400 and the value of 401",
        ),
        ([{"from": utc(2026, 1, 2), "to": utc(2026, 1, 1)}], "expected a `to` later than `from`"),
        ([{"from": utc(2026, 1, 1), "to": utc(2026, 1, 1)}], "expected a `to` later than `from`"),
    ],
)
def test_values_of_a_cylinder_that_cannot_be(empty, rows, sentence):
    with pytest.raises(CatalogueError, match=sentence):
        catalogue.apply(empty, cylinders(*rows))
    assert catalogue.export(empty)["cylinder"] == []


def test_rows_of_several_zones_follow_each_other(empty):
    earlier = {"value": 401.0, "from": utc(2025, 12, 31, 21), "to": utc(2025, 12, 31, 22)}
    rows = [{"from": datetime(2026, 1, 1, 6, tzinfo=CHINA)}, earlier]
    assert len(catalogue.apply(empty, cylinders(*rows)).added) == 2
    assert catalogue.apply(empty, cylinders(*rows)).lines == []
    found = [(c["value"], c["from"]) for c in catalogue.export(empty)["cylinder"]]
    assert found == [(401.0, utc(2025, 12, 31, 21)), (400.0, utc(2025, 12, 31, 22))]


def test_ports_that_overlap_are_refused(empty):
    rows = {"port": "1", "inlet": "50m", "to": utc(2027, 1, 1)}, {"port": "1", "inlet": "10m", "from": utc(2026, 1, 1)}
    with pytest.raises(CatalogueError, match=r"port '1' of lan/g2401: inlet '50m' holds until 2027.*inlet '10m'"):
        catalogue.apply(empty, ports(*rows))
    assert read.stations(empty) == []


@pytest.mark.parametrize("begin", [None, utc(2025, 1, 1)])
def test_what_overlaps_the_catalogue_is_refused_and_all_of_it_undone(empty, begin):
    catalogue.apply(empty, cylinders({"from": utc(2026, 1, 1)}))
    row = {"value": 401.0, "from": begin, "to": utc(2027, 1, 1)}
    with pytest.raises(CatalogueError, match=r"hold until 2027-01-01.*the catalogue has another from 2026-01-01"):
        catalogue.apply(empty, {"station": [STATION], **cylinders(row)})
    assert read.stations(empty) == []
    assert len(catalogue.history(empty)) == 1
    catalogue.apply(empty, cylinders(row | {"to": None}))
    first, second = catalogue.export(empty)["cylinder"]
    assert (first["value"], first["to"], second["value"]) == (401.0, second["from"], 400.0)


def test_a_port_that_draws_from_elsewhere_is_told_by_names(empty):
    catalogue.apply(empty, ports({"port": "1", "inlet": "50m"}))
    done = catalogue.apply(empty, ports({"port": "1", "inlet": "10m"}))
    assert done.lines == ["changed port lan/g2401/1: inlet 50m -> 10m"]
    assert catalogue.history(empty)[-1].before["inlet"] == "50m"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"station": [{**STATION, "inlet": [{"name": "x", "height": math.inf}]}]}, r"<= 9000.* at `\$.station\[0\]"),
        ({"station": [{**STATION, "inlet": [{"name": "x", "height": math.nan}]}]}, r"at `\$.station\[0\].inlet"),
        ({"station": [{**STATION, "wigos": "0-1-0-A\n"}]}, "matching regex"),
        ({"station": [{**STATION, "title": "a\nadded station b"}]}, "control character"),
        ({"station": [{**STATION, "gbt_2260": "33"}]}, "GB/T 2260 code '33' is not known: expected six digits"),
        (cylinders({"value": math.inf}), r"at `\$.cylinder\[0\].value`"),
        (cylinders({"value": math.nan}), r"at `\$.cylinder\[0\].value`"),
        (cylinders({"value": -1.0}), r"> 0.* at `\$.cylinder\[0\].value`"),
        (cylinders({"uncertainty": math.inf}), r"at `\$.cylinder\[0\].uncertainty`"),
        (cylinders({"scale": ""}), "length >= 1"),
        (cylinders({"name": ""}), "length >= 1"),
        (cylinders({"from": datetime.min.replace(tzinfo=CHINA)}), "is not a time in the years 1 to 9999"),
        (ports({"port": "", "inlet": "50m"}), "length >= 1"),
    ],
)
def test_what_the_database_would_refuse_is_refused_in_a_sentence(empty, document, sentence):
    with pytest.raises(CatalogueError, match=sentence):
        catalogue.apply(empty, document)
    assert catalogue.history(empty) == []


def test_a_backslash_is_no_control_character(empty):
    catalogue.apply(empty, {"station": [{**STATION, "title": r"a\u0000"}]})
    assert read.stations(empty)[0].title == r"a\u0000"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("station,inlet,height\nlan,5m,5\nlan,6m,inf\n", r"table.csv, line 3: .*<= 9000"),
        ("station,latitude,longitude,altitude,region\nb,1,2,3,CN-ZK\n", r"line 2: region 'CN-ZK' .* Is Zhejiang"),
        ("cylinder,species,value,scale,from,to\nC,co2,1,S,2026-02-01,2026-01-01\n", r"line 2: .* later than `from`"),
        ("cylinder,species,value,scale\nC,co2,1,S\nC,co2,2,S\n", r"cylinder 'C' \(co2\) has two rows from the same"),
        ("station,latitude,longitude,altitude\nb,1,2,3\nb,1,2,3\n", "line 3: station 'b' is listed before"),
        ("station,instrument,port,inlet\nlan,g2401,1,60m\n", "line 2: station lan has no inlet '60m' .* 10m, 50m"),
        ('station,inlet,height\nlan,"x,1\n', "table.csv, line 2: unexpected end of data"),
    ],
)
def test_a_row_that_is_wrong_is_told_with_its_line(empty, tmp_path, text, sentence):
    catalogue.apply(empty, ports())
    before = catalogue.export(empty)
    with pytest.raises(CatalogueError, match=sentence):
        catalogue.apply(empty, csv(tmp_path, text))
    assert catalogue.export(empty) == before


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_as_a_spreadsheet_leaves_it(empty, tmp_path, encoding):
    text = "Station;Latitude;Longitude;Altitude;Title;;\r\nlan;30,3;119.7;139;临安;;\r\n;;;;;;\r\n"
    with pytest.raises(CatalogueError, match="line 2: latitude is '30,3', expected a number"):
        catalogue.apply(empty, csv(tmp_path, text, encoding=encoding))
    catalogue.apply(empty, csv(tmp_path, text.replace("30,3", "30.3"), encoding=encoding))
    assert read.stations(empty)[0].title == "临安"


def test_a_document_with_a_byte_order_mark_is_read(empty, tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes('[[station]]\nname="a"\nlatitude=1\nlongitude=2\naltitude=3\n'.encode("utf-8-sig"))
    assert catalogue.apply(empty, path).lines == ["added station a"]


@pytest.mark.parametrize(
    ("region", "division", "sentence"),
    [
        ("SE", "330000", "are two: the code is of CN-ZJ"),
        ("CN-JS", "330000", "are two: the code is of CN-ZJ"),
        ("340000", "330000", "are two: give one of them"),
        ("330100", "330200", "are two: give one of them"),
        (None, "33abcd", "expected six digits"),
        ("CN-ZJX", None, "Is Zhejiang"),
    ],
)
def test_codes_that_contradict_each_other(region, division, sentence):
    with pytest.raises(CatalogueError, match=sentence):
        region_of(region, division)


# --- WIGOS identifiers and the history --------------------------------------------------------


def test_stations_exchange_their_wigos_identifiers(store):
    a, b = {**STATION, "name": "a"}, {**STATION, "name": "b"}
    catalogue.apply(store, {"station": [a | {"wigos": "0-1-0-A"}, b | {"wigos": "0-1-0-B"}]})
    done = catalogue.apply(store, {"station": [a | {"wigos": "0-1-0-B"}, b | {"wigos": "0-1-0-A"}]})
    assert done.lines == [
        "changed station a: wigos 0-1-0-A -> 0-1-0-B",
        "changed station b: wigos 0-1-0-B -> 0-1-0-A",
    ]
    # A station of the document that does not mention its own keeps it.
    with pytest.raises(CatalogueError, match="station 'c' has the WIGOS identifier '0-1-0-B' of 'a'"):
        catalogue.apply(store, {"station": [a, {**STATION, "name": "c", "wigos": "0-1-0-B"}]})


def test_the_history_is_never_rewritten(store):
    catalogue.apply(store, {"station": [STATION]}, who="me")
    with psycopg.connect(store, autocommit=True) as conn:
        for change in ("UPDATE catalogue_change SET who = 'x'", "DELETE FROM catalogue_change"):
            with pytest.raises(psycopg.errors.RaiseException, match="never changed or deleted"):
                conn.execute(change)
    assert catalogue.history(store, "lan")[-1].who == "me"


def test_a_catalogue_of_an_earlier_version_is_upgraded(plain_dsn):
    migrate(plain_dsn, steps=[step for step in migrations() if step.version < 11])
    with psycopg.connect(plain_dsn) as conn:
        conn.execute(
            "INSERT INTO station (name, latitude, longitude, altitude, wigos) VALUES ('lan', 1, 2, 3, '0-1-0-A')"
        )
        conn.execute("INSERT INTO catalogue_change (who, what, after) VALUES ('me', 'station lan', '{}')")
    migrate(plain_dsn)
    assert catalogue.apply(plain_dsn, {"station": [STATION | {"latitude": 1.0}]}).changed == ["station lan"]
    assert str(catalogue.history(plain_dsn)[0]) == "added station lan"
