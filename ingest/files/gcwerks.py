"""GCWerks' exports: fixed-width means of analysers (``.dat``), and chromatographs' samples (``.C``) with precisions.

Times are the middle of the sample (UTC). A ``.dat`` names neither units nor scales nor place: its values are in ppm
(CO2) and ppb by GCWerks's convention, everything else its reader has to say. In a ``.C`` each value is followed by four
marks; the first says whether it was flagged. Its precisions are in a file of their own, ``NAME.precisions.C``.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.files.record import UNITS, Gas, Record
from ingest.files.text import Columns, Text, columns, dates, load, require_width, shown
from qc.flags import Flag

MEANS: Final = "gcwerks"
SAMPLES: Final = "gcwerks-c"
_CONVENTION: Final = {"co2": "ppm"}
_SAMPLE: Final = np.timedelta64(20, "m")
"""How long a Medusa draws a sample."""
_CENTURY: Final = 70
"""Years of two digits from here on are of the last century."""


def recognises(head: bytes) -> str | None:
    """Return the format a file begins like, None where it is neither."""
    if not head.startswith(b"Created:"):
        return None
    lines = head.split(b"\n", 3)
    if len(lines) > 2 and lines[2].split()[:4] == [b"date", b"time", b"type", b"port"]:
        return MEANS
    return SAMPLES if b"Scale:" in head[:4096] else None


# --- means -----------------------------------------------------------------------------------


def read_means(path: Path, content: bytes, *, encoding: str | None, interval: np.timedelta64 | None) -> Record:
    """Return what a ``.dat`` says; `interval` where it is not the usual distance of two stamps."""
    text = load(path, content, encoding=encoding)
    if len(text.lines) < 4:
        raise text.fault(len(text.lines), "the header is cut")
    names = _mean_columns(text)
    table = columns(text, 4, ["date", "time", "type", "port", *names])
    require_width(table)
    middle = _stamps(table)
    length = _usual(middle) if interval is None else interval.astype("timedelta64[ns]")
    start = middle - length // 2
    return Record(
        path=path,
        start=start,
        end=start + length,
        time=middle,
        gases=[_mean(table, gas) for gas in dict.fromkeys(name.partition(" ")[0] for name in names)],
        place={},
        lines=table.numbers,
        extras={
            "sample_type": (table.words("type"), {"long_name": "what was sampled"}),
            "port": (table.words("port"), {"long_name": "valve position"}),
        },
        attributes={"title": text.lines[0]},
    )


def _mean_columns(text: Text) -> list[str]:
    """Return the columns after the port's, as ``co2 C``."""
    gases, kinds = text.lines[1].split()[4:], text.lines[2].split()[4:]
    if len(gases) != len(kinds) or not gases or set(kinds) - {"C", "stdev", "N"}:
        raise text.fault(3, f"{shown(text.lines[2])}, expected date time type port and C, stdev, N of each gas")
    return [f"{gas} {kind}" for gas, kind in zip(gases, kinds, strict=True)]


def _stamps(table: Columns) -> NDArray[np.datetime64]:
    parts: list[tuple[str, ...]] = []
    for row, (day, clock) in enumerate(zip(table.cells["date"], table.cells["time"], strict=True)):
        if not (re.fullmatch(r"\d{6}", day) and re.fullmatch(r"\d{6}", clock)):
            raise table.fault(row, f"{shown(f'{day} {clock}')} is no time, expected yymmdd hhmmss")
        year = ("19" if int(day[:2]) >= _CENTURY else "20") + day[:2]
        parts.append((year, day[2:4], day[4:], clock[:2], clock[2:4], clock[4:]))
    names = ("year", "month", "day", "hour", "minute", "second")
    split = Columns(table.text, names, table.numbers, dict(zip(names, zip(*parts, strict=True), strict=True)))
    return dates(split, *names)


def _usual(middle: NDArray[np.datetime64]) -> np.timedelta64:
    """Return the usual distance of two stamps, in whole minutes."""
    steps = np.diff(middle).astype("timedelta64[s]").astype(np.int64)
    steps = steps[steps > 0]
    seconds = int(np.median(steps)) if steps.size else 60
    return np.timedelta64(max(round(seconds / 60), 1) * 60 * 10**9, "ns")


def _mean(table: Columns, gas: str) -> Gas:
    value = table.floats(f"{gas} C", nan=True)
    _require_decimals(table, f"{gas} C")
    return Gas(
        name=gas.lower(),
        unit=_CONVENTION.get(gas.lower(), "ppb"),
        scale=None,
        value=value,
        stdev=table.floats(f"{gas} stdev", nan=True) if f"{gas} stdev" in table else None,
        n=table.floats(f"{gas} N", nan=True) if f"{gas} N" in table else None,
        flag=np.where(table.words("type") == "air", np.int8(Flag.GOOD), np.int8(Flag.BAD)),
    )


