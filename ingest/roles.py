"""Users of the database and what they may do: a role for each part of the work (migrations 0014, 0015)."""

from __future__ import annotations

import re
import secrets
from enum import StrEnum
from typing import Final

import psycopg
from psycopg import sql

from ingest.database import Connection
from ingest.errors import StoreError

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


_GRANTED: Final = """
SELECT pg_get_userbyid(relowner) = %s AND (SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s)) = %s
FROM pg_class WHERE oid = 'reading'::regclass"""


class Role(StrEnum):
    """What a user is for."""

    INGEST = "ingest"
    QC = "qc"
    INVENTORY = "inventory"
    READER = "reader"

    @property
    def group(self) -> str:
        """The role in the database that holds its rights."""
        return f"skyledger_{self}"


def grant(conn: Connection) -> None:
    """Make the roles and give them their rights; as often as you like.

    Raises
    ------
    StoreError
        Where the connection's user may not.
    """
    row = conn.execute("SELECT grant_roles()").fetchone()
    if row is not None and row[0]:
        raise StoreError(row[0])


def granted(conn: Connection) -> bool:
    """Whether the roles are there and have their rights: the last they are given is `reading`."""
    row = conn.execute(_GRANTED, [Role.INGEST.group, [role.group for role in Role], len(Role)]).fetchone()
    return row is not None and bool(row[0])


def user(conn: Connection, name: str, role: Role, *, connections: int, password: str | None = None) -> str:
    """Make a user of a role, or give one who is there this role and a new password; returns the password.

    Parameters
    ----------
    conn : Connection
        Of a user who may make roles.
    name : str
        a-z, 0-9 and _.
    role : Role
        Rights of other roles of ours are taken away.
    connections : int
        How many connections it may have at a time.
    password : str, optional
        By default one is drawn. The server is given its SCRAM verifier alone: neither its log nor the network sees it.

    Raises
    ------
    StoreError
        Where the name is none, or the connection's user may not.
    """
    if not _NAME.fullmatch(name) or name.startswith(("pg_", "skyledger_")):
        raise StoreError(
            f"{name!r} is no name of a user: expected a-z, 0-9 and _, not beginning with pg_ or skyledger_"
        )
    password = password or secrets.token_urlsafe(24)
    verifier = conn.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    who = sql.Identifier(name)
    options = sql.SQL("LOGIN CONNECTION LIMIT {} PASSWORD {}").format(sql.Literal(connections), sql.Literal(verifier))
    there = conn.execute(
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = %s", [name]
    ).fetchone()
    verb = sql.SQL("ALTER ROLE" if there else "CREATE ROLE")
    if there is None or there[0]:  # who is no superuser may not even say that somebody else is to be none
        options = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE ") + options
    try:
        with conn.transaction():
            conn.execute(sql.SQL("{} {} {}").format(verb, who, options))
            for other in Role:
                if other is not role:
                    conn.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(other.group), who))
            conn.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role.group), who))
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
        raise StoreError(f"user {name} was not made: {error}; connect as a user who may make roles") from error
    return password
