"""The 34 province-level units of China: names, GB/T 2260 codes, ISO 3166-2 codes.

Two-digit GB/T 2260 codes are written with their six digits (``330000``), as statistics do; ISO 3166-2:CN has used
letters since 2017, before that numbers (``CN-33``; 91 and 92 for Hong Kong and Macao). Names are found in the spellings
that statistics use; blanks, hyphens and capitals do not matter (``InnerMongolia``).
"""

from __future__ import annotations

import difflib
import re
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

_SPELLINGS: Final = {
    "BJ": ("Peking", "京"),
    "TJ": ("Tientsin", "津"),
    "HE": ("Hopeh", "冀"),
    "SX": ("Shan1xi", "晋"),
    "NM": ("Nei Mongol", "Nei Menggu", "Neimengu", "Inner Mongol", "內蒙古", "内蒙", "蒙"),
    "LN": ("遼寧", "辽"),
    "JL": ("Kirin", "吉"),
    "HL": ("Heilungkiang", "黑龍江", "黑"),
    "SH": ("沪", "滬"),
    "JS": ("Kiangsu", "江蘇", "苏"),
    "ZJ": ("Chekiang", "浙"),
    "AH": ("Anhwei", "皖"),
    "FJ": ("Fukien", "闽"),
    "JX": ("Kiangsi", "赣"),
    "SD": ("Shantung", "山東", "鲁"),
    "HA": ("Honan", "豫"),
    "HB": ("Hupeh", "鄂"),
    "HN": ("湘",),
    "GD": ("Kwangtung", "Canton", "廣東", "粤"),
    "GX": ("Guangxi Zhuang", "Kwangsi", "廣西", "桂"),
    "HI": ("琼",),
    "CQ": ("Chungking", "重慶", "渝"),
    "SC": ("Szechwan", "Szechuan", "川", "蜀"),
    "GZ": ("Kweichow", "貴州", "贵", "黔"),
    "YN": ("雲南", "云", "滇"),
    "XZ": ("Tibet", "藏"),
    "SN": ("Shan3xi", "Shensi", "陝西", "陕", "秦"),
    "GS": ("Kansu", "甘肅", "甘", "陇"),
    "QH": ("Tsinghai", "青"),
    "NX": ("Ningxia Hui", "寧夏", "宁"),
    "XJ": ("Sinkiang", "Xinjiang Uygur", "Xinjiang Uyghur", "Xinjiang Uighur", "新"),
    "TW": ("TWN", "Taiwan, Province of China", "Chinese Taipei", "臺灣", "台灣", "台"),
    "HK": ("HKG", "Hong Kong SAR", "Hong Kong, China", "港"),
    "MO": ("MAC", "Macau", "Macao SAR", "Macao, China", "澳門", "澳"),
}
"""Other names than those of `PROVINCES`, by the letters of the ISO code; ISO 3166-1 codes where there is one."""
_NUMBERED: Final = {"TW": "CN-71", "HK": "CN-91", "MO": "CN-92"}
_SEPARATORS: Final = re.compile(r"[\s\-_.,'\u2019()]+")


def _folded(text: str) -> str:
    return _SEPARATORS.sub("", text).casefold()


def _keys(unit: Province) -> tuple[str, ...]:
    letters = unit.iso.removeprefix("CN-")
    numbered = _NUMBERED.get(letters, f"CN-{unit.gbt2260[:2]}")
    codes = (unit.iso, letters, numbered, unit.gbt2260, unit.gbt2260[:2])
    return (unit.name_en, unit.name_zh, *codes, *_SPELLINGS[letters])


_BY_KEY: Final = {_folded(key): unit for unit in PROVINCES for key in _keys(unit)}
_NAMES: Final = {_folded(name): unit for unit in PROVINCES for name in (unit.name_en, unit.name_zh, unit.iso)}
_SUFFIXES: Final = (
    *("维吾尔自治区", "维吾尔", "壮族自治区", "壮族", "回族自治区", "回族", "特别行政区", "自治区", "省", "市"),
    *("autonomousregion", "province", "municipality", "sheng", "shi"),
)


def province(key: str) -> Province:
    """Return the unit that a code or a name stands for.

    Parameters
    ----------
    key : str
        ISO 3166-2 code (letters, or the numbers of before 2017), GB/T 2260 code (two or six digits), Chinese name
        (short or full) or English name, in their usual spellings.

    Raises
    ------
    ProvinceError
        When it is none of these.

    Examples
    --------
    >>> province("330000").iso, province("浙江省").iso, province("Zhejiang").iso
    ('CN-ZJ', 'CN-ZJ', 'CN-ZJ')
    """
    text = _folded(key)
    for candidate in (text, *(text.removesuffix(suffix) for suffix in _SUFFIXES)):
        unit = _BY_KEY.get(candidate)
        if unit is not None:
            return unit
    near = difflib.get_close_matches(text, _NAMES, n=1) or difflib.get_close_matches(text, _BY_KEY, n=1)
    meant = _BY_KEY[near[0]] if near else None
    hint = f" Is {meant.name_en} ({meant.iso}) meant?" if meant else ""
    raise ProvinceError(
        f"No province-level unit is called {key!r}: give an ISO 3166-2 code (CN-ZJ), a GB/T 2260 code (330000) "
        f"or a name.{hint}"
    )
