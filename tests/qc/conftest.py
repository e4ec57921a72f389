"""What the tests of qc share: one configuration, and the real G2301 hour read by a reader of its own."""

import math

import pytest
from hypothesis import settings

from qc.pipeline import Config
from tests.strategies import dataset

# How long an example takes says nothing on a machine others use as well.
settings.register_profile("unhurried", deadline=None, max_examples=60)
settings.load_profile("unhurried")

DOCUMENT = {
    "station": "abc",
    "inlet": "50m",
    "inlet_height": 50.0,
    "latitude": 30.3,
    "longitude": 119.7,
    "altitude": 139.0,
    "instrument": "g2301",
    "model": "Picarro G2301",
    "ports": ["10"],
    "species": {"co2": {"scale": "WMO CO2 X2019", "water": {"model": "picarro_g2301"}}},
}


@pytest.fixture
def document():
    """A configuration that is right, to be changed."""
    return {**DOCUMENT, "species": {"co2": dict(DOCUMENT["species"]["co2"])}}


@pytest.fixture
def config(document):
    return Config.from_dict(document)


@pytest.fixture(scope="session")
def g2301_rows(shared):
    """The rows of the real G2301 hour as dicts of text, as they stand in the file."""
    path = shared / "data" / "instruments" / "picarro_g2301_hour.dat"
    header, *lines = path.read_text(encoding="ascii").splitlines()
    return [dict(zip(header.split(), line.split(), strict=True)) for line in lines]


@pytest.fixture(scope="session")
def g2301(g2301_rows):
    """The real G2301 hour as READINGS: a gas only on its own rows."""
    species = {"CO2": "1.0", "CH4": "2.0", "CO2_dry": "3.0", "CH4_dry": "3.0", "H2O": "3.0", "h2o_reported": "3.0"}

    def column(name):
        own = float(species[name])
        factor = 1000.0 if name.startswith("CH4") else 1.0
        return [factor * float(row[name]) if float(row["species"]) == own else math.nan for row in g2301_rows]

    positions = [float(row["MPVPosition"]) for row in g2301_rows]
    return dataset(
        [round(float(row["EPOCH_TIME"]) * 1000) for row in g2301_rows],
        {name.lower(): column(name) for name in species},
        port=[str(int(p)) if p == int(p) else "moving" for p in positions],
        status=[float(row["INST_STATUS"]) for row in g2301_rows],
    )
