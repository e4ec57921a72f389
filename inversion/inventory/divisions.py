"""GB/T 2260 codes of prefectures in time: what a code of one year is called in another.

The codes of statistics are those in force in the year they speak of. The changes held here are the known ones of
prefecture-level units since 1997; a code without a record is taken to hold in all years.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from inversion.provinces import Province, RegionError, province

_CODE: Final = re.compile(r"\d{6}")


@dataclass(frozen=True, slots=True)
class Change:
    """One code that ceased, and what has held its territory since.

    Attributes
    ----------
    code, name_zh : str
        The code that ceased, and its unit.
    last : int
        Last year whose statistics use it.
    successors : tuple of str
        Codes from the year after.
    """

    code: str
    name_zh: str
    last: int
    successors: tuple[str, ...]


CHANGES: Final = (
    Change("341400", "巢湖市", 2010, ("340100", "340200", "340500")),
    Change("371200", "莱芜市", 2018, ("370100",)),
    Change("510200", "重庆市", 1996, ("500000",)),
    Change("522200", "铜仁地区", 2010, ("520600",)),
    Change("522400", "毕节地区", 2010, ("520500",)),
    Change("542100", "昌都地区", 2013, ("540300",)),
    Change("542200", "山南地区", 2015, ("540500",)),
    Change("542300", "日喀则地区", 2013, ("540200",)),
    Change("542400", "那曲地区", 2016, ("540600",)),
    Change("542600", "林芝地区", 2014, ("540400",)),
    Change("632100", "海东地区", 2012, ("630200",)),
    Change("652100", "吐鲁番地区", 2014, ("650400",)),
    Change("652200", "哈密地区", 2015, ("650500",)),
)
"""Codes of prefecture-level units that ceased (State Council approvals; the year is that of the statistics)."""
_CEASED: Final = {change.code: change for change in CHANGES}
_BEGAN: Final = {
    code: change.last + 1 for change in CHANGES for code in change.successors if len(change.successors) == 1
} | {"370100": 0, "500000": 1997}
"""First year of codes that were new with their change; Jinan's was there before Laiwu joined it."""


def province_of(code: str) -> Province:
    """Return the province of a six-digit GB/T 2260 code.

    Raises
    ------
    RegionError

    Examples
    --------
    >>> province_of("371200").iso, province_of("510200").iso
    ('CN-SD', 'CN-SC')
    """
    if not _CODE.fullmatch(code):
        raise RegionError(f"{code!r} is no GB/T 2260 code: it has six digits, such as 370100.")
    return province(f"{code[:2]}0000")


def in_force(code: str, year: int) -> bool:
    """Say whether statistics of `year` use the code.

    Examples
    --------
    >>> in_force("371200", 2018), in_force("371200", 2019), in_force("520600", 2010)
    (True, False, False)
    """
    province_of(code)
    ceased = _CEASED.get(code)
    return _BEGAN.get(code, 0) <= year and (ceased is None or year <= ceased.last)


def successors(code: str, year: int) -> tuple[str, ...]:
    """Return the codes that hold the territory of `code` in the statistics of `year`.

    Raises
    ------
    RegionError
        For a code that came into force only after `year`: what it was before may be only a part.

    Examples
    --------
    >>> successors("371200", 2018), successors("371200", 2019), successors("341400", 2020)
    (('371200',), ('370100',), ('340100', '340200', '340500'))
    """
    province_of(code)
    began = _BEGAN.get(code, 0)
    if year < began:
        before = [change.code for change in CHANGES if code in change.successors]
        raise RegionError(f"The code {code} came with the statistics of {began}; in {year} it was {', '.join(before)}.")
    if in_force(code, year):
        return (code,)
    return tuple(found for after in _CEASED[code].successors for found in successors(after, year))
