"""The log of the servers' commands: logfmt, a line for each fault, nothing forged, secret, or said a thousand times.

    ts=2026-03-01T02:11:05.120Z level=warning event=broker_lost msg="the connection to the broker mqtt:8883 ended: ..."

`event` is what to search for; `station`, where there is one, whose it is; `repeated` how often it happened since the
line before and was not written. Whoever runs a command in a terminal reads sentences instead; ``SKYLEDGER_LOG``
(``logfmt`` or ``text``) decides otherwise.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO
from urllib.parse import quote

from deploy.errors import DeployError

log: Final = logging.getLogger("skyledger")

VARIABLE: Final = "SKYLEDGER_LOG"
MOST: Final = 4000
"""Characters of one value."""
WINDOW_S: Final = 60.0
"""Seconds within which the same is written once."""
FAULTS: Final = 1000
"""Faults that are told apart at a time; where there are more, somebody makes them up."""
HIDDEN: Final = "***"
_LEAST_SECRET: Final = 4
"""Characters a secret has at least to be looked for everywhere."""

_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")
"""Printable ASCII without space, quote, equals sign and backslash."""
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_OURS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "event", "every"}
_SECRETS: Final = (
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\b([a-zA-Z][\w+.-]*://[^\s:/@]*):\S+@"), rf"\1:{HIDDEN}@"),
    (
        re.compile(r"(?i)\b(\w*passw(?:or)?d|passphrase|secret|token)(\s*[=:]\s*)('(?:[^'\\]|\\.)*'?|\"[^\"]*\"?|\S+)"),
        rf"\1\2{HIDDEN}",
    ),
)


# --- a line --------------------------------------------------------------------------------------


def logfmt(fields: Mapping[str, object]) -> str:
    r"""Return a line of ``key=value``, whatever is in the values: none can end the line, or begin another field.

    Parameters
    ----------
    fields
        Keys are of letters, digits and _; other characters become _.

    Examples
    --------
    >>> logfmt({"level": "info", "station": "lin-an", "msg": 'said "no"\nand left'})
    'level=info station=lin-an msg="said \\"no\\"\\nand left"'
    """
    return " ".join(f"{re.sub(r'[^A-Za-z0-9_]', '_', key)}={_value(str(value))}" for key, value in fields.items())


def _value(text: str) -> str:
    text = text if len(text) <= MOST else text[:MOST] + "…"
    return text if _PLAIN.fullmatch(text) else f'"{escaped(text, _ESCAPES)}"'


def escaped(text: str, escapes: Mapping[str, str] | None = None) -> str:
    """Return a text in which nothing moves a cursor, ends a line or turns the direction of writing."""
    known = escapes or {}
    return "".join(known.get(sign) or (sign if sign.isprintable() else _number(sign)) for sign in text)


def _number(sign: str) -> str:
    code = ord(sign)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def cleared(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without secrets: those that are known, and what looks like a password or a private key."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def secrets_of(dsn: str, *others: str | None) -> list[str]:
    """Return what must not be seen: the passwords in a database's address and in the environment, and `others`."""
    import psycopg  # noqa: PLC0415  needs the extra server
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        said = conninfo_to_dict(dsn)
        found = [said.get("password"), said.get("sslpassword")]
    except psycopg.ProgrammingError:  # whoever complains of it may quote any word of it
        keywords = {"postgresql", *(default.keyword.decode() for default in psycopg.pq.Conninfo.get_defaults())}
        found = [word for word in re.split(r"[\s=:@'?&]+", dsn) if word not in keywords]
    texts = [str(one) for one in (*found, os.environ.get("PGPASSWORD"), *others) if one]
    known = {form for text in texts for form in (text, quote(text, safe="")) if len(text) >= _LEAST_SECRET}
    return sorted(known, key=len, reverse=True)


class Logfmt(logging.Formatter):
    """Makes a line of a record.

    Parameters
    ----------
    secrets
        What must not be seen in it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "ts": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            **_more(record),
            "msg": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["trace"] = "".join(traceback.format_exception(*record.exc_info)).strip()
        return logfmt({key: cleared(str(value), self._secrets) for key, value in fields.items()})


class Sentence(logging.Formatter):
    """Makes a sentence of a record, for a person in front of a terminal.

    Parameters
    ----------
    secrets
        What must not be seen in it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the sentence; of an error nobody expected, the lines of its traceback too."""
        text = super().format(record)
        repeated = getattr(record, "repeated", 0)
        lines = cleared(text + (f" (repeated {repeated} times)" if repeated else ""), self._secrets)
        if record.exc_info:
            return "\n".join(map(escaped, lines.split("\n")))
        return escaped(lines)


def _more(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields a record was given beside its sentence."""
    return {key: value for key, value in vars(record).items() if key not in _OURS}


# --- nothing a thousand times --------------------------------------------------------------------


