"""An instrument that sends lines by itself: the lines go through the driver's parser as those of a file do.

A connection may begin in the middle of what the instrument says.

- **The header** is the first there is of: the one the instrument sends, the one configured as ``stream_header``,
  the one heard last, also before a restart. Lines before any header are kept aside.
- **The first line** may be the end of a longer one that happens to read well (``8.52`` of ``418.52``). Where
  the maker does not promise whole lines, a first line that reads as a sample is kept aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from station_agent.config import Instrument
from station_agent.drivers import make_parser
from station_agent.drivers.lines import MAX_LINE, LineStream
from station_agent.live.dialogue import Heard
from station_agent.live.makers import maker

MAY_BE_CUT: Final = "the connection may have begun in the middle of this line"


def faults(options: Mapping[str, Any], *, poll: float, where: str) -> list[str]:  # noqa: ARG001 - as every dialogue
    """Return what is wrong with the options of a stream: nothing that is not wrong of a file too."""
    return []


def manner(options: Mapping[str, Any], *, poll: float) -> str:  # noqa: ARG001 - as every dialogue
    """Say how the instrument is spoken with."""
    return "listened to"


def open_dialogue(instrument: Instrument, stored: Mapping[str, Any] | None) -> Stream:
    """Return the dialogue with an instrument, going on from what was stored."""
    return Stream(instrument, stored)


class Stream:
    """Listens to lines."""

    def __init__(self, instrument: Instrument, stored: Mapping[str, Any] | None) -> None:
        assert instrument.connection is not None
        self._header = instrument.connection.header
        self._begins_whole = maker(instrument.driver).begins_whole
        self._lines = LineStream(make_parser(instrument.driver, instrument.options))
        if stored is not None:
            self._lines.parser.restore(stored["parser"])
            self._lines.line = stored["line"]
        self._tail = b""
        self._unsure = False

    @property
    def unfinished(self) -> int:
        """Bytes after the last line end."""
        return len(self._tail)

    def begin(self) -> Heard:
        """Begin on a new connection."""
        self._tail, self._lines.skipping = b"", False
        self._unsure = not self._begins_whole
        parser, heard = self._lines.parser, Heard()
        if self._header and parser.header is None:
            data = self._header.rstrip("\r\n") + "\n"
            heard.add(self._lines.feed(data.encode(parser.encoding, "replace"))[1])
        # The instrument has said nothing yet.
        heard.understood = False
        return heard

    def question(self, now: float) -> bytes:  # noqa: ARG002 - as every dialogue
        """Return nothing: it speaks by itself."""
        return b""

    def feed(self, data: bytes) -> Heard:
        """Return what these bytes say."""
        heard = Heard()
        data = self._tail + data
        if self._unsure:
            end = data.find(b"\n") + 1
            if not end and len(data) <= MAX_LINE:
                self._tail = data
                return heard
            self._unsure = False
            self._first(data[:end], heard)
            data = data[end:]
        used, parsed = self._lines.feed(data)
        self._tail = data[used:]
        heard.add(parsed)
        return heard

    def _first(self, line: bytes, heard: Heard) -> None:
        """Read the line a connection began with, which may be a part of one."""
        lines = self._lines
        before, number = lines.parser.state(), lines.line
        _, parsed = lines.feed(line)
        if parsed.samples:
            lines.parser.restore(before)
            lines.line = number
            parsed = lines.set_aside(line.removesuffix(b"\n"), MAY_BE_CUT)
            # Something that reads as a sample was heard, though it is not taken.
            heard.understood = True
        heard.add(parsed)

    def end(self, reason: str) -> Heard:  # noqa: ARG002 - as every dialogue
        """Keep aside the line the connection ended in."""
        heard = Heard()
        if self._tail.strip() and not self._lines.skipping:
            heard.add(self._lines.set_aside(self._tail, "the connection ended in the middle of this line"))
        self._tail = b""
        return heard

    def state(self) -> dict[str, Any]:
        """Return the parser's state, its header in it, and the number of lines."""
        return {"parser": self._lines.parser.state(), "line": self._lines.line}
