"""Text files of archives: decoded, in numbered lines and columns; what is wrong is said with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.errors import FileError

_NUMERALS: Final = frozenset("0123456789+-.eE")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_MOST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Text:
    """A file's lines.

    Parameters
    ----------
    path
        The file.
    lines
        Without their ends; line k of the file is ``lines[k - 1]``.
    ended
        Whether the last line has an end, too.
    """

    path: Path
    lines: list[str]
    ended: bool

    def fault(self, number: int, what: str) -> FileError:
        """Return the error that says what is wrong with a line, by its number (from 1)."""
        return FileError(f"{self.path}, line {number}: {what}")


def load(path: Path, content: bytes, *, encoding: str | None = None) -> Text:
    """Return a file's text.

    Parameters
    ----------
    path
        Its name, for what is said.
    content
        Its bytes.
    encoding
        How they are encoded; None: UTF-8, with or without a byte order mark.

    Raises
    ------
    FileError
        The bytes are not text in that encoding.
    """
    used = encoding or "utf-8-sig"
    if encoding is None and content.startswith(_UTF16):
        raise FileError(f"{path}, line 1: the file is UTF-16; read it with encoding='utf-16'")
    try:
        text = content.decode(used)
    except LookupError:
        raise FileError(f"{path}: {encoding!r} is no encoding") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not {used.removesuffix('-sig').upper()}; "
            "say how the file is encoded (encoding='latin-1', 'gb18030', ...)"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FileError(f"{path}, line {line}: a NUL character, as no text has; is the file complete?")
    lines = text.replace("\r\n", "\n").split("\n")
    ended = not lines[-1]
    return Text(path, lines[:-1] if ended else lines, ended)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of a text in columns.

    Parameters
    ----------
    text
        Where they are from.
    names
        Of the columns.
    numbers
        Number of each row's line.
    cells
        One tuple a column, as long as `numbers`.
    """

    text: Text
    names: tuple[str, ...]
    numbers: NDArray[np.int64]
    cells: dict[str, Sequence[str]]

    def __contains__(self, name: str) -> bool:
        return name in self.cells

    def fault(self, row: int, what: str) -> FileError:
        """Return the error that says what is wrong with a row."""
        return self.text.fault(int(self.numbers[row]), what)

    def floats(self, name: str, *, nan: bool = False) -> NDArray[np.float64]:
        """Return a column as float64 (n,).

        Parameters
        ----------
        name
            Its name.
        nan
            Whether the word ``nan`` may stand for a number.

        Raises
        ------
        FileError
            A cell is no number.
        """
        cells = self.cells[name]
        allowed = _NUMERALS | set("na") if nan else _NUMERALS
        try:
            if set("".join(cells)) <= allowed:
                return np.array(cells, dtype=np.str_).astype(np.float64) if cells else np.empty(0)
        except ValueError:
            pass
        for row, cell in enumerate(cells):
            if not _is_number(cell, nan=nan):
                raise self.fault(row, f"{name} is {shown(cell)}, expected a number")
        raise AssertionError

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a column as int64 (n,).

        Raises
        ------
        FileError
            A cell is no whole number.
        """
        values = self.floats(name)
        wrong = np.flatnonzero(values != np.rint(values))
        if wrong.size:
            row = int(wrong[0])
            raise self.fault(row, f"{name} is {shown(self.cells[name][row])}, expected a whole number")
        return values.astype(np.int64)

    def words(self, name: str) -> NDArray[np.str_]:
        """Return a column as text (n,)."""
        return np.array(self.cells[name], dtype=np.str_)

    def require_decimals(self, name: str) -> None:
        """Raise where a cell of a column has not as many decimals as the others: what is cut looks like a number."""
        decimals = [len(cell.partition(".")[2]) for cell in self.cells[name]]
        if len(set(decimals)) > 1:
            usual = max(set(decimals), key=decimals.count)
            row = next(i for i, count in enumerate(decimals) if count != usual)
            raise self.fault(
                row, f"{name} is {shown(self.cells[name][row])}, expected {usual} decimals as elsewhere; is it cut?"
            )


def columns(
    text: Text,
    first: int,
    names: Sequence[str],
    split: Callable[[str], list[str]] = str.split,
    *,
    comment: str = "",
) -> Columns:
    """Return the rows from a line on.

    Parameters
    ----------
    text
        The file.
    first
        Number of the first row's line, from 1.
    names
        Of the columns.
    split
        Cuts a line into cells.
    comment
        Lines that begin with it are left out, where not empty.

    Raises
    ------
    FileError
        A row has another number of cells, or there is none.
    """
    numbers, rows = [], []
    for number, line in enumerate(text.lines[first - 1 :], first):
        if not line.strip() or (comment and line.startswith(comment)):
            continue
        cells = split(line)
        if len(cells) != len(names):
            raise text.fault(number, f"{len(cells)} columns, expected {len(names)}; is the line cut?")
        numbers.append(number)
        rows.append(cells)
    if not rows:
        raise text.fault(first, "no data follow; is the file complete?")
    by_column = dict(zip(names, zip(*rows, strict=True), strict=True))
    return Columns(text, tuple(names), np.array(numbers), {name: by_column[name] for name in names})


def require_width(table: Columns) -> None:
    """Raise where a row is not as long as the others, in a format of fixed width."""
    lengths = np.array([len(table.text.lines[number - 1].rstrip()) for number in table.numbers])
    wrong = np.flatnonzero(lengths != np.bincount(lengths).argmax())
    if wrong.size:
        row = int(wrong[0])
        raise table.fault(row, f"{lengths[row]} characters, expected {np.bincount(lengths).argmax()}; is the line cut?")


def _is_number(cell: str, *, nan: bool) -> bool:
    if not set(cell) <= _NUMERALS:
        return nan and cell == "nan"
    try:
        float(cell)
    except ValueError:
        return False
    return True


def shown(cell: str) -> str:
    """Return a cell as a sentence shows it."""
    return repr(cell if len(cell) <= _MOST_SHOWN else cell[:_MOST_SHOWN] + "…")


def keys(lines: Sequence[str], form: str) -> dict[str, str]:
    """Return ``key -> value`` of header lines that have the form of a regular expression with those two groups."""
    found = (re.match(form, line) for line in lines)
    return {match[1].strip(): match[2].strip() for match in found if match}


def dates(table: Columns, *parts: str) -> NDArray[np.datetime64]:
    """Return the times that columns of whole numbers give: year, month, day, hour, minute, second, as many as named.

    Raises
    ------
    FileError
        There is no such time.
    """
    numbers = [table.integers(name) for name in parts]
    bounds = ((1, 9998), (1, 12), (1, 31), (0, 24), (0, 59), (0, 60))
    for name, values, (low, high) in zip(parts, numbers, bounds, strict=False):
        wrong = np.flatnonzero((values < low) | (values > high))
        if wrong.size:
            row = int(wrong[0])
            raise table.fault(row, f"{name} is {values[row]}, expected {low} to {high}")
    months = ((numbers[0] - 1970) * 12 + numbers[1] - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (numbers[2] - 1).astype("timedelta64[D]")
    wrong = np.flatnonzero(days.astype("datetime64[M]") != months)
    if wrong.size:
        row = int(wrong[0])
        raise table.fault(row, f"{numbers[0][row]}-{numbers[1][row]:02}-{numbers[2][row]:02} is no day")
    seconds = days.astype("datetime64[s]")
    for values, unit in zip(numbers[3:], (3600, 60, 1), strict=False):
        seconds = seconds + (values * unit).astype("timedelta64[s]")
    found: NDArray[np.datetime64] = seconds.astype("datetime64[ns]")
    return found
