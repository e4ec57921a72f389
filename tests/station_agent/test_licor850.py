from datetime import UTC, datetime

import pytest

from station_agent.drivers import make_parser, parse_line, read_file
from station_agent.errors import DriverError
from station_agent.sample import Mark, Rejected
from tests.station_agent.instrument_text import LI850_HEAD, li850

ZONE = {"time_zone": "+08:00"}


def parsed(lines, **options):
    """Feed lines to a new parser; return what each gave."""
    parser = make_parser("licor850", {**ZONE, **options})
    return [parser.feed(line, number=number) for number, line in enumerate(lines, 1)]


def test_a_row_is_read_by_the_names_and_units_of_its_columns():
    _, _, (sample,) = parsed([*LI850_HEAD, li850()])
    assert sample.time_ns == int(datetime(2024, 7, 1, 3, 16, 43, tzinfo=UTC).timestamp()) * 10**9
    assert sample.values == {
        "co2": 419.765,
        "h2o": pytest.approx(1.44608),
        "dew_point": 12.6817,
        "cavity_temperature": 51.4769,
        "cavity_pressure": pytest.approx(1018.01),
        "battery_voltage": 20.0,
        "flow": pytest.approx(715.74015),
    }
    assert (sample.port, sample.status) == (None, None)


@pytest.mark.parametrize(("options", "step"), [({}, 500), ({"spread_ms": 100}, 100)])
def test_two_samples_a_second_are_spread(options, step):
    _, _, (first,), (second,), (third,) = parsed(
        [*LI850_HEAD, li850(), li850(), li850("2024-07-01\t11:16:44")], **options
    )
    assert (second.time_ns - first.time_ns, third.time_ns - first.time_ns) == (step * 10**6, 10**9)
    assert [first.mark, second.mark, third.mark] == [0, Mark.SPREAD, 0]


def test_the_header_says_the_order_of_the_date():
    head = [LI850_HEAD[0], LI850_HEAD[1].replace("Y-M-D", "D-M-Y")]
    _, _, (sample,) = parsed([*head, li850("01-07-2024\t11:16:43")])
    assert sample.time_ns == int(datetime(2024, 7, 1, 3, 16, 43, tzinfo=UTC).timestamp()) * 10**9


def test_without_a_zone_an_instrument_is_refused_and_a_file_says_what_is_assumed(tmp_path, caplog):
    with pytest.raises(DriverError) as caught:
        make_parser("licor850")
    assert str(caught.value) == (
        "licor850.time_zone: missing, the file has local times without their zone; "
        "expected UTC, an offset like +08:00 or a name like Asia/Shanghai"
    )
    path = tmp_path / "li850.txt"
    path.write_text("\n".join([*LI850_HEAD, li850()]) + "\n", "utf-8")
    (sample,) = read_file(path)
    assert sample.time_ns == int(datetime(2024, 7, 1, 11, 16, 43, tzinfo=UTC).timestamp()) * 10**9
    assert "has local times without their zone, they are read as UTC" in caplog.text
    caplog.clear()
    (sample,) = read_file(path, options=ZONE)
    assert sample.time_ns == int(datetime(2024, 7, 1, 3, 16, 43, tzinfo=UTC).timestamp()) * 10**9
    assert caplog.text == ""


def test_a_local_time_that_is_twice_is_rejected():
    rejected = parsed([*LI850_HEAD, li850("2024-10-27\t02:30:00")], time_zone="Europe/Berlin")[2]
    assert "is twice or not at all in Europe/Berlin" in rejected.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (li850()[:40], "5 fields, expected 11"),
        (li850(co2="4.2e"), "column CO₂_(µmol_mol⁻¹) is '4.2e', expected a number"),
        (
            li850("2024-7-32\t11:16:43"),
            "time '2024-7-32 11:16:43' is not of the form year-month-day hours:minutes:seconds",
        ),
        (
            li850("2024-07-01\t11:16:61"),
            "time '2024-07-01 11:16:61' is not of the form year-month-day hours:minutes:seconds",
        ),
        (li850("1969-12-31\t08:00:01"), "time -86399000 ms since 1970 is out of bounds, expected 1990 to 2100"),
        (
            LI850_HEAD[1].replace("Cell_Pressure_(kPa)", "Cell_Pressure_(bar)"),
            "column Cell_Pressure_(bar): cavity_pressure cannot be in 'bar', known are hPa, mbar, kPa, Pa, torr, mmHg",
        ),
        (
            LI850_HEAD[1].replace("H₂O_(°C)", "H₂O_(mmol_mol⁻¹)"),
            "column H₂O_(mmol_mol⁻¹): h2o has a column already",
        ),
        (
            LI850_HEAD[1].replace("Y-M-D", "Y-D-M"),
            "column 'System_Date_(Y-D-M)': expected the order Y-M-D, M-D-Y or D-M-Y",
        ),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(line, reason):
    assert parsed([*LI850_HEAD, line])[2] == Rejected(3, line, reason)


def test_rows_without_a_header_are_rejected_and_read_once_corrected():
    (rejected,) = parsed([li850()])
    assert rejected.reason == "no header line (with System_Date and System_Time) stands before this row"
    (sample,) = parse_line(li850(), {"driver": "licor850", "options": ZONE, "header": LI850_HEAD[1], "line": 1})
    assert sample.values["co2"] == 419.765


def test_all_faults_of_its_options_are_named_at_once():
    with pytest.raises(DriverError) as caught:
        make_parser("licor850", {"time_zone": "Middle/Earth", "spread_ms": 0, "timezone": "UTC"})
    assert str(caught.value).split("; ") == [
        "licor850.spread_ms: got 0, expected a whole number, 1 to 60000",
        "licor850.timezone: unknown key, did you mean 'time_zone'?",
        "licor850.time_zone: got 'Middle/Earth', expected UTC, an offset like +08:00 or a name like Asia/Shanghai",
    ]
