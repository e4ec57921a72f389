"""A new data directory from a base backup: started, it brings itself up to the stream's end, or to a time."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from deploy.jobs.backup import programs
from deploy.jobs.backup.base import verify
from deploy.jobs.backup.folder import PARTIAL, Base, Chain, Folder
from deploy.local.account import Account, server_account

_EARLIER: Final = re.compile(r"\s*(restore_command|recovery_target\w*|hot_standby)\s*=")
"""Of a server that was itself restored once."""
_OWN: Final = "postgresql.conf"
_DEBIAN: Final = f", with `-o '-c config_file=...'`: its {_OWN} is not among its data, as on Debian"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be restored.

    Parameters
    ----------
    until : datetime, optional
        Nothing that was committed after it; None: all there is.
    name : str, optional
        Of the base backup; None: the newest, or the newest before `until`.
    programs : pathlib.Path, optional
        Folder of PostgreSQL's programs; default: looked for.
    """

    until: datetime | None = None
    name: str | None = None
    programs: Path | None = None


def restore(folder: Folder, to: Path, wish: Wish) -> Iterator[str]:
    """Make a data directory; yields a sentence about what was done, and how to go on.

    The backup is verified again and copied beside its place, then renamed: ended anywhere it leaves nothing that could
    be taken for a server. The log stays in the folder and is read from there when the server starts.

    Parameters
    ----------
    folder : Folder
    to : pathlib.Path
        Not there yet, or empty.
    wish : Wish

    Raises
    ------
    DeployError
        The place is not empty, there is no such backup, the backup is damaged, or the log after it has a gap.
    """
    to = to.absolute()
    _require_room(to)
    base = _choose(folder, wish)
    chain = folder.chain(base)
    major = int((base.folder / "PG_VERSION").read_text())
    tools = programs.find(major, wish.programs)
    verify(base.folder, tools)
    who = server_account(to.parent)
    _require_readable(folder, who)
    _copy(base, to, who, _settings(folder, chain, wish.until))
    yield f"{to}: the backup {base.name}, verified, as {who.name}'s"
    if chain.files:
        end = "up to its end" if wish.until is None else f"until {wish.until.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
        yield f"when it starts, the server replays {chain.files} files of the log, {end} (the last is {chain.last})"
    else:
        yield f"there is no stream of the log after it: what was stored after {base.made:%Y-%m-%d %H:%M:%S} UTC is lost"
    if to == Path(f"/var/lib/postgresql/{major}/main"):
        yield f"start it: `systemctl start postgresql@{major}-main`"
    else:
        yield f"start it: `{tools.folder}/pg_ctl -D {to} start`{_DEBIAN if not (to / _OWN).exists() else ''}"
    yield "where it takes the server's place, stream its log again (`skyledger db wal`), and make a backup at once"


def _require_room(to: Path) -> None:
    if not to.parent.is_dir():
        raise DeployError(f"{to.parent} is no folder: --to is made in one that is there")
    if to.is_mount():
        raise DeployError(
            f"{to} is a disk of its own, which nothing can be renamed to: give a folder in it as --to, and name that "
            "in the server's data_directory"
        )
    if to.is_symlink() or (to.exists() and not to.is_dir()) or (to.is_dir() and any(to.iterdir())):
        raise DeployError(f"{to} is not empty: a data directory is restored into a new one; move the old one away")


def _choose(folder: Folder, wish: Wish) -> Base:
    bases = folder.bases()
    if not bases:
        raise DeployError(f"{folder.path} holds no base backup (no folder in {folder.bases_in})")
    names = ", ".join(base.name for base in bases)
    fitting = [base for base in bases if wish.until is None or base.made <= wish.until]
    if wish.name is not None:
        fitting = [base for base in fitting if base.name == wish.name]
    if not fitting:
        asked = f"finished before {wish.until:%Y-%m-%d %H:%M:%S %Z}" if wish.until is not None else f"named {wish.name}"
        raise DeployError(f"{folder.path} holds no base backup {asked}: there are {names}")
    return fitting[-1]


def _require_readable(folder: Folder, who: Account) -> None:
    if not who.can_enter(folder.logs_in):
        raise DeployError(
            f"{who.name}, as whom the server would run, cannot read {folder.logs_in}, from where it gets its log, "
            f"{folder.logs_in.owner()}'s: give --to in a folder of {folder.logs_in.owner()}'s"
        )


def _settings(folder: Folder, chain: Chain, until: datetime | None) -> str:
    logs = shlex.quote(str(folder.logs_in).replace("%", "%%"))
    # Above 125: what is there and cannot be read must stop the server, not end the log for it.
    found = '{ cp "$f" "%p" && exit 0; exit 126; }'
    fetch = f'for f in {logs}/*/%f {logs}/*/%f{PARTIAL}; do test -f "$f" && {found}; done; exit 1'
    lines = {"restore_command": fetch, "recovery_target_timeline": str(chain.timeline)}
    lines["hot_standby"] = "off"  # nobody gets in before it is whole; of no effect afterwards
    if until is not None:
        lines["recovery_target_time"] = until.astimezone(UTC).isoformat(sep=" ")
        lines["recovery_target_action"] = "promote"
    return "".join(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in lines.items())


def _copy(base: Base, to: Path, who: Account, settings: str) -> None:
    draft = to.with_name(f".{to.name}.restoring-{os.getpid()}")
    try:
        shutil.copytree(base.folder, draft, symlinks=True)
        own = draft / "postgresql.auto.conf"
        kept = [line for line in own.read_text().splitlines(keepends=True) if not _EARLIER.match(line)]
        own.write_text("".join(kept) + settings)
        (draft / "recovery.signal").touch(mode=0o600)
        draft.chmod(0o700)
        for path in (draft, *draft.rglob("*")):
            who.take(path)
        os.sync()
        draft.rename(to)
    except (OSError, shutil.Error) as error:
        raise DeployError(f"{to} cannot be written: {error}; nothing was changed") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
