import pytest

from station_agent.drivers import make_parser, parse_line
from station_agent.errors import DriverError
from station_agent.sample import Mark, Rejected
from tests.station_agent.instrument_text import LICOR_HEAD, LICOR_NAMES, LICOR_UNITS, START, licor


def parsed(lines):
    """Feed lines to a new parser; return what each gave."""
    parser = make_parser("licor")
    return [parser.feed(line, number=number) for number, line in enumerate(lines, 1)]


def rows(*lines):
    """Return what rows gave under a good header."""
    return parsed([*LICOR_HEAD, *lines])[len(LICOR_HEAD) :]


def test_a_row_has_its_time_from_the_epoch_and_the_units_of_the_line_of_units():
    ((sample,),) = rows(licor(0))
    assert sample.time_ns == START * 10**9 + 251 * 10**6
    assert sample.values == {"h2o": pytest.approx(1.20005), "co2": 420.5, "ch4": 1950.25, "cavity_pressure": 396.0}
    assert (sample.status, sample.port, sample.mark) == (0, None, 0)


def test_units_are_read_not_assumed():
    units = LICOR_UNITS.replace("\tppb\t", "\tppm\t")
    (sample,) = parsed([LICOR_NAMES, units, licor(0, ch4="1.95")])[2]
    assert sample.values["ch4"] == 1950.0


def test_nan_is_missing_and_a_fault_of_the_instrument_keeps_its_row():
    ((sample,),) = rows(licor(0, co2="nan", diag="18"))
    assert set(sample.values) == {"h2o", "ch4", "cavity_pressure"}
    assert sample.status == 18


def test_a_remark_may_be_any_text():
    ((sample,),) = rows(licor(0, remark='"leak_test 泄漏"'))
    assert sample.values["co2"] == 420.5


def test_equal_stamps_are_spread():
    (first,), (second,), (third,) = rows(licor(0), licor(0), licor(1))
    assert (second.time_ns - first.time_ns, third.time_ns - first.time_ns) == (10**6, 10**9)
    assert [first.mark, second.mark, third.mark] == [0, Mark.SPREAD, 0]


def test_every_row_of_the_real_files_fits_its_checksum_and_no_changed_one_does(shared):
    for name, count in [("licor_li7810.data", 507), ("licor_li7820_n2o.data", 501)]:
        lines = (shared / "data/instruments" / name).read_text("utf-8").splitlines()
        good = [line for line in lines if line.startswith("DATA\t")]
        assert len(good) == count
        head = lines[:7]
        assert all(isinstance(got, list) for got in parsed(head + good)[7:])
        for line in good[::50]:
            for at in range(5, len(line) - 3):
                changed = line[:at] + ("1" if line[at] != "1" else "2") + line[at + 1 :]
                (got,) = parsed([*head, changed])[7:]
                assert isinstance(got, Rejected), changed


def test_a_damaged_row_says_what_to_do_and_is_read_once_corrected():
    line = licor(0)
    damaged = line.replace("420.5", "420.6")
    (rejected,) = rows(damaged)
    written, computed = int(line[-3:]), (int(line[-3:]) + 1) % 256
    assert rejected.reason == (
        f"the checksum is '{written}', the row's bytes give {computed}: the row is damaged; "
        "once it is corrected, write - in place of the checksum"
    )
    detail = {"driver": "licor", "options": {}, "header": f"{LICOR_NAMES}\n{LICOR_UNITS}", "line": 6}
    with pytest.raises(DriverError, match="line 6 still cannot be read: the checksum is"):
        parse_line(damaged, detail)
    (sample,) = parse_line(damaged[:-3] + "-", detail)
    assert sample.values["co2"] == 420.6


def with_sum(line):
    """Return a line with its checksum set right."""
    body = line[: line.rindex("\t") + 1]
    return f"{body}{sum(body.encode()) % 256}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (licor(0)[:60], "9 fields, expected 13"),
        (with_sum(licor(0, co2="4_2")), "column CO2 is '4_2', expected a finite number"),
        (licor(0, co2="4２"), "column CO2 is '4２', expected a finite number"),
        (licor(0, co2="x"), "column CO2 is 'x', expected a number"),
        (licor(0, pressure="1e308"), "column CAVITY_P is '1e308', expected a finite number"),
        (licor(0, ns="-1"), "column NANOSECONDS is '-1', expected a whole number, 0 to 999999999"),
        (licor(0, ns="nan"), "the row has no time: SECONDS or NANOSECONDS is missing"),
        (licor(-START), "time 251 ms since 1970 is out of bounds, expected 1990 to 2100"),
        (licor(0, diag="0.5"), "column DIAG is '0.5', expected a whole number, -2147483648 to 2147483647"),
        ("AT\t1", "the line begins with 'AT\\t1', expected DATAH, DATAU or DATA and a tab"),
        ("DATAU\tsecs", "2 fields, expected 13"),
        (
            LICOR_UNITS.replace("kPa", "kPx"),
            "column CAVITY_P: cavity_pressure cannot be in 'kPx', known are hPa, mbar, kPa, Pa, torr, mmHg",
        ),
        ("DATAH\tCO2", "the line of names has no column SECONDS, NANOSECONDS: its rows have no time"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(line, reason):
    (rejected,) = rows(line)
    assert rejected == Rejected(6, line, reason)


def test_rows_before_the_names_or_the_units_are_rejected():
    no_names, no_names_either, _, no_units, _, good = parsed(
        [licor(0), LICOR_UNITS, LICOR_NAMES, licor(1), LICOR_UNITS, licor(2)]
    )
    assert no_names.reason == "no line of names (DATAH) stands before this row"
    assert no_names_either.reason == "no line of names (DATAH) stands before this line of units"
    assert no_units.reason == "no line of units (DATAU) stands before this row"
    assert len(good) == 1


def test_names_sent_again_do_not_take_the_units_away():
    assert [len(got) for got in rows(licor(0), LICOR_NAMES, licor(1)) if got] == [1, 1]


def test_its_state_goes_on_at_every_line():
    lines = [*LICOR_HEAD, licor(0), licor(0), LICOR_NAMES.replace("CH4", "CO"), licor(1), LICOR_UNITS, licor(1)]
    whole = parsed(lines)
    for cut in range(len(lines)):
        parser = make_parser("licor")
        for number, line in enumerate(lines[:cut], 1):
            parser.feed(line, number=number)
        other = make_parser("licor")
        other.restore(parser.state())
        assert [other.feed(line, number=number) for number, line in enumerate(lines[cut:], cut + 1)] == whole[cut:]
