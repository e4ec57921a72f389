from datetime import UTC, datetime

import pytest

from station_agent.drivers import make_parser, parse_line, read_file
from station_agent.errors import DriverError
from station_agent.sample import Mark, Rejected
from tests.station_agent.instrument_text import LGR_HEAD, LGR_NAMES, SIGNATURE, SIGNATURE_END, lgr

ORDER = {"date_order": "mdy"}


def parsed(lines, **options):
    """Feed lines to a new parser; return what each gave."""
    parser = make_parser("lgr", {**ORDER, **options})
    return [parser.feed(line, number=number) for number, line in enumerate(lines, 1)]


def rows(*lines, **options):
    """Return what lines gave under a good header."""
    return parsed([*LGR_HEAD, *lines], **options)[len(LGR_HEAD) :]


def ns(*moment):
    """Return a time in UTC as ns since 1970."""
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000) * 10**6


def written(path, *lines):
    """Write a file with a good header; return its path."""
    path.write_text("\n".join([*LGR_HEAD, *lines]) + "\n")
    return path


def test_a_row_is_read_by_the_names_and_units_of_its_columns():
    ((sample,),) = rows(lgr())
    assert sample.time_ns == ns(2023, 5, 4, 8, 12, 47, 64_000)
    assert sample.values == {
        "ch4": 1900.0,
        "h2o": pytest.approx(1.2),
        "co2_dry": 420.0,
        "cavity_pressure": pytest.approx(140 * 101_325 / 76_000),
        "cavity_temperature": 25.0,
        "ambient_temperature": 20.0,
    }
    assert (sample.port, sample.status, sample.mark) == ("2", 3, 0)


@pytest.mark.parametrize(
    ("order", "stamp", "day"),
    [
        ("mdy", "05/04/2023", (2023, 5, 4)),
        ("dmy", "05/04/2023", (2023, 4, 5)),
        ("ymd", "2023/05/04", (2023, 5, 4)),
        ("dmy", "2023-05-04", (2023, 5, 4)),
    ],
)
def test_the_order_of_day_and_month_is_a_setting(order, stamp, day):
    ((sample,),) = rows(lgr(f"{stamp} 08:12:47.064"), date_order=order)
    assert sample.time_ns == ns(*day, 8, 12, 47, 64_000)


def test_its_clock_may_be_in_another_zone():
    ((sample,),) = rows(lgr(), time_zone="Asia/Shanghai")
    assert sample.time_ns == ns(2023, 5, 4, 0, 12, 47, 64_000)


def test_a_valve_that_is_not_there_is_no_port():
    first, second = rows(lgr(valve="-1"), lgr(valve="0", fit="0"))
    assert (first[0].port, second[0].port, second[0].status) == (None, "0", 0)
    assert second[0].mark == Mark.SPREAD


def test_of_two_time_columns_one_is_read():
    names = LGR_NAMES.replace("Time,", "Time,  SysTime,", 1)
    line = lgr("05/04/2023 08:12:47.064,  05/04/2023 09:00:00.000")
    assert parsed([names, line])[1][0].time_ns == ns(2023, 5, 4, 8, 12, 47, 64_000)
    assert parsed([names, line], time_column="SysTime")[1][0].time_ns == ns(2023, 5, 4, 9)
    only = LGR_NAMES.replace("   Time,", "SysTime,", 1)
    assert parsed([only, lgr()])[1][0].time_ns == ns(2023, 5, 4, 8, 12, 47, 64_000)


def test_a_serial_port_without_names_has_them_in_its_configuration():
    fields = [name.strip() for name in LGR_NAMES.split(",")]
    ((sample,),) = parsed([lgr()], fields=fields)
    assert sample.values["ch4"] == 1900.0
    with pytest.raises(DriverError, match=r"^lgr.fields: there is no column Time or SysTime: the rows have no time$"):
        make_parser("lgr", {**ORDER, "fields": ["[CH4]_ppm", "GasP_torr"]})


def test_a_signature_is_passed_over_also_when_it_was_cut_short():
    lines = [lgr(), *SIGNATURE, SIGNATURE_END, lgr("05/04/2023 08:12:48.0"), *SIGNATURE, lgr("05/04/2023 08:12:49.0")]
    got = rows(*lines)
    assert [at for at, samples in enumerate(got) if samples] == [0, 7, 13]
    assert [len(samples) for samples in got if samples] == [1, 1, 1]
    assert isinstance(rows(*SIGNATURE, SIGNATURE_END, "iQEcBAEBAgAGBQJ")[-1], Rejected)


# --- the order of day and month in a file ------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "moment"),
    [
        (["13/04/2023 08:00:00.0"], (2023, 4, 13, 8)),
        (["04/13/2023 08:00:00.0"], (2023, 4, 13, 8)),
        (["2023/04/05 08:00:00.0"], (2023, 4, 5, 8)),
        (["12/04/2023 08:00:00.0", "13/04/2023 00:00:00.0", "13/04/2023 00:00:01.0"], (2023, 4, 12, 8)),
    ],
)
def test_a_file_may_prove_the_order(tmp_path, stamps, moment):
    samples = list(read_file(written(tmp_path / "a.txt", *map(lgr, stamps))))
    assert len(samples) == len(stamps)
    assert samples[0].time_ns == ns(*moment)


