"""Where readings come from: files that are followed, files that are read once, and the simulation."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from station_agent.clock import EARLIEST_NS
from station_agent.config import Instrument
from station_agent.drivers import DRIVERS, make_parser, recognise, settled
from station_agent.drivers.lines import LineStream, read_blocks
from station_agent.drivers.simulated import Simulator, read_settings
from station_agent.errors import DriverError
from station_agent.follow import Follower
from station_agent.reading import Reading
from station_agent.rejections import rejections

SIMULATED_AT_ONCE: Final = 600
"""Samples a simulation that is behind its time gives in one go."""
SIMULATION: Final = "simulation"
"""Under which name a simulation's position is stored."""


class Source(Protocol):
    """Gives what is new from one instrument."""

    instrument: Instrument

    def read(self, *, thorough: bool) -> Reading | None:
        """Return what is new, or None; `thorough` looks everywhere, as before ending."""

    @property
    def expecting(self) -> bool:
        """Whether more is sure to come."""

    def remainder(self) -> Mapping[str, int]:
        """Return file -> bytes of a last line still being written."""

    def close(self) -> None:
        """Let go of what is held open."""


def open_source(instrument: Instrument, positions: Mapping[str, dict[str, Any]]) -> Source:
    """Return the source an instrument's configuration asks for, going on from the stored positions."""
    if instrument.connection is not None:
        # Sockets and serial ports are needed where an instrument is read live only.
        from station_agent.live.source import LiveSource  # noqa: PLC0415

        return LiveSource(instrument, positions)
    if DRIVERS[instrument.driver].reads_files:
        return FollowedFiles(instrument, positions)
    position = positions.get(SIMULATION)
    return Simulation(instrument, position if position and "next" in position else None)


class FollowedFiles:
    """The files an instrument writes, old and new."""

    expecting = False

    def __init__(self, instrument: Instrument, positions: Mapping[str, dict[str, Any]]) -> None:
        self.instrument = instrument
        self._follower = Follower(
            instrument.path, driver=instrument.driver, options=instrument.options, positions=positions
        )

    def read(self, *, thorough: bool) -> Reading | None:
        """Return what is new in the next file that has something new."""
        chunk = self._follower.read(rescan=thorough)
        if chunk is None:
            return None
        notices = rejections(chunk.parsed, instrument=self.instrument, file=chunk.file)
        return Reading(self.instrument.name, chunk.parsed.samples, notices, chunk.positions)

    def remainder(self) -> Mapping[str, int]:
        """Return file -> bytes after its last line end."""
        return self._follower.unfinished

    def close(self) -> None:
        """Do nothing: no file is held open."""


class FiniteFiles:
    """Files read once from beginning to end, wherever they are; nothing of it is remembered.

    Raises
    ------
    DriverError
        A file cannot be read or is not what the instrument's driver reads; before anything is read.
    """

    expecting = False

    def __init__(self, instrument: Instrument, files: Sequence[Path]) -> None:
        self.instrument = instrument
        for file in files:
            _check_file(file, instrument)
        self._readings = self._read(files)

    def read(self, *, thorough: bool) -> Reading | None:  # noqa: ARG002 - as every source
        """Return the next part of the files."""
        return next(self._readings, None)

    def remainder(self) -> Mapping[str, int]:
        """Return nothing: an unfinished last line of a finite file is kept aside."""
        return {}

    def close(self) -> None:
        """Close the file that is being read."""
        self._readings.close()

    def _read(self, files: Iterable[Path]) -> Generator[Reading, None, None]:
        instrument = self.instrument
        for file in files:
            options = settled(file, instrument.driver, instrument.options)
            stream = LineStream(make_parser(instrument.driver, options))
            for parsed in read_blocks(stream, file):
                notices = rejections(parsed, instrument=instrument, file=file.name)
                yield Reading(instrument.name, parsed.samples, notices)


class Simulation:
    """The simulated instrument, sample by sample as the clock goes."""

    def __init__(
        self,
        instrument: Instrument,
        position: Mapping[str, Any] | None,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.instrument = instrument
        self._now_ns = now_ns
        self._simulator = Simulator(read_settings(instrument.options, where="", faults=[]), position)

    def read(self, *, thorough: bool) -> Reading | None:  # noqa: ARG002 - as every source
        """Return the samples that have fallen due."""
        now = self._now_ns()
        # By a clock that is not set yet it would begin half a century ago.
        samples = self._simulator.take(now, most=SIMULATED_AT_ONCE) if now >= EARLIEST_NS else []
        if not samples:
            return None
        return Reading(self.instrument.name, samples, (), {SIMULATION: self._simulator.state()})

    @property
    def expecting(self) -> bool:
        """Whether the simulation has an end and it has not come."""
        return self._simulator.left is not None and self._simulator.left > 0

    def remainder(self) -> Mapping[str, int]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def _check_file(file: Path, instrument: Instrument) -> None:
    try:
        if instrument.driver != "delimited" and recognise(file) != instrument.driver:
            raise DriverError(f"{file}: is not what instrument {instrument.name!r} ({instrument.driver}) writes")
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    if not DRIVERS[instrument.driver].reads_files:
        raise DriverError(f"instrument {instrument.name!r} is {instrument.driver}: it has no files to replay")
    settled(file, instrument.driver, instrument.options)
