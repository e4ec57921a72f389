import math

import pytest

from qc.configuration import Config, Method
from qc.errors import ConfigError
from qc.flags import Flag

TOML = """
station = "lin-an"
inlet = "50m"
inlet_height = 50.0
latitude = 30.3
longitude = 119.7
altitude = 139
instrument = "g2301"
model = "Picarro G2301"
ports = ["1", "10"]
flush_seconds = 120
min_minutes = 4

[species.co2]
scale = "WMO CO2 X2019"
water = {model = "picarro_g2301"}
range = {bad = [300, 1000], suspect = [380, 700]}
u_cmr = 0.03
u_shared = {scale = 0.02, ltr = 0.03}

[species.ch4]
scale = "WMO CH4 X2004A"
water = {a = -0.0098, b = -2e-4, humidity = "h2o", max_gap_seconds = 10}
min_values = 3

[[rule]]
model = "Picarro*"
quantity = "cavity_pressure_torr"
min = 139.6
max = 140.4
flag = "suspect"

[attributes]
institution = "Academy"
"""


def test_toml(tmp_path):
    path = tmp_path / "series.toml"
    path.write_text(TOML, encoding="utf-8")
    config = Config.load(path)
    co2, ch4 = config.gases
    assert (config.station, config.altitude, config.ports, config.min_minutes) == ("lin-an", 139.0, ("1", "10"), 4)
    assert (co2.name, co2.water.a, co2.water.humidity, co2.range.bad) == ("co2", -0.012, "h2o_reported", (300, 1000))
    assert co2.u_shared == pytest.approx(math.hypot(0.02, 0.03))
    assert (ch4.water.method, ch4.water.humidity, ch4.min_values) == (Method.FORMULA, "h2o", 3)
    assert math.isnan(ch4.u_cmr)
    assert math.isnan(ch4.u_shared)
    assert config.rules[0].flag == Flag.SUSPECT
    assert config.attributes == (("institution", "Academy"),)
    assert config.margin_seconds == 900 + 120


def test_digest_is_of_the_content(document):
    one = Config.from_dict(document)
    turned = Config.from_dict(dict(reversed(document.items())))
    assert one.digest == turned.digest
    assert len(one.digest) == 32
    document["flush_seconds"] = 1
    assert Config.from_dict(document).digest != one.digest


def test_the_document_is_not_changed(document):
    before = repr(document)
    Config.from_dict(document)
    assert repr(document) == before


@pytest.mark.parametrize("method", ["instrument", "none"])
def test_water_without_formula(document, method):
    document["species"]["co2"]["water"] = {"method": method}
    assert Config.from_dict(document).gases[0].water.method == method


def test_all_faults_come_at_once_with_the_nearest_key(document):
    del document["station"]
    document |= {"flush_second": 1, "latitude": 91, "inlet_height": True, "ports": [1], "min_minutes": 0}
    document["attributes"] = {"institution": 1}
    document["species"] = {
        "co2": {"scale": " ", "water": {"modell": "x"}, "range": {"bad": [2, 1]}, "u_shared": {"ltr": -1}},
        "ch4": {"scale": "WMO CH4 X2004A", "water": {"model": "picarro_g2310"}, "min_values": 1.5},
        "n2o": {"scale": "x", "water": {"method": "guess"}},
        "co_2": {},
    }
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(document, where="series.toml")
    text = str(caught.value)
    expected = (
        "series.toml.station: is missing, expected a text",
        "series.toml.flush_second: is not known, did you mean 'flush_seconds'?",
        "series.toml.latitude: is 91, expected a number from -90 to 90",
        "series.toml.inlet_height: is True, expected a number of at least 0",
        "series.toml.ports: holds 1, expected texts only",
        "series.toml.min_minutes: is 0, expected a whole number of at least 1",
        "series.toml.attributes.institution: is 1, expected a text",
        "series.toml.species.co2.scale: is ' ', expected a text",
        "series.toml.species.co2.water.modell: is not known, did you mean 'model'?",
        "series.toml.species.co2.water.model: is missing: name one of picarro_g2301, picarro_g4301, or give a, b",
        "series.toml.species.co2.range.bad: is [2, 1], expected [low, high] with low < high",
        "series.toml.species.co2.u_shared.ltr: is -1, expected a number of at least 0",
        "series.toml.species.ch4.water.model: is 'picarro_g2310'",
        "did you mean 'picarro_g2301'?",
        "series.toml.species.ch4.min_values: is 1.5, expected a whole number",
        "series.toml.species.n2o.water.method: is 'guess', expected one of formula, instrument, none",
        "series.toml.species.co_2: is not known, did you mean 'co2'?",
    )
    for words in expected:
        assert words in text, (words, text)


@pytest.mark.parametrize("species", [{}, "co2", None])
def test_a_series_needs_a_gas(document, species):
    document["species"] = species
    with pytest.raises(ConfigError, match="species"):
        Config.from_dict(document)


def test_a_document_that_is_no_table():
    with pytest.raises(ConfigError, match=r"configuration: is \[\], expected a table"):
        Config.from_dict([])
