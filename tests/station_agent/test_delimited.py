import csv
import math
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station_agent.drivers import make_parser, read_file
from station_agent.errors import DriverError
from station_agent.sample import Mark, Rejected

OPTIONS = {
    "columns": [
        {"name": "co2_ppm", "quantity": "co2", "unit": "ppm"},
        {"name": "p", "quantity": "ambient_pressure", "unit": "kPa"},
    ],
    "time": {"columns": ["when"], "format": "iso"},
}


def parsed(lines, **changes):
    """Feed lines to a new parser with some options changed; return what each gave."""
    parser = make_parser("delimited", {**OPTIONS, **changes})
    return [parser.feed(line, number=number) for number, line in enumerate(lines, 1)]


def mean(values):
    return math.fsum(values) / len(values)


# --- real files ------------------------------------------------------------------------------


def test_real_aqmesh(shared):
    path = shared / "data/instruments/aqmesh_co2.csv"
    options = {
        "columns": [{"name": "co2_ppm", "quantity": "co2", "unit": "ppm"}],
        "time": {"columns": ["date_UTC"], "format": "%Y-%m-%d %H:%M:%S", "zone": "UTC"},
        "missing": ["-999"],
    }
    rejected = []
    samples = list(read_file(path, "delimited", options=options, on_rejected=rejected.append))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # The file ends without a line end, so whether its last line is whole cannot be known.
    last = rows.pop()
    expected = [float(row["co2_ppm"]) for row in rows if row["co2_ppm"] not in ("-999", "")]
    assert [line.text for line in rejected] == [",".join(last.values())]
    assert len(samples) == len(rows) == 229
    assert [sample.values["co2"] for sample in samples if sample.values] == expected
    assert samples[0].time_ns == 1_623_805_200_000_000_000  # 2021-06-16 01:00:00


def test_real_li7810(shared):
    path = shared / "data/instruments/licor_li7810.data"
    options = {
        "separator": "\t",
        "skip_before_header": 5,
        "skip_after_header": 1,
        "columns": [
            {"name": "CO2", "quantity": "co2", "unit": "ppm"},
            {"name": "CH4", "quantity": "ch4", "unit": "ppb"},
            {"name": "H2O", "quantity": "h2o", "unit": "ppm"},
            {"name": "CAVITY_P", "quantity": "cavity_pressure", "unit": "kPa"},
        ],
        "time": {"columns": ["SECONDS", "NANOSECONDS"], "format": "unix_s_ns"},
        "status_column": "DIAG",
    }
    rejected = []
    samples = list(read_file(path, "delimited", options=options, on_rejected=rejected.append))
    lines = path.read_text("utf-8").splitlines()
    names = lines[5].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[7:]]
    co2 = [float(row["CO2"]) for row in rows if row["CO2"] != "nan"]
    assert (len(samples), rejected) == (len(rows), [])
    assert [sample.values["co2"] for sample in samples if "co2" in sample.values] == co2
    assert mean([s.values["h2o"] for s in samples]) == pytest.approx(mean([float(r["H2O"]) for r in rows]) / 1e4)
    assert samples[0].values["cavity_pressure"] == pytest.approx(396.316)
    assert (samples[0].time_ns, samples[0].status) == (1_666_884_942_313_000_000, 0)


def test_real_li850_has_two_samples_a_second(shared):
    path = shared / "data/instruments/licor_li850.txt"
    options = {
        "separator": "\t",
        "skip_before_header": 1,
        "columns": [{"name": "CO₂_(µmol_mol⁻¹)", "quantity": "co2", "unit": "umol mol-1"}],
        "time": {
            "columns": ["System_Date_(Y-M-D)", "System_Time_(h:m:s)"],
            "format": "%Y-%m-%d %H:%M:%S",
            "zone": "+08:00",
            "spread_ms": 500,
        },
    }
    rejected = []
    samples = list(read_file(path, "delimited", options=options, on_rejected=rejected.append))
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[2:]]
    assert (len(samples), rejected) == (len(rows), [])
    assert mean([s.values["co2"] for s in samples]) == pytest.approx(mean([float(row[2]) for row in rows]))
    times = [sample.time_ns for sample in samples]
    assert len(set(times)) == len(times) == 121
    assert times[:3] == [
        int(datetime(2024, 7, 1, 3, 16, 43, tzinfo=UTC).timestamp() * 1e9) + i * 500_000_000 for i in range(3)
    ]
    repeats = sum(a[:2] == b[:2] for a, b in pairwise(rows))
    assert sum(sample.mark == Mark.SPREAD for sample in samples) == repeats


# --- rules -----------------------------------------------------------------------------------


def test_a_line_is_read_by_the_names_of_its_columns():
    _, (sample,) = parsed(["p,when,co2_ppm", "101.3,2026-01-02T03:04:05.0006Z,421.5"])
    assert sample.time_ns == 1_767_323_045_001_000_000
    assert sample.values == {"co2": 421.5, "ambient_pressure": pytest.approx(1013.0)}