def test_a_file_that_does_not_is_refused_by_name_of_the_setting(tmp_path):
    path = written(tmp_path / "a.txt", lgr())
    with pytest.raises(DriverError) as caught:
        read_file(path)
    assert str(caught.value) == (
        f"{path}: the date 05/04/2023 can be read with the day or with the month first, and no others in the "
        "file tell which; say it with date_order = 'dmy' or 'mdy'"
    )
    (sample,) = read_file(path, options={"date_order": "dmy"})
    assert sample.time_ns == ns(2023, 4, 5, 8, 12, 47, 64_000)


def test_one_damaged_date_proves_nothing(tmp_path):
    path = written(tmp_path / "a.txt", lgr(), lgr("25/04/2023 08:12:48.0"), lgr("05/04/2023 08:12:49.0"))
    with pytest.raises(DriverError, match=r"the date 05/04/2023 can be read"):
        read_file(path)


def test_dates_that_contradict_each_other_are_refused(tmp_path):
    both = [lgr("13/04/2023 08:00:00.0"), lgr("04/13/2023 08:00:00.0")] * 2
    with pytest.raises(DriverError, match=r"has dates in the orders dmy and mdy; date_order must say which is right"):
        read_file(written(tmp_path / "a.txt", *both))


def test_an_instrument_is_refused_without_the_order():
    with pytest.raises(DriverError) as caught:
        make_parser("lgr", {"time_zone": "mars", "fields": [1, 2], "date_ordr": "mdy"})
    assert str(caught.value).split("; ", 1)[0] == "lgr.date_ordr: unknown key, did you mean 'date_order'?"
    assert (
        "lgr.date_order: missing, 05/04/2023 is in May on one unit and in April on another; expected 'mdy' or 'dmy', "
        "or 'ymd' where the year comes first; lgr.fields: got a list with other things in it, expected texts only; "
        "lgr.time_zone: got 'mars', expected UTC, an offset like +08:00 or a name like Asia/Shanghai"
    ) in str(caught.value)


# --- bad lines ---------------------------------------------------------------------------------

NO_DATE = "not of the form month/day/year hours:minutes:seconds"
PRESSURES = "known are hPa, mbar, kPa, Pa, torr, mmHg"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (lgr()[:60], "4 fields, expected 12"),
        ("  05/04/2023 08:12:47", "1 fields, expected 12"),
        (lgr(ch4="1.9e"), "column [CH4]_ppm is '1.9e', expected a number"),
        (lgr(ch4="1_9"), "column [CH4]_ppm is '1_9', expected a finite number"),
        (lgr(ch4="inf"), "column [CH4]_ppm is 'inf', expected a finite number"),
        (lgr(fit="x"), "column Fit_Flag is 'x', expected a whole number, -2147483648 to 2147483647"),
        (lgr(valve="1001"), "column MIU_VALVE is '1001', expected a whole number, -2147483648 to 1000"),
        (lgr("25/04/2023 1:00:00.0"), f"time '25/04/2023 1:00:00.0' is {NO_DATE}"),
        (lgr("05/04/23 01:00:00.0"), f"time '05/04/23 01:00:00.0' is {NO_DATE}"),
        (lgr("1234.5"), f"time '1234.5' is {NO_DATE}"),
        (LGR_NAMES.replace("_torr", "_psi"), f"column GasP_psi: cavity_pressure cannot be in 'psi', {PRESSURES}"),
        (LGR_NAMES.replace("[CO2]d_ppm", "[CH4]_ppm"), "column [CH4]_ppm: ch4 has a column already"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(line, reason):
    assert rows(line) == [Rejected(3, line, reason)]


def test_a_date_in_the_other_order_is_rejected_not_guessed():
    (rejected,) = rows(lgr("04/05/2023 01:00:00.0"), date_order="ymd")
    assert rejected.reason == "time '04/05/2023 01:00:00.0' is not of the form year-month-day hours:minutes:seconds"


def test_rows_without_a_header_are_rejected_and_read_once_corrected():
    (rejected,) = parsed([lgr()])
    assert rejected.reason == "no header line (with Time and a gas like [CH4]_ppm) stands before this row"
    (sample,) = parse_line(lgr(), {"driver": "lgr", "options": ORDER, "header": LGR_NAMES, "line": 1})
    assert sample.values["ch4"] == 1900.0


def test_its_state_goes_on_at_every_line():
    lines = [*LGR_HEAD, lgr(), lgr(), *SIGNATURE, SIGNATURE_END, LGR_NAMES.replace("CH4", "N2O"), lgr()]
    whole = parsed(lines)
    for cut in range(len(lines)):
        parser = make_parser("lgr", ORDER)
        for number, line in enumerate(lines[:cut], 1):
            parser.feed(line, number=number)
        other = make_parser("lgr", ORDER)
        other.restore(parser.state())
        assert [other.feed(line, number=number) for number, line in enumerate(lines[cut:], cut + 1)] == whole[cut:]
