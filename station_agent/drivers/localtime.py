"""Times as instruments write them on their own clock, and the zone that clock is set to.

A local time that the zone has twice or not at all is refused, never guessed; so is the order of day and month.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from station_agent.drivers.parser import EARLIEST_MS, LATEST_MS

ORDERS: Final = ("ymd", "mdy", "dmy")
"""Orders of year, month and day; a first number of four digits is the year in each of them."""
ZONE_EXPECTED: Final = "expected UTC, an offset like +08:00 or a name like Asia/Shanghai"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})[ T]+(\d{1,2}):(\d\d)", re.ASCII)
_SECONDS: Final = re.compile(r"[0-5]\d(\.\d{0,9})?", re.ASCII)


def zone(name: str) -> tzinfo | None:
    """Return the zone of this name, None where there is none."""
    if name == "UTC":
        return UTC
    if match := re.fullmatch(r"([+-])(\d\d):([0-5]\d)", name, re.ASCII):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(offset if match[1] == "+" else -offset) if offset < timedelta(hours=24) else None
    # zoneinfo is needed for named zones only.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def zone_option(name: str, *, where: str, faults: list[str]) -> tzinfo:
    """Return the zone an option names; another name is a fault, and UTC is returned."""
    found = zone(name)
    if found is None:
        faults.append(f"{where}: got {name!r}, {ZONE_EXPECTED}")
    return found or UTC


def utc_ms(local: datetime, in_zone: tzinfo, text: str) -> int:
    """Return ms since 1970 UTC of a local time; raises ValueError where the zone has it twice or not at all."""
    moment = local.replace(tzinfo=in_zone)
    if not isinstance(in_zone, timezone) and moment.utcoffset() != moment.replace(fold=1).utcoffset():
        raise ValueError(f"time {text[:60]!r} is twice or not at all in {in_zone}: the clocks were changed then")
    return (moment - _EPOCH + timedelta(microseconds=500)) // timedelta(milliseconds=1)


def bounded(ms: int) -> int:
    """Return the time; raises ValueError where no instrument can have measured at it."""
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise ValueError(f"time {ms} ms since 1970 is out of bounds, expected 1990 to 2100")
    return ms


class LocalClock:
    """Reads ``date time`` texts, seconds included, on one clock.

    Parameters
    ----------
    in_zone
        The zone the clock is set to.
    order
        One of `ORDERS`.
    """

    def __init__(self, in_zone: tzinfo, order: str = "ymd") -> None:
        self._zone, self._order = in_zone, order
        # Lines come in runs of the same minute; the zone's offset is constant in it.
        self._minute, self._ms = "", 0

    def ms(self, text: str) -> int:
        """Return ms since 1970 UTC; ValueError in one sentence."""
        minute, _, seconds = text.strip().rpartition(":")
        if not _SECONDS.fullmatch(seconds):
            raise ValueError(self._unread(text))
        if minute != self._minute:
            self._ms = self._start(minute, text)
            self._minute = minute
        return bounded(self._ms + round(float(seconds) * 1000))

    def _start(self, minute: str, text: str) -> int:
        match = _MINUTE.fullmatch(minute)
        if not match:
            raise ValueError(self._unread(text))
        first, second, third = match[1], match[3], match[4]
        if len(first) == 4:
            year, month, day = first, second, third
        elif self._order == "mdy":
            month, day, year = first, second, third
        elif self._order == "dmy":
            day, month, year = first, second, third
        else:
            raise ValueError(self._unread(text))
        try:
            local = datetime(int(year), int(month), int(day), int(match[5]), int(match[6]))  # noqa: DTZ001 - below
        except ValueError:
            raise ValueError(self._unread(text)) from None
        if len(year) != 4:
            raise ValueError(self._unread(text))
        return utc_ms(local, self._zone, text)

    def _unread(self, text: str) -> str:
        form = {"ymd": "year-month-day", "mdy": "month/day/year", "dmy": "day/month/year"}[self._order]
        return f"time {text.strip()[:60]!r} is not of the form {form} hours:minutes:seconds"
