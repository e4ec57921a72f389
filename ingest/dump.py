r"""The small tables as files that need no skyledger to be read, and back into an empty database.

A folder holds a CSV file for each table (UTF-8, a heading, NULL empty and text ``""``, times in ISO 8601, UTC, bytes as
``\x`` and hexadecimal), ``manifest.json`` with the schema's version, rows and columns, and ``SHA256SUMS``, which
``sha256sum -c`` understands. Of messages only those of events are in it, for an event is part of one.

Cost grows with the number of rows in these tables: stations, decisions, runs; not with readings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg import sql

from ingest.database import Connection, connect
from ingest.errors import StoreError
from ingest.migrate import applied, require_current
from station_agent import __version__

TABLES: Final[Mapping[str, str]] = {
    "station": "",
    "inlet": "",
    "instrument": "",
    "instrument_port": "",
    "channel": "",
    "cylinder": "",
    "catalogue_change": "",
    "state": "",
    "station_status": "",
    "message": "kind = 'event'",
    "event": "",
    "backfill": "",
    "replacement": "",
    "manual_flag": "",
    "cylinder_correction": "",
    "qc_run": "",
    "qc_series": "",
    "injection": "",
    "inversion_run": "",
    "posterior_region": "",
    "inventory_entry": "",
}
"""What is written, what refers to another after it; and which rows, where not all."""
LEFT_OUT: Final[Mapping[str, str]] = {
    "reading": "made again from the messages",
    "reading_aside": "made again from the messages",
    "minute": "made again by quality control",
    "hour": "made again by quality control",
    "preview_hour": "made again from the readings",
    "preview_day": "made again from the readings",
    "feed_cursor": "of its own server",
    "migration": "in the manifest",
}
"""What is not written, and why."""
_OF_ITS_SERVER: Final = "xid"
"""Column with a transaction's number, which means nothing elsewhere: there, what comes in is news."""
_SUMS: Final = "SHA256SUMS"
_MANIFEST: Final = "manifest.json"
_FORMAT: Final = "skyledger tables, 1"
_PIECE: Final = 2**20

