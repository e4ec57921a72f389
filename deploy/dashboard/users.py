"""Who may flag: a file of names and scrypt hashes, which its owner alone can read."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.errors import DeployError

SHORTEST: Final = 10
"""Characters a password has at least."""
LONGEST: Final = 1024
"""Characters a password has at most: hashing costs."""
NAME: Final = re.compile(r"[^\W_][\w .'-]{0,62}")
"""A person's name in any script, without what could be taken for markup."""

_LOG_N, _R, _P, _SALT, _LENGTH = 15, 8, 1, 16, 32
_MEMORY: Final = 2**27
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Hashed:
    """A password as it is kept: scrypt (RFC 7914) with N = 2**log_n, r, p, salt and digest."""

    log_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> Hashed:
        """Hash a password with a new salt."""
        salt = secrets.token_bytes(_SALT)
        return cls(_LOG_N, _R, _P, salt, _scrypt(password, salt, _LOG_N, _R, _P))

    def fits(self, password: str) -> bool:
        """Whether it is this password; takes as long where it is not."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.log_n, self.r, self.p), self.digest)


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    given = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=2**log_n, r=r, p=p, maxmem=_MEMORY, dklen=_LENGTH)


_NOBODY: Final = Hashed.of(secrets.token_hex())
"""Compared with where there is no such user, so that this takes as long."""


class Users:
    """The users in a file, read again whenever it has changed.

    Parameters
    ----------
    path
        Made by `put`.

    Raises
    ------
    DeployError
        The file cannot be read, is none, or can be read by others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._known: Mapping[str, Hashed] = {}
        self.known()

    def known(self) -> Mapping[str, Hashed]:
        """Return name -> password as it is kept."""
        seen = _state(self._path)
        if seen != self._seen:
            self._known, self._seen = read(self._path), seen
        return self._known

    def fits(self, name: str, password: str) -> Hashed | None:
        """Return the user's entry where name and password are right; takes as long where they are not."""
        if len(password) > LONGEST:
            return None
        found = self.known().get(name)
        right = (found or _NOBODY).fits(password)
        return found if right else None


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        msg = f"users of the dashboard: {path} cannot be read: {error.strerror or error}"
        raise DeployError(msg) from None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def read(path: Path) -> dict[str, Hashed]:
    """Return name -> password as it is kept, of a file.

    Raises
    ------
    DeployError
        The file cannot be read, is none, or can be read by others.
    """
    require_private(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): _entry(entry) for name, entry in document["users"].items()}
    except OSError as error:
        msg = f"users of the dashboard: {path} cannot be read: {error.strerror or error}"
        raise DeployError(msg) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = f"{path} is no file of users: make one with `skyledger dashboard user NAME --users {path}`"
        raise DeployError(msg) from None


def _entry(entry: Mapping[str, Any]) -> Hashed:
    log_n, r, p = (int(entry[name]) for name in ("log_n", "r", "p"))
    if not (10 <= log_n <= 20 and 1 <= r <= 16 and 1 <= p <= 4):
        raise ValueError(log_n, r, p)
    return Hashed(log_n, r, p, bytes.fromhex(entry["salt"]), bytes.fromhex(entry["digest"]))


def require_private(path: Path) -> None:
    """Raise DeployError where others than its owner can read or change a file."""
    if path.exists() and path.stat().st_mode & _OTHERS:
        msg = f"{path} can be read by others: chmod 600 {path}"
        raise DeployError(msg)


def put(path: Path, name: str, password: str) -> bool:
    """Add a user or give it a new password; returns whether it is new. The file's mode is 0600.

    Parameters
    ----------
    path
        Made where it is not there.
    name
        Goes to the ledger with each flag: a person's own.
    password
        At least `SHORTEST` characters.

    Raises
    ------
    DeployError
        The name is none, the password too short or too long, the file no file of users.
    """
    if not NAME.fullmatch(name) or name != " ".join(name.split()):
        msg = f"user {name!r}: expected a person's name of letters, digits, spaces and . ' - _, 63 at most"
        raise DeployError(msg)
    if not SHORTEST <= len(password) <= LONGEST:
        msg = f"the password has {len(password)} characters, expected {SHORTEST} to {LONGEST}"
        raise DeployError(msg)
    known = read(path) if path.exists() else {}
    new = name not in known
    _write(path, {**known, name: Hashed.of(password)})
    return new


def remove(path: Path, name: str) -> None:
    """Take a user out; whoever is logged in by that name is so no longer.

    Raises
    ------
    DeployError
        There is no such user or file.
    """
    known = read(path)
    if name not in known:
        msg = f"{path} has no user {name!r}, it has {', '.join(known) or 'none'}"
        raise DeployError(msg)
    _write(path, {other: entry for other, entry in known.items() if other != name})


def _write(path: Path, known: Mapping[str, Hashed]) -> None:
    users = {
        name: {"log_n": one.log_n, "r": one.r, "p": one.p, "salt": one.salt.hex(), "digest": one.digest.hex()}
        for name, one in sorted(known.items())
    }
    whole(path, json.dumps({"users": users}, indent=1, ensure_ascii=False).encode())


def whole(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, all of it or nothing."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise DeployError(msg) from None


def secret(path: Path) -> bytes:
    """Return the secret that signs cookies, from a file of mode 0600; it is drawn where there is none.

    Raises
    ------
    DeployError
        The file cannot be read or written, can be read by others, or holds too little.
    """
    if not path.exists():
        whole(path, secrets.token_hex(32).encode())
    require_private(path)
    try:
        found = path.read_bytes().strip()
    except OSError as error:
        msg = f"secret of the dashboard: {path} cannot be read: {error.strerror or error}"
        raise DeployError(msg) from None
    if len(found) < 32:
        msg = f"{path} holds {len(found)} bytes, expected 32 or more: remove it, and a new one is drawn"
        raise DeployError(msg)
    return found
