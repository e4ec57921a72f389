"""The 34 province-level units of China, as the inversion's regions; their table is `qc.provinces`."""

from __future__ import annotations

from inversion.errors import InversionError
from qc.provinces import PROVINCES, Province, ProvinceError
from qc.provinces import province as known

__all__ = ["PROVINCES", "Province", "RegionError", "province"]


class RegionError(InversionError):
    """A region that is not known, or a grid on which regions cannot be laid."""


def province(key: str) -> Province:
    """Return the unit that a code or a name stands for; see `qc.provinces.province`.

    Raises
    ------
    RegionError
        When it is none of these.
    """
    try:
        return known(key)
    except ProvinceError as error:
        raise RegionError(str(error)) from None
