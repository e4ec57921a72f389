"""Rows out of PostgreSQL into numpy: fields packed by the server, one buffer a group, no Python per row.

COPY TO hands the client every row by itself, which costs some 4 µs of Python each. Here the server strings the
binary fields of all rows of a group together, and the client looks at one buffer as a structured array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from ingest.copy import from_micros
from ingest.database import Connection

_KINDS: Final[dict[str, tuple[str, sql.SQL, sql.SQL]]] = {
    "timestamptz": (">i8", sql.SQL("timestamptz_send"), sql.SQL("'-infinity'")),
    "float8": (">f8", sql.SQL("float8send"), sql.SQL("'NaN'")),
    "int8": (">i8", sql.SQL("int8send"), sql.SQL("-1")),
    "int4": (">i4", sql.SQL("int4send"), sql.SQL("-1")),
    "int2": (">i2", sql.SQL("int2send"), sql.SQL("'-1'")),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One column to be fetched.

    Parameters
    ----------
    name
        Of the column.
    kind
        ``timestamptz``, ``float8``, ``int8``, ``int4`` or ``int2``.
    nullable
        Whether it may be NULL: NaN or -1 stands for it then.
    """

    name: str
    kind: str
    nullable: bool = False


def packed(fields: Sequence[Field]) -> sql.Composed:
    """Return the SQL aggregate of a group's rows packed into one ``bytea``, in no particular order."""
    terms = []
    for field in fields:
        _, send, missing = _KINDS[field.kind]
        column: sql.Composable = sql.Identifier(field.name)
        if field.nullable:
            column = sql.SQL("coalesce({}, {})").format(column, missing)
        terms.append(sql.SQL("{}({})").format(send, column))
    return sql.SQL("string_agg({}, ''::bytea)").format(sql.SQL(" || ").join(terms))


def unpacked(buffers: Sequence[bytes], fields: Sequence[Field]) -> dict[str, NDArray[Any]]:
    """Return the columns in the buffers of one or more groups, native, in time order where there is a ``time``.

    Parameters
    ----------
    buffers
        Of `packed`.
    fields
        As given to `packed`; ``timestamptz`` becomes datetime64[ns].
    """
    layout = np.dtype([(field.name, _KINDS[field.kind][0]) for field in fields])
    records = np.frombuffer(b"".join(buffers), dtype=layout)
    columns: dict[str, NDArray[Any]] = {}
    for field in fields:
        native = np.ascontiguousarray(records[field.name]).astype(layout[field.name].newbyteorder("="))
        columns[field.name] = from_micros(native) if field.kind == "timestamptz" else native
    if "time" in columns and (columns["time"][1:] < columns["time"][:-1]).any():
        order = np.argsort(columns["time"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
    return columns


def fetch(
    conn: Connection, query: sql.Composed, parameters: Sequence[Any] | Mapping[str, Any], fields: Sequence[Field]
) -> dict[Any, dict[str, NDArray[Any]]]:
    """Return group -> columns of a query that yields (group, packed) rows; groups may come in several rows."""
    with conn.cursor(binary=True) as cursor:
        cursor.execute(query, parameters, prepare=False)
        buffers: dict[Any, list[bytes]] = {}
        for group, buffer in cursor:
            buffers.setdefault(group, []).append(buffer)
    return {group: unpacked(parts, fields) for group, parts in buffers.items()}
