"""What an archive's file is made of: one gas of a dataset, checked, and numbers that lose nothing as text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ingest.errors import FileError
from qc.schema import OBS, SchemaError, require

COMPANIONS: Final = (
    "stdev",
    "n",
    "uncertainty",
    "u_random",
    "u_shared",
    "n_rejected",
    "n_minutes",
    "flag",
    "cause",
    "selection",
    "flag_source",
)
"""What stands beside a gas's values."""


@dataclass(frozen=True, slots=True)
class Series:
    """One gas of one station and inlet.

    Parameters
    ----------
    gas
        Its name.
    ds
        OBS.
    start, end
        datetime64[ns] (n,): the intervals.
    """

    gas: str
    ds: xr.Dataset
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]

    @property
    def value(self) -> xr.DataArray:
        """Its values."""
        return self.ds[self.gas]

    def companion(self, name: str) -> NDArray[Any] | None:
        """Return what stands beside the values under a name, None where there is nothing."""
        full = f"{self.gas}_{name}"
        return self.ds[full].values if full in self.ds.variables else None

    def attribute(self, name: str, default: str = "") -> str:
        """Return an attribute of the dataset as text."""
        return str(self.ds.attrs.get(name, default))


def series(ds: xr.Dataset, gas: str | None) -> Series:
    """Return the gas of a dataset that is to be written.

    Parameters
    ----------
    ds
        OBS.
    gas
        Which one; None: the only one.

    Raises
    ------
    FileError
        The dataset is not OBS, has no such gas, or several and none is chosen.
    """
    try:
        require(ds, OBS)
    except SchemaError as error:
        raise FileError(f"nothing is written: {error}") from error
    known = OBS.species(ds)
    if gas is None and len(known) > 1:
        raise FileError(f"a file of this format holds one gas, the dataset has {', '.join(known)}: give gas=")
    chosen = known[0] if gas is None else gas
    if chosen not in known:
        raise FileError(f"the dataset has no gas {chosen!r}; it has {', '.join(known)}")
    if not ds.sizes["time"]:
        raise FileError("nothing is written: the dataset has no time")
    bounds = ds["time_bnds"].values.astype("datetime64[ns]")
    return Series(chosen, ds, bounds[:, 0], bounds[:, 1])


def length(one: Series, format_name: str) -> np.timedelta64:
    """Return the length all intervals have.

    Raises
    ------
    FileError
        They have not the same, or a time is not in the middle of its own, which the format cannot say.
    """
    lengths = one.end - one.start
    if (lengths != lengths[0]).any():
        row = int(np.flatnonzero(lengths != lengths[0])[0])
        raise FileError(
            f"{format_name} holds intervals of one length: at {one.start[row]} it is {lengths[row]}, "
            f"before {lengths[0]}"
        )
    middle = one.start + lengths // 2
    wrong = np.flatnonzero(one.ds["time"].values.astype("datetime64[ns]") != middle)
    if wrong.size:
        row = int(wrong[0])
        raise FileError(f"{format_name} cannot say that a time is not in the middle of its interval: {one.start[row]}")
    first: np.timedelta64 = lengths[0]
    return first


def decimals(values: NDArray[np.floating] | None, size: int, missing: str, *, least: int = 3) -> list[str]:
    """Return numbers as text, all with as many decimals as the one that needs most; read again they are the same.

    Parameters
    ----------
    values
        (n,), NaN where there is none; None: nowhere.
    size
        n.
    missing
        What stands for none; its own decimals are kept.
    least
        Decimals at least.
    """
    if values is None:
        return [missing] * size
    there = np.isfinite(values)
    needed = max((_decimals(value) for value in np.unique(values[there]).tolist()), default=0)
    form = f"%.{max(needed, least)}f"
    digits = missing.partition(".")[2]
    nothing = missing + "0" * (max(needed, least) - len(digits)) if digits else missing
    return [form % value if ok else nothing for value, ok in zip(values.tolist(), there.tolist(), strict=True)]


def _decimals(value: float) -> int:
    text = np.format_float_positional(value, unique=True, trim="-")
    return len(text.partition(".")[2])


def whole(values: NDArray[Any] | None, size: int, missing: int) -> list[str]:
    """Return whole numbers as text, `missing` where there is none.

    Raises
    ------
    FileError
        A number is not whole.
    """
    if values is None:
        return [str(missing)] * size
    there = np.isfinite(values)
    if (values[there] != np.rint(values[there])).any():
        raise FileError("a count is not a whole number, as the format has it")
    return [str(int(value)) if ok else str(missing) for value, ok in zip(values, there, strict=True)]


def calendar(times: NDArray[np.datetime64]) -> list[NDArray[np.int64]]:
    """Return year, month, day, hour, minute, second of times, each (n,).

    Raises
    ------
    FileError
        A time is not on a whole second.
    """
    seconds = times.astype("datetime64[s]")
    if (seconds.astype("datetime64[ns]") != times).any():
        raise FileError(f"{times[seconds.astype('datetime64[ns]') != times][0]} is not on a whole second")
    years, months, days = (seconds.astype(f"datetime64[{unit}]") for unit in "YMD")
    rest = (seconds - days.astype("datetime64[s]")).astype(np.int64)
    return [
        years.astype(np.int64) + 1970,
        (months - years.astype("datetime64[M]")).astype(np.int64) + 1,
        (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        rest // 3600,
        rest // 60 % 60,
        rest % 60,
    ]


def decimal_year(times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return times as decimal years, leap years included."""
    years = times.astype("datetime64[Y]")
    begin, end = (moment.astype("datetime64[ns]").astype(np.int64) for moment in (years, years + 1))
    share = (times.astype(np.int64) - begin).astype(np.float64) / (end - begin)
    found: NDArray[np.float64] = (years.astype(np.int64) + 1970).astype(np.float64) + share
    return found


@contextmanager
def written(path: str | PathLike[str]) -> Iterator[Path]:
    """Give the path of a file that takes the place of `path` when all went well; else nothing is left."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise FileError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def lines_into(path: str | PathLike[str], lines: Iterable[str]) -> None:
    """Write lines as UTF-8."""
    with written(path) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def plain(number: float) -> str:
    """Return a number as text without an exponent; read again it is the same."""
    return np.format_float_positional(float(number), unique=True, trim="0")


def one_line(text: str) -> str:
    """Return a text as it may stand in a header."""
    return " ".join(text.split())
