"""Every real instrument file: what is in it, read the plain way and by its driver; and the same files damaged."""

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station_agent.drivers import make_parser, read_file, recognise
from station_agent.drivers.lines import LineStream
from tests.station_agent.instrument_text import SIGNATURE, SIGNATURE_END

TORR = 101_325 / 76_000
TIME = "%Y-%m-%d %H:%M:%S"
AQMESH = {
    "columns": [{"name": "co2_ppm", "quantity": "co2", "unit": "ppm"}],
    "time": {"columns": ["date_UTC"], "format": TIME, "zone": "UTC"},
    "missing": ["-999"],
}
LI850 = {
    "co2": ("CO₂_(µmol_mol⁻¹)", 1),
    "h2o": ("H₂O_(mmol_mol⁻¹)", 0.1),
    "dew_point": ("H₂O_(°C)", 1),
    "cavity_temperature": ("Cell_Temperature_(°C)", 1),
    "cavity_pressure": ("Cell_Pressure_(kPa)", 10),
    "battery_voltage": ("Input_Voltage_(V)", 1),
    "flow": ("Flow_Rate_(L_min⁻¹)", 1000),
}
LI78 = {
    "h2o": ("H2O", 1e-4),
    "cavity_pressure": ("CAVITY_P", 10),
    "cavity_temperature": ("CAVITY_T", 1),
    "box_temperature": ("THERMAL_ENCLOSURE_T", 1),
    "battery_voltage": ("INPUT_VOLTAGE", 1),
}
G2301 = {
    "co2": ("CO2", 1, 1),
    "ch4": ("CH4", 1000, 2),
    "h2o": ("H2O", 1, 3),
    "h2o_reported": ("h2o_reported", 1, 3),
    "co2_dry": ("CO2_dry", 1, 3),
    "ch4_dry": ("CH4_dry", 1000, 3),
}
G4301 = {
    "co2": ("CO2", 1),
    "ch4": ("CH4", 1000),
    "h2o": ("H2O", 1),
    "co2_dry": ("CO2_dry", 1),
    "ch4_dry": ("CH4_dry", 1000),
    "cavity_pressure": ("CavityPressure", TORR),
    "cavity_temperature": ("CavityTemp", 1),
    "battery_voltage": ("Battery_Voltage", 1),
}
LGR = {
    "ch4": ("[CH4]_ppm", 1000),
    "h2o": ("[H2O]_ppm", 1e-4),
    "co2": ("[CO2]_ppm", 1),
    "ch4_dry": ("[CH4]d_ppm", 1000),
    "co2_dry": ("[CO2]d_ppm", 1),
    "cavity_pressure": ("GasP_torr", TORR),
    "cavity_temperature": ("GasT_C", 1),
    "ambient_temperature": ("AmbT_C", 1),
}


@dataclass(frozen=True)
class Case:
    """What one file has: rows, lines without data, (column, factor, species) of each quantity."""

    name: str
    driver: str
    samples: int
    silent: int
    columns: dict
    rejected: int = 0
    options: dict = field(default_factory=dict)
    statuses: dict = field(default_factory=lambda: {None: ...})
    ports: tuple = (None,)

    def __str__(self):
        return self.name


CASES = [
    Case("aqmesh_co2.csv", "delimited", 229, 1, {"co2": ("co2_ppm", 1)}, 1, AQMESH),
    Case(
        "campbell_toa5.dat",
        "campbell",
        347,
        4,
        {
            "ambient_pressure": ("Pressure_Avg", 10),
            "battery_voltage": ("batt_Avg", 1),
            "box_temperature": ("pan_temp_Avg", 1),
        },
    ),
    Case("lgr_ugga.csv", "lgr", 51, 2, LGR, 0, {"date_order": "mdy"}, {3: 51}, ("0",)),
    Case("licor_li7810.data", "licor", 507, 7, {**LI78, "co2": ("CO2", 1), "ch4": ("CH4", 1)}, statuses={0: 507}),
    Case(
        "licor_li7820_n2o.data",
        "licor",
        501,
        7,
        {**LI78, "n2o": ("N2O", 1)},
        statuses={16: 212, 18: 28, 19: 4, 80: 257},
    ),
    Case("licor_li850.txt", "licor850", 121, 2, LI850, 0, {"time_zone": "UTC"}),
    Case("picarro_g2301.dat", "picarro", 11, 1, G2301, statuses={963: 11}, ports=("10",)),
    Case(
        "picarro_g2301_hour.dat",
        "picarro",
        3618,
        1,
        G2301,
        statuses={963: 3618},
        ports=("1", "10", "11", "13", "14", "16", "6", "moving"),
    ),
    Case("picarro_g4301.dat", "picarro", 712, 1, G4301, statuses={899: 712}),
]
each = pytest.mark.parametrize("case", CASES, ids=str)


