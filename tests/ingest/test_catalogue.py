import copy
import tomllib
from datetime import UTC, datetime

import pytest

from ingest import catalogue, read
from ingest.errors import CatalogueError
from tests.ingest.payloads import CATALOGUE


def test_applied_twice_changes_nothing(plain_store):
    again = catalogue.apply(plain_store, CATALOGUE)
    assert (again.added, again.changed) == ([], [])
    station = read.stations(plain_store)[0]
    assert (station.name, station.latitude, station.altitude, station.region) == ("lin-an", 30.3, 139.0, "CN-ZJ")
    assert [(inlet.name, inlet.height) for inlet in station.inlets] == [("10m", 10.0), ("50m", 50.0)]
    assert [i.name for i in station.instruments] == ["g2301", "li850"]
    assert [(p.port, p.inlet) for p in station.instruments[0].ports] == [("1", "50m"), ("10", "10m")]
    assert [(p.port, p.inlet, p.start, p.end) for p in station.instruments[1].ports] == [(None, "10m", None, None)]


def test_what_differs_is_changed_and_said(plain_store):
    document = copy.deepcopy(CATALOGUE)
    document["station"][0]["altitude"] = 140.0
    document["station"][0]["instrument"][0]["serial"] = "CFADS2301"
    done = catalogue.apply(plain_store, document)
    assert (done.added, done.changed) == ([], ["station lin-an", "instrument lin-an/g2301"])
    assert read.stations(plain_store)[0].altitude == 140.0


def test_a_port_that_moves_keeps_what_held_before(plain_store, tmp_path):
    file = tmp_path / "catalogue.toml"
    file.write_text(
        """
        [[station]]
        name = "lin-an"
        latitude = 30.3
        longitude = 119.7
        altitude = 139
        title = "Lin-An"
        region = "CN-ZJ"
        inlet = [{ name = "50m", height = 50 }, { name = "10m", height = 10 }]
        [[station.instrument]]
        name = "g2301"
        model = "Picarro G2301"
        driver = "picarro"
        port = [{ port = "1", inlet = "50m" }, { port = "1", inlet = "10m", from = 2026-03-01 }]
        [[cylinder]]
        name = "CB09947"
        species = "co2"
        value = 401.23
        scale = "WMO CO2 X2019"
        """
    )
    assert catalogue.apply(plain_store, file).added == ["port lin-an/g2301/1", "cylinder CB09947 (co2)"]
    again = catalogue.apply(plain_store, file)
    assert (again.added, again.changed) == ([], [])
    moved = datetime(2026, 3, 1, tzinfo=UTC)
    expected = [("1", "50m", None, moved), ("1", "10m", moved, None), ("10", "10m", None, None)]
    assert [(p.port, p.inlet, p.start, p.end) for p in read.stations(plain_store)[0].instruments[0].ports] == expected
    catalogue.apply(plain_store, CATALOGUE)  # which knows nothing of the move
    assert [(p.port, p.inlet, p.start, p.end) for p in read.stations(plain_store)[0].instruments[0].ports] == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("latitud = 3", r"unknown field `latitud` - at `\$.station\[0\]`; did you mean 'latitude'"),
        ("title = 3", r"Expected `str`, got `int` - at `\$.station\[0\].title`"),
        ("latitude = 91", r"<= 90"),
        ('name = "Lin An"', r"matching regex"),
        ('name = "a"\ninlet=[{name="x", height=1},{name="x", height=2}]', "inlet of a 'x' is listed 2 times"),
        (
            'name = "a"\ninstrument=[{name="i", port=[{port="1", inlet="y"}]}]',
            "port '1' of a/i draws from inlet 'y', which the document does not list",
        ),
        ('title = "a\\u0000"', "NUL"),
    ],
)
def test_a_wrong_document_is_refused_in_a_sentence_and_changes_nothing(plain_store, change, sentence):
    base = {"name": "a", "latitude": 1.0, "longitude": 2.0, "altitude": 3.0}
    document = {"station": [base | tomllib.loads(change)]}
    with pytest.raises(CatalogueError, match=sentence):
        catalogue.apply(plain_store, document)
    assert len(read.stations(plain_store)) == 3


def test_a_file_that_is_no_toml_is_named(plain_store, tmp_path):
    (tmp_path / "c.toml").write_text("[[station]\n")
    with pytest.raises(CatalogueError, match=r"c.toml cannot be read: .*line 1"):
        catalogue.apply(plain_store, tmp_path / "c.toml")
