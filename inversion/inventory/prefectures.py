"""Regions of a bottom-up inventory: provinces by their ISO code, prefectures and counties by their GB/T 2260 code."""

from __future__ import annotations

import re
from typing import Final

from inversion.provinces import PROVINCES, RegionError, province

COUNTRY: Final = "CHN"

_NAMES: Final = (COUNTRY, "CN", "China", "中国", "全国")
_THREE: Final = re.compile(r"[A-Z]{3}")
_SIX: Final = re.compile(r"\d{6}")
_BY_DIGITS: Final = {unit.gbt2260[:2]: unit.iso for unit in PROVINCES}


def region(text: str) -> str:
    """Return the code of a province (ISO 3166-2), of a prefecture or county (GB/T 2260), or of a country (ISO 3166-1).

    Raises
    ------
    RegionError

    Examples
    --------
    >>> region("浙江"), region("330000"), region("330100"), region("中国")
    ('CN-ZJ', 'CN-ZJ', '330100', 'CHN')
    """
    code = text.strip()
    if code in _NAMES:
        return COUNTRY
    if _THREE.fullmatch(code):
        return code
    if _SIX.fullmatch(code) and not code.endswith("0000"):
        if code[:2] not in _BY_DIGITS:
            raise RegionError(f"{code} is no GB/T 2260 code: no province has the first two digits {code[:2]}.")
        return code
    return province(code).iso


def chain(code: str) -> tuple[str, ...]:
    """Return the region and what it lies in, from the smallest to everywhere ("").

    Examples
    --------
    >>> chain("330106"), chain("CN-ZJ")
    (('330106', '330100', 'CN-ZJ', 'CHN', ''), ('CN-ZJ', 'CHN', ''))
    """
    if not _SIX.fullmatch(code):
        return ("",) if not code else (code, "") if _THREE.fullmatch(code) else (code, COUNTRY, "")
    own = (code,) if code.endswith("00") else (code, f"{code[:4]}00")
    return (*own, _BY_DIGITS[code[:2]], COUNTRY, "")
