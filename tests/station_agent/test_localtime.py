from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station_agent.drivers.localtime import ORDERS, LocalClock, zone

FORMS = {"ymd": "%Y-%m-%d %H:%M:%S.%f", "mdy": "%m/%d/%Y %H:%M:%S.%f", "dmy": "%d.%m.%Y %H:%M:%S.%f"}
ZONES = ["UTC", "+08:00", "-03:30", "Asia/Shanghai", "Europe/Berlin", "America/St_Johns"]
MOMENTS = st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30))  # noqa: DTZ001 - local


@given(
    moments=st.lists(MOMENTS, max_size=4),
    steps=st.lists(st.integers(-90_000, 90_000), max_size=4),
    name=st.sampled_from(ZONES),
    order=st.sampled_from(ORDERS),
)
def test_a_clock_says_what_the_calendar_says(moments, steps, name, order):
    in_zone = zone(name)
    clock = LocalClock(in_zone, order)
    for moment in [near for each in moments for near in [each, *(each + timedelta(milliseconds=s) for s in steps)]]:
        text = moment.strftime(FORMS[order])
        local = moment.replace(tzinfo=in_zone)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            with pytest.raises(ValueError, match="is twice or not at all in"):
                clock.ms(text)
        else:
            assert clock.ms(text) == pytest.approx(local.timestamp() * 1000, abs=0.51)


@pytest.mark.parametrize("hour", ["2026-10-25 02:59:59.9", "2026-03-29 02:00:00"])
def test_a_minute_that_is_known_does_not_hide_one_that_is_twice_or_never(hour):
    clock = LocalClock(ZoneInfo("Europe/Berlin"))
    before = datetime(2026, 10, 25, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    assert clock.ms("2026-10-25 03:00:00") == before.astimezone(UTC).timestamp() * 1000
    for _ in range(2):
        with pytest.raises(ValueError, match=f"time '{hour}' is twice or not at all in Europe/Berlin"):
            clock.ms(hour)
    assert clock.ms("2026-10-25 03:00:00") == before.astimezone(UTC).timestamp() * 1000


@pytest.mark.parametrize(
    "text",
    ["", ":", "2026-01-01", "2026-01-01 10:00", "2026-01-01 10:00:60", "2026-01-01 24:00:00", "2026-02-30 10:00:00",
     "2026-01/01 10:00:00", "26-01-01 10:00:00", "2026-01-01 10:00:1", "2026-01-01 10:00:0１", "2026-01-01 10:00:00x"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="is not of the form year-month-day hours:minutes:seconds"):
        LocalClock(UTC).ms(text)


@pytest.mark.parametrize("name", ["", "utc+8", "+24:00", "+08:60", "8", "../etc/passwd", "Mars/Olympus"])
def test_a_zone_that_is_none(name):
    assert zone(name) is None