# --- as they are -------------------------------------------------------------------------------


def table(case, path):
    """Read a file the plain way: list of {column: text}."""
    text = path.read_text("utf-8")
    lines = text.split("\n")
    if case.driver == "picarro":
        rows = [line.split() for line in lines if line.strip()]
    elif case.driver == "campbell":
        rows = list(csv.reader(text.splitlines()[1:]))
        del rows[1:3]
    elif case.driver == "lgr":
        rows = [[cell.strip() for cell in line.split(",")] for line in lines[1:] if line]
    elif case.driver == "delimited":
        rows = list(csv.reader(text.splitlines()))[: -case.rejected]
    else:
        start = {"licor": 5, "licor850": 1}[case.driver]
        rows = [line.rstrip("\r").split("\t") for line in lines[start:] if line]
        del rows[1 : 2 if case.driver == "licor" else 1]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def seconds(case, row):
    """Return the time of a row, s since 1970."""
    if case.driver == "picarro":
        return float(row["EPOCH_TIME"])
    if case.driver == "licor":
        return int(row["SECONDS"]) + int(row["NANOSECONDS"]) / 1e9
    form, text = {
        "delimited": (TIME, row.get("date_UTC")),
        "campbell": (TIME, row.get("TIMESTAMP")),
        "lgr": ("%m/%d/%Y %H:%M:%S.%f", row.get("Time")),
        "licor850": (TIME, f"{row.get('System_Date_(Y-M-D)')} {row.get('System_Time_(h:m:s)')}"),
    }[case.driver]
    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()


@each
def test_a_real_file_has_its_rows_its_means_its_times_ports_and_statuses(shared, case):
    path = shared / "data/instruments" / case.name
    rejected = []
    driver = "auto" if case.driver != "delimited" else case.driver
    samples = list(read_file(path, driver, options=case.options, on_rejected=rejected.append))
    rows = table(case, path)
    assert (len(samples), len(rejected)) == (case.samples, case.rejected) == (len(rows), case.rejected)
    lines = path.read_bytes().split(b"\n")
    assert len(samples) + len(rejected) + case.silent == len(lines) - (not lines[-1])
    assert set().union(*(sample.values for sample in samples)) == set(case.columns)
    for quantity, (column, factor, *species) in case.columns.items():
        texts = [row[column] if not species or float(row["species"]) == species[0] else "nan" for row in rows]
        expected = np.array([np.nan if text == "-999" else float(text) for text in texts]) * factor
        got = np.array([sample.values.get(quantity, np.nan) for sample in samples])
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        assert np.nanmean(got) == pytest.approx(np.nanmean(expected), rel=1e-9)
    # Of equal stamps the first stands where the instrument put it.
    raw = [seconds(case, row) for row in rows]
    firsts = [next(members)[0] for _, members in groupby(enumerate(raw), key=lambda entry: entry[1])]
    assert [samples[i].time_ns / 1e9 for i in firsts] == pytest.approx([raw[i] for i in firsts], abs=0.00051)
    assert [i for i, sample in enumerate(samples) if not sample.mark] == firsts
    statuses = Counter(sample.status for sample in samples)
    assert statuses == ({None: case.samples} if None in case.statuses else case.statuses)
    assert sorted({sample.port for sample in samples}, key=str) == list(case.ports)


@pytest.mark.parametrize("case", [case for case in CASES if case.driver != "delimited"], ids=str)
def test_a_real_file_is_recognised(shared, case):
    assert recognise(shared / "data/instruments" / case.name) == case.driver


# --- damaged -----------------------------------------------------------------------------------


@cache
def excerpt(path, driver):
    """Return the beginning of a real file: its header and some rows; of an LGR also a signature."""
    lines = path.read_bytes().split(b"\n")[: 5 if driver == "lgr" else 16]
    if driver == "lgr":
        lines += [line.encode() for line in (*SIGNATURE, SIGNATURE_END)]
    return b"\n".join(lines) + b"\n"


@st.composite
def damage(draw):
    """Return a function that damages data: flips bytes, doubles lines, puts rubbish in, cuts the end off."""
    flips = draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
    inserts = draw(st.lists(st.tuples(st.integers(0, 100), st.none() | st.binary(max_size=120)), max_size=3))
    cut = draw(st.none() | st.integers(0, 10**6))

    def apply(base):
        data = bytearray(base)
        for at, byte in flips:
            data[at % len(data)] = byte
        lines = bytes(data).split(b"\n")
        for at, new in inserts:
            lines.insert(at % len(lines), lines[at % len(lines)] if new is None else new)
        joined = b"\n".join(lines)
        return joined if cut is None else joined[: cut % (len(joined) + 1)]

    return apply


