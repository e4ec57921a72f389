"""The 34 province-level units of China: names, GB/T 2260 codes, ISO 3166-2 codes.

Two-digit GB/T 2260 codes are written with their six digits (``330000``), as statistics do; ISO 3166-2:CN has used
letters since 2017.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from qc.errors import QcError


class ProvinceError(QcError):
    """A province-level unit that is not known."""


@dataclass(frozen=True, slots=True)
class Province:
    """One province-level unit.

    Attributes
    ----------
    iso : str
        ISO 3166-2 code, such as ``CN-ZJ``.
    gbt2260 : str
        GB/T 2260 code, six digits, such as ``330000``.
    name_zh, name_en : str
        Short Chinese name and English name.
    """

    iso: str
    gbt2260: str
    name_zh: str
    name_en: str


PROVINCES: Final = tuple(
    Province(f"CN-{iso}", f"{code}0000", name_zh, name_en)
    for iso, code, name_zh, name_en in (
        ("BJ", 11, "北京", "Beijing"),
        ("TJ", 12, "天津", "Tianjin"),
        ("HE", 13, "河北", "Hebei"),
        ("SX", 14, "山西", "Shanxi"),
        ("NM", 15, "内蒙古", "Inner Mongolia"),
        ("LN", 21, "辽宁", "Liaoning"),
        ("JL", 22, "吉林", "Jilin"),
        ("HL", 23, "黑龙江", "Heilongjiang"),
        ("SH", 31, "上海", "Shanghai"),
        ("JS", 32, "江苏", "Jiangsu"),
        ("ZJ", 33, "浙江", "Zhejiang"),
        ("AH", 34, "安徽", "Anhui"),
        ("FJ", 35, "福建", "Fujian"),
        ("JX", 36, "江西", "Jiangxi"),
        ("SD", 37, "山东", "Shandong"),
        ("HA", 41, "河南", "Henan"),
        ("HB", 42, "湖北", "Hubei"),
        ("HN", 43, "湖南", "Hunan"),
        ("GD", 44, "广东", "Guangdong"),
        ("GX", 45, "广西", "Guangxi"),
        ("HI", 46, "海南", "Hainan"),
        ("CQ", 50, "重庆", "Chongqing"),
        ("SC", 51, "四川", "Sichuan"),
        ("GZ", 52, "贵州", "Guizhou"),
        ("YN", 53, "云南", "Yunnan"),
        ("XZ", 54, "西藏", "Xizang"),
        ("SN", 61, "陕西", "Shaanxi"),
        ("GS", 62, "甘肃", "Gansu"),
        ("QH", 63, "青海", "Qinghai"),
        ("NX", 64, "宁夏", "Ningxia"),
        ("XJ", 65, "新疆", "Xinjiang"),
        ("TW", 71, "台湾", "Taiwan"),
        ("HK", 81, "香港", "Hong Kong"),
        ("MO", 82, "澳门", "Macao"),
    )
)
"""In the order of their GB/T 2260 codes."""

_BY_KEY: Final = {
    key.casefold(): unit
    for unit in PROVINCES
    for key in (unit.iso, unit.gbt2260, unit.gbt2260[:2], unit.name_zh, unit.name_en)
}
_SUFFIXES: Final = ("维吾尔自治区", "壮族自治区", "回族自治区", "特别行政区", "自治区", "省", "市")


def province(key: str) -> Province:
    """Return the unit that a code or a name stands for.

    Parameters
    ----------
    key : str
        ISO 3166-2 code, GB/T 2260 code (two or six digits), Chinese name (short or full) or English name.

    Raises
    ------
    ProvinceError
        When it is none of these.

    Examples
    --------
    >>> province("330000").iso, province("浙江省").iso, province("Zhejiang").iso
    ('CN-ZJ', 'CN-ZJ', 'CN-ZJ')
    """
    text = key.strip()
    for candidate in (text, *(text.removesuffix(suffix) for suffix in _SUFFIXES)):
        unit = _BY_KEY.get(candidate.casefold())
        if unit is not None:
            return unit
    near = difflib.get_close_matches(text.casefold(), _BY_KEY, n=1)
    hint = f" Is {_BY_KEY[near[0]].name_en} ({_BY_KEY[near[0]].iso}) meant?" if near else ""
    raise ProvinceError(
        f"No province-level unit is called {key!r}: give an ISO 3166-2 code (CN-ZJ), a GB/T 2260 code (330000) "
        f"or a name.{hint}"
    )
