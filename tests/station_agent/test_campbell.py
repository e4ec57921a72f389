from datetime import UTC, datetime

import pytest

from station_agent.drivers import make_parser, parse_line, read_file
from station_agent.errors import DriverError
from station_agent.sample import Rejected
from tests.station_agent.instrument_text import TOA5_HEAD, TOACI1_HEAD, toa5

AIR = {"name": "AirTC_Avg", "quantity": "ambient_temperature"}


def parsed(lines, **options):
    """Feed lines to a new parser; return what each gave."""
    parser = make_parser("campbell", options)
    return [parser.feed(line, number=number) for number, line in enumerate(lines, 1)]


def ns(*moment):
    """Return a time in UTC as ns since 1970."""
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000) * 10**6


def test_columns_are_what_the_configuration_says_in_the_units_of_the_table():
    columns = [AIR, {"name": "BP_Avg", "quantity": "cavity_pressure"}]
    *head, (sample,) = parsed([*TOA5_HEAD, toa5()], columns=columns, port_column="port", status_column="RECORD")
    assert head == [None] * 4
    assert sample.values == {"ambient_temperature": 12.5, "cavity_pressure": 985.0}
    assert (sample.time_ns, sample.port, sample.status) == (ns(2024, 7, 1, 11, 16, 43), "inlet 1, top", 6466)


def test_a_columns_own_unit_goes_before_that_of_the_table():
    columns = [{"name": "CO2_Avg", "quantity": "co2", "unit": "ppm"}]
    assert parsed([*TOA5_HEAD, toa5()], columns=columns)[-1][0].values == {"co2": 15.58532}


def test_without_columns_well_known_ones_are_sent_and_nothing_ambiguous():
    # CO2 in mol m-3 is no mole fraction, a maximum is no mean, and RH is NAN in the row.
    assert parsed([*TOA5_HEAD, toa5()])[-1][0].values == {"ambient_temperature": 12.5, "ambient_pressure": 985.0}
    twice = [line.replace("RH", "AirT_C").replace('"%"', '"C"') for line in TOA5_HEAD]
    twice[1] = twice[1].replace("AirT_C", "AirT")
    assert parsed([*twice, toa5()])[-1][0].values == {"ambient_pressure": 985.0}


def test_a_toaci1_table_has_two_header_lines_and_needs_units():
    row = '"2024-07-01 11:16:43.5",18002,12.5,985'
    *head, (sample,) = parsed([*TOACI1_HEAD, row], columns=[{**AIR, "name": "AirTC_AVG", "unit": "°C"}])
    assert head == [None, None]
    assert (sample.time_ns, sample.values) == (ns(2024, 7, 1, 11, 16, 43, 500_000), {"ambient_temperature": 12.5})
    _, rejected, row_too = parsed([*TOACI1_HEAD, row], columns=[{**AIR, "name": "AirTC_AVG"}])
    assert rejected.reason == "column AirTC_AVG has no unit in the table; say it: unit = 'degC'"
    assert isinstance(row_too, Rejected)


def test_the_loggers_clock_may_be_in_another_zone():
    (sample,) = parsed([*TOA5_HEAD, toa5()], time_zone="+08:00")[-1]
    assert sample.time_ns == ns(2024, 7, 1, 3, 16, 43)


def test_nan_is_missing():
    assert parsed([*TOA5_HEAD, toa5(air='"NAN"', port='"NAN"')], port_column="port")[-1][0].port is None
    assert parsed([*TOA5_HEAD, toa5(air='"NAN"')])[-1][0].values == {"ambient_pressure": 985.0}
    assert parsed([*TOA5_HEAD, toa5(air='"-INF"')])[-1][0].values == {"ambient_pressure": 985.0}


