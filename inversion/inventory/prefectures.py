"""Regions of a bottom-up inventory: provinces by their ISO code, prefectures and counties by their GB/T 2260 code."""

from __future__ import annotations

import re
from typing import Final

from inversion.provinces import PROVINCES, RegionError, province

COUNTRY: Final = "CN"

_SIX: Final = re.compile(r"\d{6}")
_BY_DIGITS: Final = {unit.gbt2260[:2]: unit.iso for unit in PROVINCES}


def region(text: str) -> str:
    """Return the code of a province (ISO 3166-2), or of a prefecture or county (GB/T 2260, six digits).

    Raises
    ------
    RegionError

    Examples
    --------
    >>> region("浙江"), region("330000"), region("330100"), region("CN")
    ('CN-ZJ', 'CN-ZJ', '330100', 'CN')
    """
    code = text.strip()
    if code == COUNTRY:
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
    (('330106', '330100', 'CN-ZJ', 'CN', ''), ('CN-ZJ', 'CN', ''))
    """
    if not _SIX.fullmatch(code):
        return (code, "") if code == COUNTRY else (code, COUNTRY, "") if code else ("",)
    own = (code,) if code.endswith("00") else (code, f"{code[:4]}00")
    return (*own, _BY_DIGITS[code[:2]], COUNTRY, "")
