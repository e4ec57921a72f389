"""Which account a server runs under, and where on disk that account can work.

PostgreSQL refuses to run as root. Started by root, the servers therefore run as an unprivileged user that
exists already; their files lie where that user can reach them, and no folder is ever opened up for it.
"""

import hashlib
import os
import pwd
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from deploy.errors import ServerError

UNPRIVILEGED = ("skyledger", "nobody")
SHELTERS = Path("/var/lib/skyledger")

Say = Callable[[str], None]


def silent(_sentence: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Account:
    """A user of this machine.

    Attributes
    ----------
    name : str
        Login name, as PostgreSQL's peer authentication sees it.
    uid, gid : int
        Its numbers.
    """

    name: str
    uid: int
    gid: int

    @property
    def ours(self) -> bool:
        """Whether this is who we are already."""
        return self.uid == os.geteuid()

    def run(self, command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run a short command as this account, in ``/``, output captured as text."""
        options: dict[str, object] = {"capture_output": True, "text": True, "check": False, "cwd": "/", **kwargs}
        if not self.ours:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        try:
            return subprocess.run(command, **options)  # type: ignore[call-overload]  # noqa: PLW1510, S603  `check` is in options; our own commands
        except PermissionError as error:
            raise ServerError(
                f"cannot run {command[0]} as {self.name} (uid {self.uid}): {error.strerror}; "
                "start skyledger as an ordinary user, or let that user read and execute it"
            ) from error

    def can_enter(self, folder: Path) -> bool:
        """Whether this account can reach the folder through all of its parents."""
        return self.run(["/bin/sh", "-c", 'cd "$1" 2>/dev/null', "sh", str(folder)]).returncode == 0

    def can_execute(self, program: Path) -> bool:
        """Whether this account can reach and execute the program."""
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(program)]).returncode == 0

    def take(self, path: Path) -> None:
        """Make this account the owner of a path."""
        if not self.ours:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def current() -> Account:
    """Who we are.

    Raises
    ------
    ServerError
        If this uid has no entry in passwd: PostgreSQL needs one.
    """
    uid = os.geteuid()
    try:
        return _account(pwd.getpwuid(uid))
    except KeyError:
        raise ServerError(f"uid {uid} has no name in /etc/passwd, which PostgreSQL needs: add one") from None


def server_account(folder: Path) -> Account:
    """Account the servers of `folder` run under.

    Ourselves, unless we are root: then the owner of what lies in `folder` already, else the first of
    ``skyledger`` and ``nobody`` that exists.
    """
    me = current()
    if me.uid != 0:
        return me
    if folder.exists() and (owner := folder.stat().st_uid) != 0:
        try:
            return _account(pwd.getpwuid(owner))
        except KeyError:
            raise ServerError(f"{folder} belongs to uid {owner}, which has no name in /etc/passwd: add one") from None
    for name in UNPRIVILEGED:
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise ServerError("servers do not run as root, and neither user skyledger nor user nobody exists: add one")


def ensure_folder(data_dir: Path) -> None:
    """Make the folder of a stack if it is absent.

    One that root makes lets others pass through it to the private folders of the servers, but not look into it.
    """
    try:
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ServerError(f"{data_dir} is not a folder: choose another --data-dir") from None
    except OSError as error:
        raise ServerError(f"cannot make the folder {data_dir}: {error.strerror}; choose another --data-dir") from error


def quarters(data_dir: Path, name: str, *, say: Say = silent) -> tuple[Path, Account]:
    """Private folder of one server, and the account that owns it.

    The folder is ``data_dir/name``. Where the account cannot reach that (root's own home, say), it is made
    under `SHELTERS` and ``data_dir/name`` becomes a link to it.

    Parameters
    ----------
    data_dir : pathlib.Path
        Folder of the stack; made if absent.
    name : str
        ``postgres`` or ``broker``.
    say : callable, optional
        Receives one sentence when the folder had to be put elsewhere.

    Returns
    -------
    folder : pathlib.Path
        Existing, absolute, mode 0700, no link.
    account : Account
        Its owner.

    Raises
    ------
    ServerError
        If an existing folder belongs to someone else or is out of reach.
    """
    entry = data_dir.absolute() / name
    ensure_folder(entry.parent)
    account = server_account(entry)
    if not entry.exists():
        _make(entry, account, say=say)
    folder = entry.resolve()
    if (owner := folder.stat().st_uid) != account.uid:
        raise ServerError(
            f"{folder} belongs to uid {owner}, and we are {account.name}: run as its owner or choose another --data-dir"
        )
    if not account.can_enter(folder):
        raise ServerError(
            f"{account.name} cannot reach {folder}, where the data of {entry} lie: choose another --data-dir"
        )
    return folder, account


def _make(entry: Path, account: Account, *, say: Say) -> None:
    try:
        if entry.is_symlink():
            lost = entry.readlink()
            raise ServerError(f"{entry} leads to {lost}, which is gone: bring it back, or remove {entry} to start anew")
        if account.can_enter(entry.parent):
            folder = entry
            folder.mkdir(mode=0o700)
        else:
            folder = _shelter(entry, account, say=say)
        account.take(folder)
        if folder != entry:
            entry.symlink_to(folder)
    except PermissionError as error:
        raise ServerError(f"cannot make {entry}: {error.strerror}; choose another --data-dir") from error


def _shelter(entry: Path, account: Account, *, say: Say) -> Path:
    digest = hashlib.blake2b(os.fsencode(entry.parent.resolve()), digest_size=6).hexdigest()
    SHELTERS.mkdir(mode=0o755, parents=True, exist_ok=True)
    earlier = sorted(SHELTERS.glob(f"{digest}-{entry.name}-*"))
    folder = Path(mkdtemp(prefix=f"{digest}-{entry.name}-", dir=SHELTERS))
    say(f"{account.name} cannot reach {entry.parent}: the data of {entry.name} lie in {folder}, {entry} leads there.")
    for old in earlier:
        say(f"{old} is left from an earlier {entry} that was removed: delete it if you do not need it.")
    return folder