@pytest.mark.parametrize(
    ("at", "line", "reason"),
    [
        (1, '"RECORD","RH"', "the line of names has no column TIMESTAMP or TMSTAMP: its rows have no time"),
        (
            1,
            '"TIMESTAMP","port","AirTC_Avrg"',
            "the line of names has no column 'AirTC_Avg', did you mean 'AirTC_Avrg'?",
        ),
        (1, '"TIMESTAMP","port"', "the line of names has no column 'AirTC_Avg', there are TIMESTAMP, port"),
        (2, '"TS","RN"', "2 fields, expected 8"),
        (3, '"",""', "2 fields, expected 8"),
        (4, toa5()[:60], "6 fields, expected 8"),
        (4, toa5()[:15], "the quotes in the line do not fit: unexpected end of data"),
        (4, toa5(air="x"), "column AirTC_Avg is 'x', expected a number"),
        (4, toa5("yesterday"), "time 'yesterday' is not of the form year-month-day hours:minutes:seconds"),
        (4, toa5("1989-07-01 00:00:00"), "time 615254400000 ms since 1970 is out of bounds, expected 1990 to 2100"),
        (4, toa5(port='"\x07"'), "port '\\x07' is not a name of up to 64 printable characters"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(at, line, reason):
    lines = [*TOA5_HEAD[:at], line]
    assert parsed(lines, columns=[AIR], port_column="port")[at] == Rejected(at + 1, line, reason)


def test_what_cannot_be_sent_says_what_there_is():
    units = TOA5_HEAD[2].replace("Deg C", "mol m-3").replace("kPa", "").replace("%", "bar")
    *_, rejected, row = parsed([*TOA5_HEAD[:2], units, TOA5_HEAD[3], toa5()])
    assert rejected.reason == (
        'no column is known by its name and unit, say which is what: columns = [{ name = "CO2", quantity = "co2", '
        'unit = "ppm" }]; there are TIMESTAMP (TS), RECORD (RN), AirTC_Avg (mol m-3), BP_Avg, CO2_Avg (mol m-3), '
        "port, AirTC_Max (mol m-3), RH (bar)"
    )
    assert row.reason == "no header (its first line begins with TOA5 or TOACI1) stands before this line"


def test_a_file_of_which_nothing_can_be_sent_is_refused(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("\n".join([*TOACI1_HEAD, '"2024-07-01 11:16:43",1,2,3']) + "\n")
    with pytest.raises(DriverError, match=r"a.dat: no column is known by its name and unit, say which is what"):
        read_file(path)
    columns = [{"name": "BP_AVG", "quantity": "ambient_pressure", "unit": "hPa"}]
    assert [s.values for s in read_file(path, options={"columns": columns})] == [{"ambient_pressure": 3.0}]


def test_a_header_begins_a_table_of_its_own():
    got = parsed([*TOA5_HEAD, toa5(), *TOA5_HEAD, toa5()])
    assert [(bool(s), s and s[0].mark) for s in (got[4], got[9])] == [(True, 0), (True, 0)]


@pytest.mark.parametrize("lost", [2, 3])
def test_where_a_line_of_the_header_is_lost_no_row_is_taken_for_it(lost):
    lines = [line for at, line in enumerate(TOA5_HEAD) if at != lost] + [toa5()] * 2
    got = parsed(lines, columns=[{**AIR, "unit": "degC"}])
    assert [isinstance(found, Rejected) for found in got] == [False] * lost + [True] * (5 - lost)
    assert got[lost].reason == (
        f"the header lacks a line: under TIMESTAMP stands {'' if lost == 2 else '2024-07-01 11:16:43'!r}, "
        "expected 'TS' in the line of units and '' in the line after it"
    )


def test_a_rejected_line_is_read_once_corrected():
    detail = {"driver": "campbell", "options": {}, "header": "\n".join(TOA5_HEAD), "line": 9}
    (sample,) = parse_line(toa5(), detail)
    assert sample.values["ambient_temperature"] == 12.5
    with pytest.raises(DriverError, match="line 9 still cannot be read: column AirTC_Avg is 'x', expected a number"):
        parse_line(toa5(air="x"), detail)


def test_its_state_goes_on_at_every_line():
    lines = ["rubbish", *TOA5_HEAD, toa5(), toa5(), "", *TOA5_HEAD[:2], "cut", *TOA5_HEAD, toa5()]
    whole = parsed(lines)
    for cut in range(len(lines)):
        parser = make_parser("campbell")
        for number, line in enumerate(lines[:cut], 1):
            parser.feed(line, number=number)
        other = make_parser("campbell")
        other.restore(parser.state())
        assert [other.feed(line, number=number) for number, line in enumerate(lines[cut:], cut + 1)] == whole[cut:]


def test_all_faults_of_its_options_are_named_at_once():
    columns = [
        {"name": "a", "quantity": "c02"},
        {"name": "b", "quantity": "co2", "unit": "mol m-3"},
        {"quantity": "co2"},
        {"name": "c", "quantity": "ch4"},
        {"name": "d", "quantity": "ch4"},
    ]
    with pytest.raises(DriverError) as caught:
        make_parser("campbell", {"columns": columns, "time_zone": "mars", "port_colum": "x"})
    known = "mol mol-1, 10-2 mol mol-1, %, mmol mol-1, umol mol-1, ppm, nmol mol-1, ppb, pmol mol-1, ppt"
    assert str(caught.value).split("; ") == [
        "campbell.port_colum: unknown key, did you mean 'port_column'?",
        "campbell.columns[1]: 'c02' is no known quantity, did you mean 'co2'?",
        f"campbell.columns[2]: co2 cannot be in 'mol m-3', known are {known}",
        "campbell.columns[3].name: missing",
        "campbell.columns[5].quantity: 'ch4' has a column already",
        "campbell.time_zone: got 'mars', expected UTC, an offset like +08:00 or a name like Asia/Shanghai",
    ]