class _Seen:
    """A fault that was written: until when it is not written again, and what came meanwhile."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.count = 0
        self.last: logging.LogRecord | None = None


class Limited(logging.StreamHandler[TextIO]):
    """Writes the first of what repeats itself, then how often it came, once a window as long as it lasts.

    The same is what one line of the code says with the same fields. A record with ``every`` is always written.

    Parameters
    ----------
    stream
        Where to.
    window
        Its length, s.
    monotonic
        Clock, s.
    """

    def __init__(
        self, stream: TextIO, *, window: float = WINDOW_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self._window, self._monotonic = window, monotonic
        self._seen: dict[tuple[Any, ...], _Seen] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        if getattr(record, "every", False):
            super().emit(record)
            return
        key, now = self._key(record), self._monotonic()
        seen = self._seen.get(key)
        if seen is not None and now < seen.until:
            seen.count, seen.last = seen.count + 1, record
            self._wait(now)
            return
        if seen is not None:
            self._sum_up(seen)
        self._seen[key] = _Seen(now + self._window)
        super().emit(record)

    def sum_up(self, *, all_: bool = False) -> None:
        """Write how often came what was not written, where its window is over."""
        self.acquire()
        try:
            self._timer, now = None, self._monotonic()
            for key, seen in list(self._seen.items()):
                if not all_ and now < seen.until:
                    continue
                if seen.count == 0:
                    del self._seen[key]
                else:
                    self._sum_up(seen)
                    seen.until = now + self._window
            if any(seen.count for seen in self._seen.values()):
                self._wait(now)
        finally:
            self.release()

    def close(self) -> None:
        """Write what is left to be said."""
        if self._timer is not None:
            self._timer.cancel()
        self.sum_up(all_=True)
        super().close()

    def _key(self, record: logging.LogRecord) -> tuple[Any, ...]:
        where = (record.name, record.levelno, str(record.msg))
        key = (*where, *sorted((name, str(value)) for name, value in _more(record).items()))
        if key in self._seen or len(self._seen) < FAULTS:
            return key
        now = self._monotonic()
        self._seen = {one: seen for one, seen in self._seen.items() if seen.count or now < seen.until}
        return key if len(self._seen) < FAULTS else where

    def _sum_up(self, seen: _Seen) -> None:
        if seen.count and seen.last is not None:
            seen.last.repeated = seen.count
            super().emit(seen.last)
        seen.count, seen.last = 0, None

    def _wait(self, now: float) -> None:
        if self._timer is None:
            first = min(seen.until for seen in self._seen.values() if seen.count)
            self._timer = threading.Timer(max(first - now, 0.01), self.sum_up)
            self._timer.daemon = True
            self._timer.start()


# --- for commands --------------------------------------------------------------------------------


def start(
    *, steady: bool, level: int = logging.INFO, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Begin the log of a command.

    Parameters
    ----------
    steady
        Whether the command goes on until it is stopped: its log is logfmt where no person looks on; of others only
        where the environment says so, as the units and the containers do.
    level
        From which on.
    secrets
        From `secrets_of`.
    stream
        Where to; stderr where left out.

    Raises
    ------
    DeployError
        The environment asks for something else than logfmt or text.
    """
    where = stream or sys.stderr
    form = os.environ.get(VARIABLE, "")
    if form not in {"", "logfmt", "text"}:
        raise DeployError(f"{VARIABLE}={form!r}: expected logfmt or text")
    lines = form == "logfmt" or (not form and steady and not where.isatty())
    root = logging.getLogger()
    if not (steady or lines) or root.handlers:  # somebody else's program has a log of its own
        return
    handler = Limited(where)
    handler.setFormatter(Logfmt(secrets) if lines else Sentence(secrets))
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    if lines:
        sys.excepthook = _crashed
        threading.excepthook = _thread_crashed


def structured() -> bool:
    """Return whether there is a log of lines, which takes what else would be printed."""
    return any(isinstance(handler.formatter, Logfmt) for handler in logging.getLogger().handlers)


def say(sentence: str, *, event: str, warning: bool = False, **fields: object) -> None:
    """Say what a command did: a line of the log, where there is one of lines, else printed."""
    if structured():
        level = logging.WARNING if warning else logging.INFO
        log.log(level, "%s", sentence, extra={"event": event, "every": True, **fields})
    else:
        import typer  # noqa: PLC0415  the base install has none

        typer.echo(sentence)


def complain(sentence: str) -> None:
    """Say why a command ends."""
    if structured():
        log.error("%s", sentence, extra={"event": "ended", "every": True})
    else:
        sys.stderr.write(f"skyledger: {cleared(sentence)}\n")


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    sentence = f"an error nobody expected, {kind.__name__}: {error}"
    log.critical("%s", sentence, exc_info=(kind, error, trace), extra={"event": "crashed", "every": True})


def _thread_crashed(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _crashed(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
