"""Who is logged in, and who has tried too often: both in memory alone, so a restart logs everybody out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from deploy.dashboard.users import Hashed, Users

LASTS_S: Final = 12 * 3600.0
"""How long a login is good for, s."""
TRIES: Final = 5
"""Wrong passwords, for one name from one address, after which there is a pause."""
TRIES_OF_ADDRESS: Final = 20
"""The same for one address, whatever the names."""
PAUSE_S: Final = 30.0
"""The first pause, s; doubled with each further failure."""
LONGEST_PAUSE_S: Final = 3600.0
_MOST: Final = 10_000
"""Logins and addresses that are remembered: strangers must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who is logged in."""

    name: str
    until: float
    entry: Hashed
    key: str


class Logins:
    """Who is logged in.

    Parameters
    ----------
    users
        Who may.
    secret
        Signs what forms have to show.
    now
        The clock, s.
    """

    def __init__(self, users: Users, secret: bytes, *, now: Callable[[], float]) -> None:
        self._users, self._secret, self._now = users, secret, now
        self._known: OrderedDict[str, Login] = OrderedDict()

    def begin(self, name: str, entry: Hashed) -> str:
        """Log a user in whose password was right, and return the key its cookie is to hold."""
        key = secrets.token_urlsafe(32)
        self._known[key] = Login(name, self._now() + LASTS_S, entry, key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return key

    def of(self, key: str | None) -> Login | None:
        """Return whose key it is; None where it is too old, nobody's, or its user is gone or has another password."""
        login = self._known.get(key) if key else None
        if login is None:
            return None
        if login.until <= self._now() or self._users.known().get(login.name) != login.entry:
            self.end(login.key)
            return None
        return login

    def end(self, key: str) -> None:
        """Log out."""
        self._known.pop(key, None)

    def proof(self, login: Login) -> str:
        """Return what a form of this login has to show: another site can send the cookie, but does not know it."""
        return hmac.new(self._secret, f"form {login.key}".encode(), hashlib.sha256).hexdigest()

    def proves(self, login: Login, shown: str) -> bool:
        """Whether a form showed it."""
        return hmac.compare_digest(self.proof(login).encode(), shown.encode("utf-8", "replace"))


class Limiter:
    """Counts wrong passwords, and says how long to wait.

    Parameters
    ----------
    now
        The clock, s.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._failures: OrderedDict[tuple[str, ...], tuple[int, float]] = OrderedDict()

    def wait(self, name: str, address: str) -> float:
        """Return for how many seconds nobody is let in by this name from this address; 0: not at all."""
        pauses = (self._pause((address, name), TRIES), self._pause((address,), TRIES_OF_ADDRESS))
        return max(*pauses, 0.0)

    def _pause(self, key: tuple[str, ...], tries: int) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        if count < tries:
            return 0.0
        return last + min(PAUSE_S * 2.0 ** min(count - tries, 20), LONGEST_PAUSE_S) - self._now()

    def failed(self, name: str, address: str) -> None:
        """Count a wrong password."""
        for key in ((address, name), (address,)):
            count, last = self._failures.pop(key, (0, 0.0))
            forgotten = self._now() - last > LONGEST_PAUSE_S
            self._failures[key] = (1 if forgotten else count + 1, self._now())
        while len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget what this name failed from there; what its address did with other names stays counted."""
        self._failures.pop((address, name), None)