HEADERS = {
    "picarro": r".*EPOCH_TIME",
    "licor": r"DATAH\t|DATAU\t|(Model|SN|Software Version|Timestamp|Timezone):\t",
    "licor850": r'System_Date_|\s*"?\d{4}-\d\d-\d\d at ',
    "campbell": r'\s*"?(TOA5|TOACI1)"?,',
    "lgr": r"VC:|.*\]d?_pp|\s*-----BEGIN PGP",
    "delimited": r".*co2_ppm",
}
"""Lines that say how to read the others; those of Campbell and a signature go on for some lines."""


def is_silent(driver, line, before):
    """Whether a line may pass without a sample: blank, or it says how to read the others."""
    if not line.strip() or re.match(HEADERS[driver], line):
        return True
    if driver == "campbell":
        return any(re.match(HEADERS[driver], earlier) for earlier in before[-3:])
    return driver == "lgr" and any(earlier.strip().startswith("-----BEGIN PGP") for earlier in before)


def singly(case, data):
    """Feed the lines one by one; return samples and rejections, having looked at each line that gave neither."""
    stream, samples, rejected, before = LineStream(make_parser(case.driver, case.options)), [], [], []
    *lines, tail = data.split(b"\n")
    for raw in lines:
        used, got = stream.feed(raw + b"\n")
        assert (used, got.lines, len(got.samples) + len(got.asides) <= 1) == (len(raw) + 1, 1, True)
        text = raw.decode(errors="replace").removesuffix("\r")
        if not got.samples and not got.asides:
            assert is_silent(case.driver, text, before), text
        if text.strip() and not got.asides:
            before.append(text)
        samples += got.samples
        rejected += [aside.rejected for aside in got.asides]
    rejected += [aside.rejected for aside in stream.finish(tail).asides]
    assert stream.line == len(lines) + bool(tail)
    return samples, rejected


def in_pieces(case, data, cuts):
    """Feed bytes in pieces, through a restart at every cut; return samples and rejections."""
    stream, samples, rejected, tail = LineStream(make_parser(case.driver, case.options)), [], [], b""
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        tail += data[begin:end]
        used, got = stream.feed(tail)
        tail = tail[used:]
        samples += got.samples
        rejected += [aside.rejected for aside in got.asides]
        parser = make_parser(case.driver, case.options)
        parser.restore(json.loads(json.dumps(stream.parser.state())))
        stream = LineStream(parser, line=stream.line, skipping=stream.skipping)
    rejected += [aside.rejected for aside in stream.finish(tail).asides]
    return samples, rejected


@each
@settings(max_examples=150)
@given(apply=damage(), places=st.lists(st.floats(0, 1), max_size=8))
def test_read_and_kept_aside_are_all_lines_however_damaged_and_however_they_come(shared, case, apply, places):
    data = apply(excerpt(shared / "data/instruments" / case.name, case.driver))
    samples, rejected = singly(case, data)
    for sample in samples:
        assert all(np.isfinite(value) for value in sample.values.values())
        assert 631_152_000 * 10**9 <= sample.time_ns < 4_102_444_800 * 10**9
        assert sample.port is None or sample.port.isprintable()
    cuts = sorted(round(place * len(data)) for place in places)
    assert in_pieces(case, data, []) == (samples, rejected)
    assert in_pieces(case, data, cuts) == (samples, rejected)


@each
def test_a_whole_file_in_small_pieces_with_restarts_is_the_same(shared, case):
    data = (shared / "data/instruments" / case.name).read_bytes()
    whole = in_pieces(case, data, [])
    assert (len(whole[0]), len(whole[1])) == (case.samples, case.rejected)
    assert in_pieces(case, data, list(range(0, len(data), len(data) // 97 + 1))) == whole


@each
def test_cut_anywhere_the_lines_before_are_read_and_the_last_is_kept_aside(shared, case):
    base = excerpt(shared / "data/instruments" / case.name, case.driver)
    for end in range(0, len(base), 7):
        data = base[:end]
        samples, rejected = singly(case, data)
        assert len(rejected) == bool(data and not data.endswith(b"\n"))
        assert samples == in_pieces(case, base, [])[0][: len(samples)]


@each
@given(lines=st.lists(st.text(max_size=60) | st.text('",\t:;-_ 0123456789.eE\r\0', max_size=40), max_size=20))
def test_any_text_is_read_or_rejected(shared, case, lines):
    head = excerpt(shared / "data/instruments" / case.name, case.driver)
    text = "\n".join(lines).encode("utf-8", "replace") + b"\n"
    singly(case, head + text)
    singly(case, text + head)
