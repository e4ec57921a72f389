"""A Picarro asked over its command interface, TCP or RS-232 (maker's guide 40-0063).

``_Meas_GetBuffer`` is answered with ``N;`` and N rows, and empties the buffer of 512 rows at the instrument:
what is on its way when a connection ends, or read when the power fails before the spool has it, is lost here. What
was announced and did not come is told as an event; the instrument's own log fills it (``replay``), with the same
samples. ``_Meas_GetConc`` is answered with the newest row alone.

Commands end with CR LF over TCP and with CR over RS-232. Answers end with either, in either order, as set at
the instrument. Rows are rows whenever they come: an answer that is late is taken too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from station_agent.config import Instrument
from station_agent.drivers import make_parser
from station_agent.drivers.lines import MAX_LINE, LineStream
from station_agent.drivers.picarro import read_settings
from station_agent.live.dialogue import Heard
from station_agent.live.makers import Tcp

DEPTH: Final = 512
"""Rows the instrument's buffer holds."""
BUFFER: Final = "_Meas_GetBuffer"
ANSWER_S: Final = 10.0
"""Seconds without a word after which a question is asked again."""

ERRORS: Final[Mapping[str, tuple[str, int]]] = {
    "1001": ("the instrument is busy", 10),
    "1002": ("the instrument does not know the command; is its command interface set up for it?", 0),
    "3001": ("measuring is disabled at the instrument", 0),
}
"""Error -> what it means, and how often in a row it is passed over before it is told."""
EMPTY: Final = "3002"
"""The error that is none: nothing new has been measured."""

_ENDS: Final = re.compile(rb"[\r\n]+")
_COUNT: Final = re.compile(rb"([0-9]{1,6});?")
_ERROR: Final = re.compile(rb"ERR:([0-9]{4})\b.*")


def faults(options: Mapping[str, Any], *, poll: float, where: str) -> list[str]:
    """Return what is wrong with the options of a Picarro that is read live, one sentence each."""
    settings = read_settings(options, where=where, faults=[])
    found = []
    if not options.get("columns"):
        found.append(
            f"{where}.columns: missing, the instrument does not say what its buffer holds; name it in order, "
            "as in ['time', 'CO2', 'CH4', 'H2O', 'species']"
        )
    if settings.question == BUFFER and poll * settings.rate > DEPTH:
        found.append(
            f"{where}.poll: got {poll:g}, expected at most {DEPTH / settings.rate:.0f}: the instrument keeps {DEPTH} "
            f"rows and measures {settings.rate:g} a second (rate)"
        )
    return found


def manner(options: Mapping[str, Any], *, poll: float) -> str:
    """Say how the instrument is spoken with, and what is to be known of its columns."""
    settings = read_settings(options, where="", faults=[])
    said = f"asked {settings.question} every {poll:g} s"
    if "species" in settings.columns:
        return said
    return f"{said}; note: without the column species every row counts as new for every gas"


def open_dialogue(instrument: Instrument, stored: Mapping[str, Any] | None) -> Questions:
    """Return the dialogue with an instrument, going on from what was stored."""
    return Questions(instrument, stored)


