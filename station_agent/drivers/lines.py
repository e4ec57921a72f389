"""Bytes to lines to samples: what the live tail and the finite file have in common.

A line ends with LF or CRLF. Bytes that are not in the parser's encoding and lines that are too long are
rejected here; everything else is the parser's to read. Read + kept aside = lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from station_agent.drivers.parser import Parser
from station_agent.sample import Rejected, Sample

MAX_LINE: Final = 65_536
"""Bytes a line may have; a real Picarro line with a hundred columns has 2,600."""
SHOWN: Final = 8_192
"""Characters of a line that is too long which are kept in its rejection."""
BLOCK: Final = 1 << 19
"""Bytes read at once."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A rejected line with what it takes to read it again: the header it stood under and a time near it."""

    rejected: Rejected
    header: str | None
    time_ns: int | None


@dataclass(slots=True)
class Parsed:
    """What some lines said."""

    samples: list[Sample] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    lines: int = 0


class LineStream:
    """One file's or connection's lines on their way into one parser.

    Parameters
    ----------
    parser
        Reads the lines; holds what it must remember between them.
    line
        Lines already read: the next one is ``line + 1``.
    skipping
        The reading stopped inside a line that was too long and has been rejected; the rest of it is passed over.
    """

    def __init__(self, parser: Parser, *, line: int = 0, skipping: bool = False) -> None:
        self.parser = parser
        self.line = line
        self.skipping = skipping

    def feed(self, data: bytes) -> tuple[int, Parsed]:
        """Read the complete lines in `data`; return how many bytes were used and what the lines said.

        The bytes that were not used are the beginning of a line still being written: give them again,
        with what follows.
        """
        parsed = Parsed()
        start = 0
        if self.skipping:
            start = data.find(b"\n") + 1
            if not start:
                return len(data), parsed
            self.skipping = False
        stop = data.rfind(b"\n") + 1
        if stop > start:
            self._read(data[start : stop - 1], parsed)
            return stop, parsed
        if len(data) - start > MAX_LINE:
            self._too_long(data[start:], parsed)
            self.skipping = True
            return len(data), parsed
        return start, parsed

    def finish(self, tail: bytes) -> Parsed:
        """Reject what stands after the last line end of a file that will not grow."""
        if tail and not self.skipping:
            return self.set_aside(tail, "the file ends in the middle of this line")
        return Parsed()

    def set_aside(self, line: bytes, reason: str) -> Parsed:
        """Reject a line for a reason that lies outside of it."""
        parsed = Parsed()
        text = line[:MAX_LINE].decode(self.parser.encoding, "backslashreplace").rstrip("\r")
        self._reject(text, reason, parsed)
        return parsed

    def _read(self, block: bytes, parsed: Parsed) -> None:
        try:
            text = block.decode(self.parser.encoding)
        except UnicodeDecodeError:
            self._read_singly(block, parsed)
            return
        lines = text.split("\n")
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
        if len(block) > MAX_LINE and max(map(len, lines)) > MAX_LINE // 4:
            self._read_singly(block, parsed)
            return
        feed, number = self.parser.feed, self.line
        for number, line in enumerate(lines, self.line + 1):
            got = feed(line, number=number)
            if isinstance(got, list):
                parsed.samples += got
            elif got is not None:
                self._keep(got, parsed)
        parsed.lines += number - self.line
        self.line = number

    def _read_singly(self, block: bytes, parsed: Parsed) -> None:
        for raw in block.split(b"\n"):
            if len(raw) > MAX_LINE:
                self._too_long(raw, parsed)
                continue
            try:
                line = raw.decode(self.parser.encoding)
            except UnicodeDecodeError as error:
                text = raw.decode(self.parser.encoding, "backslashreplace").rstrip("\r")
                reason = f"byte {error.start + 1} ({raw[error.start]:#04x}) is not {self.parser.encoding}"
                self._reject(text, reason, parsed)
                continue
            self.line += 1
            parsed.lines += 1
            got = self.parser.feed(line.removesuffix("\r"), number=self.line)
            if isinstance(got, Rejected):
                self._keep(got, parsed)
            elif got:
                parsed.samples += got

    def _too_long(self, raw: bytes, parsed: Parsed) -> None:
        text = raw[:SHOWN].decode(self.parser.encoding, "backslashreplace")
        self._reject(text, f"the line is longer than {MAX_LINE} bytes; its beginning is kept", parsed)

    def _reject(self, text: str, reason: str, parsed: Parsed) -> None:
        self.line += 1
        parsed.lines += 1
        self._keep(Rejected(self.line, text, reason), parsed)

    def _keep(self, rejected: Rejected, parsed: Parsed) -> None:
        parsed.asides.append(Aside(rejected, self.parser.header, self.parser.last_ns))


def read_blocks(stream: LineStream, path: Path) -> Iterator[Parsed]:
    """Read a finite file, block by block; its unterminated last line is rejected at the end."""
    with path.open("rb") as file:
        tail = b""
        while block := file.read(BLOCK):
            data = tail + block
            used, parsed = stream.feed(data)
            tail = data[used:]
            yield parsed
        yield stream.finish(tail)