_PLAINLY: Final = """
SET LOCAL client_encoding = 'UTF8'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'iso_8601';
SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1"""
"""Whatever the server's or the user's own ways of writing are."""
_COLUMNS: Final = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname <> %s ORDER BY attnum"""
_SEQUENCES: Final = """
SELECT attname::text, pg_get_serial_sequence(%s, attname) FROM pg_attribute
WHERE attrelid = %s::regclass AND attidentity <> ''"""


def export(dsn: str, folder: Path) -> dict[str, int]:
    """Write the small tables, all as of one moment; returns how many rows of each.

    It is written beside its place and renamed: ended anywhere, or on a full disk, it leaves nothing.

    Parameters
    ----------
    dsn
        The database, as any user who may read it.
    folder
        Not there yet.

    Raises
    ------
    StoreError
        The folder is there or cannot be written, or the database is another version's.
    """
    folder = folder.absolute()
    if folder.exists():
        raise StoreError(f"{folder} is there already: give a folder that is not")
    draft = folder.with_name(f".{folder.name}.making-{os.getpid()}")
    try:
        with connect(dsn) as conn, conn.transaction():
            draft.mkdir(mode=0o700, parents=True)
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            conn.execute(_PLAINLY)
            require_current(conn)
            tables = {table: _write(conn, table, draft) for table in TABLES}
            schema = [[one.version, one.name, one.variant, one.checksum] for one in applied(conn)]
        manifest = {
            "format": _FORMAT,
            "skyledger": __version__,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "schema": schema,
            "tables": tables,
        }
        _put(draft / _MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        names = sorted(path.name for path in draft.iterdir())
        _put(draft / _SUMS, "".join(f"{_digest(draft / name)}  {name}\n" for name in names))
        draft.rename(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}; nothing was left there") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {table: int(about["rows"]) for table, about in tables.items()}


def _write(conn: Connection, table: str, folder: Path) -> dict[str, Any]:
    columns = _columns(conn, table)
    where = sql.SQL(" WHERE ") + sql.SQL(TABLES[table]) if TABLES[table] else sql.SQL("")
    query = sql.SQL("COPY (SELECT {} FROM {}{} ORDER BY 1, 2) TO STDOUT (FORMAT csv, HEADER)").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table), where
    )
    with (folder / f"{table}.csv").open("wb") as file, conn.cursor() as cursor:
        with cursor.copy(query) as copy:
            for piece in copy:
                file.write(piece)
        _flush(file)
        return {"file": f"{table}.csv", "rows": cursor.rowcount, "columns": columns}


def _columns(conn: Connection, table: str) -> list[str]:
    return [name for (name,) in conn.execute(_COLUMNS, [table, _OF_ITS_SERVER])]


def restore(dsn: str, folder: Path) -> dict[str, int]:
    """Bring the tables into a database that was migrated and holds nothing yet; returns how many rows of each.

    All or nothing, in one transaction. Jobs see everything in it as news.

    Parameters
    ----------
    dsn
        The database, as its owner.
    folder
        As `export` wrote it.

    Raises
    ------
    StoreError
        A file is missing, damaged or altered, the schema is another, or the database is not empty.
    """
    manifest = _verified(folder)
    try:
        with connect(dsn) as conn, conn.transaction():
            require_current(conn)
            _require_same_schema(conn, manifest["schema"], folder)
            _require_empty(conn)
            conn.execute(_PLAINLY)
            for table in TABLES:
                _read(conn, table, manifest["tables"][table], folder)
                _continue(conn, table)
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise StoreError(f"{folder} was not brought in: {said}; the database stands as before") from error
    return {table: int(about["rows"]) for table, about in manifest["tables"].items()}


def _verified(folder: Path) -> dict[str, Any]:
    """Hold every file to its checksum and return the manifest."""
    try:
        lines = (folder / _SUMS).read_text("utf-8").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        there = {path.name for path in folder.iterdir()} - {_SUMS}
        if there != set(sums):
            odd = ", ".join(sorted(there ^ set(sums)))
            raise StoreError(f"{folder} does not hold what its {_SUMS} says (see {odd}): copy it again")
        for name, digest in sums.items():
            if (found := _digest(folder / name)) != digest:
                raise StoreError(
                    f"{folder / name} was altered or damaged: its SHA-256 is {found}, {_SUMS} says {digest}; "
                    "copy it again"
                )
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder} is no export of tables: {error}") from error
    if manifest.get("format") != _FORMAT or set(manifest.get("tables", ())) != set(TABLES):
        raise StoreError(
            f"{folder} is of skyledger {manifest.get('skyledger')} and of other tables: bring it in with that version, "
            "then run `skyledger db migrate`"
        )
    return manifest


def _require_same_schema(conn: Connection, schema: list[list[Any]], folder: Path) -> None:
    """Variants may differ: what came from TimescaleDB goes to PostgreSQL alone, and back."""
    ours = [(one.version, one.name, one.checksum) for one in applied(conn) if one.variant == "any"]
    theirs = [(version, name, checksum) for version, name, variant, checksum in schema if variant == "any"]
    if ours != theirs:
        raise StoreError(
            f"{folder} was written at migration {theirs[-1][0]:04d} {theirs[-1][1]}, the database stands at "
            f"{ours[-1][0]:04d} {ours[-1][1]}: bring it in with the skyledger that wrote it, then migrate"
        )


def _require_empty(conn: Connection) -> None:
    for table in TABLES:
        query = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table))
        if conn.execute(query).fetchone() is not None:
            raise StoreError(
                f"table {table} of database {conn.info.dbname!r} has rows already: tables are brought into a new "
                "database (createdb, `skyledger db migrate`)"
            )


def _read(conn: Connection, table: str, about: Mapping[str, Any], folder: Path) -> None:
    query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER MATCH)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, about["columns"]))
    )
    with (folder / f"{table}.csv").open("rb") as file, conn.cursor() as cursor:
        with cursor.copy(query) as copy:
            while piece := file.read(_PIECE):
                copy.write(piece)
        if cursor.rowcount != about["rows"]:
            raise StoreError(f"{file.name} has {cursor.rowcount} rows, its manifest says {about['rows']}")


def _continue(conn: Connection, table: str) -> None:
    """Let numbers go on after the highest that came in."""
    for column, sequence in conn.execute(_SEQUENCES, [table, table]).fetchall():
        name = sql.Identifier(column)
        query = sql.SQL("SELECT setval(%s, max({})) FROM {} HAVING max({}) IS NOT NULL").format(
            name, sql.Identifier(table), name
        )
        conn.execute(query, [sequence])


def _put(path: Path, text: str) -> None:
    with path.open("wb") as file:
        file.write(text.encode())
        _flush(file)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