def test_without_a_header_the_fields_are_named_in_order():
    changes = {"header": False, "fields": ["when", "port", "co2_ppm", "p"], "separator": " ", "port_column": "port"}
    ((sample,),) = parsed(["2026-01-02T03:04:05Z  3   400   100"], **changes)
    assert (sample.values["co2"], sample.port) == (400.0, "3")


def test_quoted_fields_may_hold_the_separator():
    _, (sample,) = parsed(['"when","note","co2_ppm","p"', '"2026-01-02 03:04:05+08:00","a, b",400,"NAN"'])
    assert sample.values == {"co2": 400.0}
    assert sample.time_ns == 1_767_294_245_000_000_000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2026-01-01,400", "2 fields, expected 3"),
        ("yesterday,400,100", "time 'yesterday' is not of the form 'iso'"),
        ("2026-01-01,4_0,100", "column co2_ppm: '4_0' is not a number"),
        ("2026-01-01,inf,100", "column co2_ppm: 'inf' is not finite"),
        ("2026-01-01,400,1e308", "column p: '1e308' is too large for the unit it is sent in"),
        ("0001-01-01,400,100", "time -62135596800000 ms since 1970 is out of bounds, expected 1990 to 2100"),
        ('2026-01-01,"400,100', "the quotes in the line do not fit: unexpected end of data"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(line, reason):
    assert parsed(["when,co2_ppm,p", line])[1] == Rejected(2, line, reason)


def test_lines_before_the_header_are_rejected_unless_passed_over():
    first, header = parsed(["made by hand", "when,co2_ppm,p"])
    assert first.reason.startswith("no header line stands before this line")
    assert header is None
    assert parsed(["made by hand", "when,co2_ppm,p"], skip_before_header=1) == [None, None]


@pytest.mark.parametrize("hour", ["2026-10-25 02:30:00", "2026-03-29 02:30:00"])
def test_a_local_time_that_is_twice_or_never_is_rejected(hour):
    time = {"columns": ["when"], "format": "%Y-%m-%d %H:%M:%S", "zone": "Europe/Berlin"}
    rejected = parsed(["when,co2_ppm,p", f"{hour},400,100"], time=time)[1]
    assert "is twice or not at all in Europe/Berlin" in rejected.reason
    (sample,) = parsed(["when,co2_ppm,p", "2026-10-25 04:30:00,400,100"], time=time)[1]
    assert sample.time_ns == 1_792_899_000_000_000_000


@given(lines=st.lists(st.text(max_size=60) | st.sampled_from(["2026-01-01,400,100", "when,co2_ppm,p", '"'])))
def test_any_text_is_read_or_rejected(lines):
    for number, got in enumerate(parsed(["when,co2_ppm,p", *lines])):
        assert got is None or isinstance(got, Rejected) or len(got) == 1, number


def test_its_state_goes_on():
    lines = ["rubbish", "when,co2_ppm,p", "units", *["2026-01-01T00:00:00Z,400,100"] * 3]
    changes = {"skip_before_header": 1, "skip_after_header": 1}
    whole = parsed(lines, **changes)
    for cut in range(len(lines)):
        parser = make_parser("delimited", {**OPTIONS, **changes})
        for number, line in enumerate(lines[:cut], 1):
            parser.feed(line, number=number)
        other = make_parser("delimited", {**OPTIONS, **changes})
        other.restore(parser.state())
        assert [other.feed(line, number=number) for number, line in enumerate(lines[cut:], cut + 1)] == whole[cut:]


def test_all_faults_of_its_options_are_named_at_once():
    options = {
        "columns": [
            {"name": "a", "quantity": "c02", "unit": "ppm"},
            {"name": "b", "quantity": "co2", "unit": "hPa"},
            {"name": "c", "quantity": "co2"},
        ],
        "time": {"columns": ["t"], "format": "year", "zone": "Middle/Earth"},
        "separatr": ";",
        "header": False,
    }
    with pytest.raises(DriverError) as caught:
        make_parser("delimited", options)
    known = "mol mol-1, 10-2 mol mol-1, %, mmol mol-1, umol mol-1, ppm, nmol mol-1, ppb, pmol mol-1, ppt"
    assert str(caught.value).split("; ") == [
        "delimited.separatr: unknown key, did you mean 'separator'?",
        "delimited.columns[1]: 'c02' is no known quantity, did you mean 'co2'?",
        f"delimited.columns[2]: co2 cannot be in 'hPa', known are {known}",
        "delimited.columns[3].unit: missing",
        "delimited.fields: missing, without a header line the names of the fields in order are needed",
        "delimited.fields: 't' is used but not among the fields",
        (
            "delimited.time.format: got 'year', expected 'iso', 'unix', 'unix_ms', 'unix_s_ns', 'arrival' "
            "or codes like '%Y-%m-%d'"
        ),
        "delimited.time.zone: got 'Middle/Earth', expected UTC, an offset like +08:00 or a name like Asia/Shanghai",
    ]
