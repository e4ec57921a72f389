"""A disk that cannot be written: met once, tried again ever less often, over by itself."""

from __future__ import annotations

from typing import Final

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0


class Trouble:
    """Whether the spool can be written, as far as was seen; all times are monotonic s."""

    def __init__(self) -> None:
        self.reason = ""
        """What was wrong the last time."""
        self._since: float | None = None
        self._retry_at = 0.0
        self._delay = FIRST_RETRY_S

    @property
    def present(self) -> bool:
        """Whether writing failed the last time."""
        return self._since is not None

    def lasts(self, now: float) -> bool:
        """Whether it is too early to try again."""
        return self._since is not None and now < self._retry_at

    def met(self, reason: str, *, now: float) -> bool:
        """Note that writing failed; return whether that is new."""
        new = self._since is None
        if self._since is None:
            self._since, self._delay = now, FIRST_RETRY_S
        self.reason = reason
        self._retry_at = now + self._delay
        self._delay = min(LAST_RETRY_S, 2 * self._delay)
        return new

    def over(self, *, now: float) -> float:
        """Note that writing went well; return how long it had not (s), 0 where there was no trouble."""
        since, self._since = self._since, None
        return 0.0 if since is None else now - since
