"""Fonts for Chinese names: in figures, and inside a page that carries its own."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
from pathlib import Path
from typing import Any, Final

import frykit
import matplotlib as mpl
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties

CHINESE: Final = Path(frykit.get_data_dir()) / "zh_font.otf"
"""Source Han Sans (SIL Open Font License), cut by frykit to the characters of place names."""
LATIN: Final = "DejaVu Sans"
"""matplotlib's own font."""


_SYSTEM: Final = (
    "NotoSansCJK",
    "NotoSansSC",
    "SourceHanSans",
    "PingFang",
    "msyh",
    "wqy-",
    "simhei",
    "simsun",
    "STHeiti",
)
"""How files of fonts with all usual Chinese letters begin, the preferred first."""


@functools.cache
def system() -> tuple[Path, str] | None:
    """Return file and family of a font of this machine with all usual Chinese letters; None where there is none."""
    paths = sorted(Path(path) for path in font_manager.findSystemFonts())
    for begin in _SYSTEM:
        found = [p for p in paths if p.name.casefold().startswith(begin.casefold())]
        for path in sorted(found, key=lambda p: ("regular" not in p.name.casefold(), "bold" in p.name.casefold())):
            font_manager.fontManager.addfont(str(path))
            names = [entry.name for entry in font_manager.fontManager.ttflist if entry.fname == str(path)]
            # A collection has a face per region; the letters of the mainland are in the one called SC or CN.
            return path, next((n for n in names if n.endswith((" SC", " CN")) and "Mono" not in n), names[0])
    return None


@functools.cache
def _families() -> list[str]:
    manager = font_manager.fontManager
    manager.addfont(str(CHINESE))
    # The font calls its regular weight 350, which matplotlib would complain about whenever it is used.
    manager.ttflist = [
        dataclasses.replace(entry, weight=400) if entry.fname == str(CHINESE) else entry for entry in manager.ttflist
    ]
    packaged = FontProperties(fname=str(CHINESE)).get_name()
    found = system()
    return [LATIN, packaged] if found is None else [LATIN, found[1], packaged]


def properties(**style: Any) -> FontProperties:
    """Return font properties that draw Latin and Chinese letters, the latter as far as a font of this machine goes.

    Without one it is the packaged font, which has those of place names.
    """
    return FontProperties(family=_families(), **style)


@functools.cache
def _characters() -> frozenset[int]:
    latin = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    known: set[int] = set()
    found = system()
    for path in (latin, CHINESE, *(() if found is None else (found[0],))):
        with TTFont(path, lazy=True, fontNumber=0) as font:
            known.update(font.getBestCmap())
    return frozenset(known)


def covers(text: str) -> bool:
    """Say whether figures can show all letters of `text`."""
    return {ord(c) for c in text if not c.isspace()} <= _characters()


def drawable(text: str) -> str:
    """Return `text` with what neither font has replaced by a box, so that a name never stops a figure."""
    return "".join(c if ord(c) in _characters() else "□" for c in text).replace("$", r"\$")


def embedded(text: str) -> str:
    """Return the Chinese font cut to the characters of `text`, a WOFF file in base64; "" where it has none of them."""
    with TTFont(CHINESE, recalcTimestamp=False) as font:
        wanted = {ord(c) for c in text if ord(c) > 0x2E7F} & set(font.getBestCmap())
        if not wanted:
            return ""
        cutter = subset.Subsetter(subset.Options(layout_features=[], hinting=False, notdef_outline=True))
        cutter.populate(unicodes=sorted(wanted))
        cutter.subset(font)
        font.flavor = "woff"
        stream = io.BytesIO()
        font.save(stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")