def _require_decimals(table: Columns, name: str) -> None:
    """Raise where a number has not as many decimals as the others; ``nan`` has none."""
    rows = [row for row, cell in enumerate(table.cells[name]) if cell != "nan"]
    cells = [table.cells[name][row] for row in rows]
    if cells:
        Columns(table.text, (name,), table.numbers[rows], {name: cells}).require_decimals(name)


# --- samples ---------------------------------------------------------------------------------


def read_samples(
    path: Path,
    content: bytes,
    *,
    encoding: str | None,
    interval: np.timedelta64 | None,
    precisions: Path | None,
) -> Record:
    """Return what a ``.C`` says, with its precisions where they are given or lie beside it."""
    text = load(path, content, encoding=encoding)
    if len(text.lines) < 6:
        raise text.fault(len(text.lines), "the header is cut")
    names = _sample_columns(text)
    table = columns(text, 6, names)
    require_width(table)
    middle = dates(table, "yyyy", "mm", "dd", "hh", "mi")
    length = (_SAMPLE if interval is None else interval).astype("timedelta64[ns]")
    scales, units = text.lines[2].split(), text.lines[3].split()
    beside = path.with_name(f"{path.name.removesuffix('.C')}.precisions.C")
    where = precisions or (beside if beside.is_file() else None)
    known = {} if where is None else _precisions(where, middle)
    gases = [
        _sample(table, column, scales[at], units[at], known.get(column))
        for column, at in _places(text, names, scales, units)
    ]
    return Record(
        path=path,
        start=middle - length // 2,
        end=middle + length // 2,
        time=middle,
        gases=[gas for gas in gases if gas is not None],
        place={"station": text.lines[1].split("-")[0].strip()},
        lines=table.numbers,
        extras={name.lower(): (table.words(name), {}) for name in ("Inlet", "Standard") if name in table},
        attributes={"title": text.lines[0]},
    )


def _sample_columns(text: Text) -> list[str]:
    names = text.lines[4].split()
    if names[1:6] != ["yyyy", "mm", "dd", "hh", "mi"] or names.count("Flag") == 0:
        raise text.fault(5, f"{shown(text.lines[4])}, expected Year yyyy mm dd hh mi ... and gases with Flag")
    return [f"{before} Flag" if name == "Flag" else name for before, name in pairwise(["", *names])]


def _places(text: Text, names: list[str], scales: list[str], units: list[str]) -> list[tuple[str, int]]:
    """Return each gas's column and where its scale and unit stand in their lines."""
    gases = [name.removesuffix(" Flag") for name in names if name.endswith(" Flag")]
    # Cells of those lines are "--" or a word; each gas has one word or "--", then "--" for its flag.
    if len(scales) != len(units) or len(units) < 2 * len(gases):
        raise text.fault(3, f"{len(scales)} scales and {len(units)} units of {len(gases)} gases")
    first = len(units) - 2 * len(gases)
    return [(gas, first + 2 * turn) for turn, gas in enumerate(gases)]


def _sample(table: Columns, column: str, scale: str, unit: str, precision: NDArray[np.float64] | None) -> Gas | None:
    if unit not in UNITS:  # signals and ratios, which are no mole fractions
        return None
    marks = table.words(f"{column} Flag")
    strange = next((row for row, word in enumerate(marks.tolist()) if len(word) != 4), None)
    if strange is not None:
        raise table.fault(strange, f"Flag of {column} is {shown(str(marks[strange]))}, expected four characters")
    flagged = np.array([word[0] != "-" for word in marks.tolist()])
    return Gas(
        name=re.sub(r"[^a-z0-9]", "", column.lower()),
        unit=unit,
        scale=scale,
        value=table.floats(column, nan=True),
        uncertainty=precision,
        flag=np.where(flagged, np.int8(Flag.BAD), np.int8(Flag.GOOD)),
        flag_source=marks,
    )


def _precisions(path: Path, times: NDArray[np.datetime64]) -> dict[str, NDArray[np.float64]]:
    """Return gas -> its precision at times: the last one stated before."""
    text = load(path, path.read_bytes())
    if len(text.lines) < 6:
        raise text.fault(len(text.lines), "the header is cut")
    gases = text.lines[3].split()[1:]
    names = ["date", *(f"{gas} {what}" for gas in gases for what in ("precision", "N"))]
    table = columns(text, 6, names)
    days = []
    for row, day in enumerate(table.cells["date"]):
        if not re.fullmatch(r"\d{6}", day):
            raise table.fault(row, f"{shown(day)} is no day, expected yymmdd")
        days.append(f"{'19' if int(day[:2]) >= _CENTURY else '20'}{day[:2]}-{day[2:4]}-{day[4:]}")
    order = np.argsort(np.array(days), kind="stable")
    stated = np.array(days, dtype="datetime64[D]")[order]
    at = np.searchsorted(stated, times.astype("datetime64[D]"), side="right") - 1
    found: dict[str, NDArray[np.float64]] = {}
    for gas in gases:
        values = table.floats(f"{gas} precision", nan=True)[order]
        found[gas] = np.where(at < 0, np.nan, values[np.maximum(at, 0)])
    return found
