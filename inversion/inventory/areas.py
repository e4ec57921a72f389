"""Codes of the regions an inventory speaks of: provinces of China, their prefectures, countries of the world."""

from __future__ import annotations

import csv
import difflib
import functools
import io
import re
from importlib.resources import files
from typing import Final

from inversion.provinces import RegionError, province

_SEPARATORS: Final = re.compile(r"[\s\-_.,'\u2019()]+")
_PREFECTURE: Final = re.compile(r"(?!\d\d0000)\d{6}")
_SPELLINGS: Final = {
    "USA": ("United States of America",),
    "GBR": ("United Kingdom of Great Britain and Northern Ireland", "Great Britain"),
    "RUS": ("Russia",),
    "KOR": ("South Korea", "Republic of Korea"),
    "PRK": ("North Korea", "Democratic People's Republic of Korea"),
    "IRN": ("Iran",),
    "VNM": ("Vietnam", "Viet Nam"),
    "TUR": ("Turkey", "Türkiye", "Turkiye"),
    "CZE": ("Czech Republic", "Czechia"),
    "CHN": ("People's Republic of China",),
    "NLD": ("Netherlands (Kingdom of the)", "Kingdom of the Netherlands"),
    "MCO": ("Monaco",),
    "LIE": ("Liechtenstein",),
    "EUA": ("European Union", "European Union (Convention)", "EUC"),
}
"""Names that inventories give besides those of ISO 3166-1; EUA is the UNFCCC's own code."""


@functools.cache
def countries() -> dict[str, str]:
    """Return the ISO 3166-1 alpha-3 codes with their names; Hong Kong, Macao and Taiwan are provinces here."""
    text = (files("inversion.inventory") / "data" / "countries.csv").read_text(encoding="utf-8")
    return {row["code"]: row["name"] for row in csv.DictReader(io.StringIO(text))}


def _folded(text: str) -> str:
    return _SEPARATORS.sub("", text).casefold()


@functools.cache
def _by_key() -> dict[str, str]:
    keys = {_folded(key): code for code, name in countries().items() for key in (code, name)}
    return keys | {_folded(key): code for code, names in _SPELLINGS.items() for key in (code, *names)}


@functools.cache
def area(text: str) -> str:
    """Return the code of the province or country that a code or a name stands for.

    Prefectures and counties are known by their six-digit GB/T 2260 code alone; `divisions` says when it was in force.

    Raises
    ------
    RegionError
        When it is neither; with the nearest name.

    Examples
    --------
    >>> area("330000"), area("InnerMongolia"), area("DEU"), area("HKG"), area("GERMANY"), area("330100")
    ('CN-ZJ', 'CN-NM', 'DEU', 'CN-HK', 'DEU', '330100')
    """
    if _PREFECTURE.fullmatch(text.strip()):
        province(f"{text.strip()[:2]}0000")
        return text.strip()
    try:
        return province(text).iso
    except RegionError as error:
        code = _by_key().get(_folded(text))
        if code is not None:
            return code
        near = difflib.get_close_matches(_folded(text), _by_key(), n=1, cutoff=0.8)
        if near and "meant?" not in str(error):
            name = countries().get(_by_key()[near[0]], near[0])
            raise RegionError(f"{error} Is {name} ({_by_key()[near[0]]}) meant?") from None
        raise