class Questions:
    """Asks and takes the answers apart."""

    def __init__(self, instrument: Instrument, stored: Mapping[str, Any] | None) -> None:
        assert instrument.connection is not None
        settings = read_settings(instrument.options, where="", faults=[])
        self._buffered = settings.question == BUFFER
        ending = b"\r\n" if isinstance(instrument.connection.address, Tcp) else b"\r"
        self._question = settings.question.encode() + ending
        self._poll = instrument.poll
        self._lines = LineStream(make_parser(instrument.driver, instrument.options))
        parser = self._lines.parser
        parser.restore({**parser.state(), **(stored["parser"] if stored else {}), "header": settings.header})
        self._lines.line = stored["line"] if stored else 0
        self._complaint, self._passed = "", 0
        self._full = False
        self._newest = b""
        self._forget()

    def _forget(self) -> None:
        self._tail, self._skipping = b"", False
        self._announced = self._left = 0
        self._waiting_since: float | None = None
        self._talked = False
        self._heard = False
        self._due = float("-inf")

    @property
    def unfinished(self) -> int:
        """Bytes after the last line end."""
        return len(self._tail)

    def begin(self) -> Heard:
        """Begin on a new connection: ask at once."""
        self._forget()
        return Heard()

    def question(self, now: float) -> bytes:
        """Return the question if it is due and no answer is under way."""
        since = self._waiting_since
        if since is not None and self._heard:
            since = self._waiting_since = now
        self._heard = False
        if now < self._due or (since is not None and now - since < ANSWER_S):
            return b""
        self._due, self._waiting_since = now + self._poll, now
        return self._question

    def feed(self, data: bytes) -> Heard:
        """Return what these bytes say."""
        heard, self._heard = Heard(), True
        *lines, tail = _ENDS.split(self._tail + data)
        if self._skipping and lines:
            lines, self._skipping = lines[1:], False
        rows: list[bytes] = []
        for line in lines:
            if line.strip() and line.strip() != self._question.strip():
                self._line(line, rows, heard)
        self._read(rows, heard)
        if len(tail) > MAX_LINE:
            if not self._skipping:
                heard.add(self._lines.set_aside(tail, f"the line is longer than {MAX_LINE} bytes"))
            self._skipping, tail = True, b""
        self._tail = b"" if self._skipping else tail
        return heard

    def _line(self, line: bytes, rows: list[bytes], heard: Heard) -> None:
        """Take one line of an answer: a count, an error, or a row."""
        if error := _ERROR.fullmatch(line.strip()):
            self._read(rows, heard)
            self._error(error[1].decode(), line, heard)
            return
        count = _COUNT.fullmatch(line.strip()) if self._buffered else None
        if count is None:
            self._row(line, rows)
            return
        self._read(rows, heard)
        self._cut("another answer began", heard)
        self._announced = self._left = int(count[1])
        self._answered(heard)
        if not self._left:
            self._waiting_since = None
        full = self._announced >= DEPTH
        if full and not self._full:
            heard.events.append(("buffer_full", {"rows": self._announced, "after": self._lines.parser.last_ns}))
        self._full = full

    def _row(self, line: bytes, rows: list[bytes]) -> None:
        self._left = max(0, self._left - 1)
        if not self._left:
            self._waiting_since = None
        if self._buffered or line != self._newest:
            rows.append(line)
        self._newest = line

    def _read(self, rows: list[bytes], heard: Heard) -> None:
        """Read the rows, as the lines of a log."""
        if rows:
            heard.add(self._lines.feed(b"\n".join(rows) + b"\n")[1])
            rows.clear()
        if heard.parsed.samples:
            self._answered(heard)

    def _answered(self, heard: Heard) -> None:
        """Note that the instrument does what it is asked."""
        heard.understood = self._talked = True
        if self._complaint:
            heard.events.append(("instrument_error_over", {"code": self._complaint}))
        self._complaint, self._passed = "", 0

    def _error(self, code: str, line: bytes, heard: Heard) -> None:
        heard.understood = True
        self._waiting_since = None
        self._cut(f"the instrument said {code}", heard)
        if code == EMPTY:
            self._answered(heard)
            return
        meaning, passed_over = ERRORS.get(code, ("an error of the instrument", 0))
        self._passed += 1
        if code != self._complaint and self._passed > passed_over:
            self._complaint, self._passed = code, 0
            # The server's database cannot keep NUL.
            said = line[:200].decode("ascii", "backslashreplace").replace("\0", "\\x00").strip()
            heard.events.append(("instrument_error", {"code": code, "meaning": meaning, "said": said}))

    def _cut(self, reason: str, heard: Heard) -> None:
        """Tell of rows that were announced and did not come: they have left the instrument's buffer."""
        if self._left:
            detail = {
                "announced": self._announced,
                "received": self._announced - self._left,
                "lost": self._left,
                "after": self._lines.parser.last_ns,
                "reason": reason,
            }
            heard.events.append(("answer_cut", detail))
        self._announced = self._left = 0

    def end(self, reason: str) -> Heard:
        """Keep aside the line the connection ended in, and tell of the rows that did not come."""
        heard = Heard()
        if self._tail.strip() and not self._skipping:
            heard.add(self._lines.set_aside(self._tail, "the connection ended in the middle of this line"))
        self._cut(reason, heard)
        if self._waiting_since is not None and self._talked and not heard.events:
            # It may have emptied its buffer and begun to answer: how many rows that were is not known.
            detail = {"announced": None, "lost": None, "after": self._lines.parser.last_ns, "reason": reason}
            heard.events.append(("answer_cut", detail))
        self._forget()
        return heard

    def state(self) -> dict[str, Any]:
        """Return the parser's state and the number of rows."""
        return {"parser": self._lines.parser.state(), "line": self._lines.line}
