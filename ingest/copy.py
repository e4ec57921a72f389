"""PostgreSQL's binary COPY format, laid out column by column with numpy: no Python runs per row.

A row on the wire is a field count, then each field's length and bytes, all big-endian; a missing field has length
-1 and no bytes. Rows with the same fields missing therefore have the same size: one structured array per pattern
of missing fields holds them all, and is the stream. Values are assigned field by field, which swaps their bytes
(`numpy.concatenate` would silently turn big-endian arrays native, so streams are joined as bytes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from ingest.database import Connection

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
POSTGRES_EPOCH_MS: Final = 946_684_800_000
"""2000-01-01 in ms since 1970: where ``timestamptz`` counts its microseconds from."""

_TYPES: Final = {
    "timestamptz": ">i8",
    "float8": ">f8",
    "int8": ">i8",
    "int4": ">i4",
    "int2": ">i2",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column to be copied.

    Parameters
    ----------
    name
        Of the table's column.
    kind
        PostgreSQL type: ``timestamptz`` (values: µs since 2000-01-01), ``float8``, ``int8``, ``int4``, ``int2``, or
        ``text`` (one constant for all rows, given as an array of one bytes object).
    values
        (n,), or (1,) for a constant.
    missing
        bool (n,), True where the field is NULL; None where none is.
    """

    name: str
    kind: str
    values: NDArray[Any]
    missing: NDArray[np.bool_] | None = None


def micros(ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ms since 1970 as ``timestamptz`` counts: µs since 2000."""
    return (ms - POSTGRES_EPOCH_MS) * 1000


def from_micros(us: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return µs since 2000 as datetime64[ns]."""
    return ((us + POSTGRES_EPOCH_MS * 1000) * 1000).view("datetime64[ns]")


def encode(columns: Sequence[Column], size: int) -> bytes:
    """Return `size` rows as a whole COPY BINARY stream; rows with the same fields missing stand together.

    Parameters
    ----------
    columns
        In the order COPY names them.
    size
        Number of rows n.
    """
    pattern = np.zeros(size, dtype=np.int64)
    nullable = [(i, c.missing) for i, c in enumerate(columns) if c.missing is not None]
    for i, missing in nullable:
        pattern |= missing.astype(np.int64) << i
    parts = [HEADER]
    if not nullable:
        parts.append(_records(columns, size, rows=None, absent=0).tobytes())
    else:
        for absent in np.unique(pattern):
            rows = np.flatnonzero(pattern == absent)
            parts.append(_records(columns, rows.size, rows=rows, absent=int(absent)).tobytes())
    return b"".join([*parts, TRAILER])


def _records(columns: Sequence[Column], size: int, *, rows: NDArray[np.intp] | None, absent: int) -> NDArray[np.void]:
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        layout.append((f"length {i}", ">i4"))
        if not absent >> i & 1:
            layout.append((f"field {i}", _type(column)))
    records = np.empty(size, dtype=layout)
    records["fields"] = len(columns)
    for i, column in enumerate(columns):
        if absent >> i & 1:
            records[f"length {i}"] = -1
            continue
        records[f"length {i}"] = np.dtype(_type(column)).itemsize
        constant = rows is None or column.values.size == 1
        records[f"field {i}"] = column.values if constant else column.values[rows]
    return records


def _type(column: Column) -> str:
    return f"S{len(column.values[0])}" if column.kind == "text" else _TYPES[column.kind]


def write(conn: Connection, table: str, columns: Sequence[Column], size: int) -> None:
    """Copy rows into a table, within the caller's transaction.

    Parameters
    ----------
    conn
        Where to.
    table
        The table's name.
    columns
        What to write; names and types as the table has them.
    size
        Number of rows n.
    """
    if size == 0:
        return
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    )
    with conn.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(encode(columns, size))
