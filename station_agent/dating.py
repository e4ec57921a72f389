"""Times that the host gives, as its clock turns out to be: held back, moved, marked.

What an instrument without a clock of its own says is stamped by the host. As long as the host's clock is not settled
(see `station_agent.clock`), such samples are kept in the spool unfrozen, and a correction of the clock moves them, also
when the agent was stopped meanwhile. After a restart of the machine nobody knows by how much: they go as they are,
marked, and an event says so. Samples that an instrument has stamped itself have nothing to do with all this.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from station_agent.clock import Clock, Standing, Step
from station_agent.reading import Notice, Reading
from station_agent.sample import Mark, Sample
from station_agent.spool import Spool

MOST_HELD: Final = 10_000
"""Samples of one instrument that wait for the clock at most; beyond that they go as they are, marked."""

log = logging.getLogger(__name__)


class Dating:
    """Knows which instruments the host stamps, and what becomes of their samples.

    Parameters
    ----------
    clock
        The host's.
    spool
        Where samples wait.
    names
        The instruments the host stamps.
    """

    def __init__(self, clock: Clock, spool: Spool, names: Iterable[str]) -> None:
        self._clock, self._spool = clock, spool
        self._names = frozenset(names)
        self.patient = True
        """Whether there is time to wait for the clock; an agent that is to end has none."""

    def holds(self, name: str) -> bool:
        """Whether an instrument's samples are to wait for the clock."""
        waits = self.patient and name in self._names and not self._clock.settled
        return waits and self._spool.pending(name) < MOST_HELD

    def standing(self, name: str) -> Standing | None:
        """Return how the clock stands where an instrument's samples are to wait for it, else None."""
        return self._clock.standing if self.holds(name) else None

    def read(self, reading: Reading, step: Step | None) -> Reading:
        """Return what was read a moment ago, marked; where the clock was set in that moment, as after it."""
        if reading.notices and not self._clock.plausible:
            now = self._clock.now_ns()  # what an instrument stamped is later
            notices = [_doubted(notice) if notice.time_ns <= now else notice for notice in reading.notices]
            reading = replace(reading, notices=notices)
        if reading.instrument not in self._names or not reading.samples:
            return reading
        mark = self._clock.mark
        samples = [replace(sample, mark=sample.mark | mark) for sample in reading.samples]
        if step is not None:
            samples = [self._moved(sample, step) if _stamped_before(sample, step) else sample for sample in samples]
        return replace(reading, samples=samples)

    def move_unstored(self, step: Step, unstored: list[Reading]) -> None:
        """Move or mark what was stamped before the clock was set and is not in the spool yet, in place."""
        for number, reading in enumerate(unstored):
            if reading.instrument in self._names:
                unstored[number] = replace(reading, samples=[self._moved(sample, step) for sample in reading.samples])

    def move_pending(self, step: Step) -> bool:
        """Do so with what is in the spool and not frozen; return whether there was any.

        Raises
        ------
        SpoolUnwritableError
            Nothing was changed.
        """
        held = {name: self._spool.held_samples(name) for name in sorted(self._names)}
        moved = {name: [self._moved(sample, step) for sample in samples] for name, samples in held.items() if samples}
        if moved:
            self._spool.redate(moved, self._clock.standing)
        return bool(moved)

    def release(self) -> bool:
        """Let go what waited, once the clock is settled: the next freezing takes it; return whether any had."""
        if self._spool.held is None or not self._clock.settled:
            return False
        self._spool.release()
        return True

    def recover(self, report_to: str) -> bool:
        """Move what waited for the clock when the agent was stopped, or say that nobody knows by how much.

        Returns
        -------
        bool
            Whether any had.
        """
        standing = self._spool.held
        if standing is None:
            return False
        moved = self._clock.moved_since(standing)
        names = [name for name in sorted(self._names) if self._spool.pending(name)]
        if moved:
            log.warning("the clock was set by %+.3f s while samples waited for it: they are moved", moved / 1e9)
            return self.move_pending(Step(0, moved, corrects=True))
        if moved is None and names:
            counts = {name: self._spool.pending(name) for name in names}
            log.error("the machine was restarted before its clock was set: the times of %s are not known", counts)
            self._spool.report(report_to, Notice("clock_unknown", self._clock.now_ns(), {"samples": counts}))
            for name in names:
                self._spool.freeze(name)
        if moved is None:
            self._spool.release()
        return moved is None

    def _moved(self, sample: Sample, step: Step) -> Sample:
        """Return a sample stamped before the clock was set as it is known after it."""
        mark = Mark(sample.mark) | Mark.CLOCK_STEPPED
        if not step.corrects:
            return replace(sample, mark=int(mark))
        mark = mark & ~Mark.CLOCK_UNCERTAIN | self._clock.mark & Mark.CLOCK_UNCERTAIN
        return replace(sample, time_ns=sample.time_ns + step.moved_ns, mark=int(mark))


def _doubted(notice: Notice) -> Notice:
    """Return an event whose time is none, saying so."""
    return replace(notice, detail={**notice.detail, "clock": "not set"})


def _stamped_before(sample: Sample, step: Step) -> bool:
    """Whether a sample was stamped before the clock was set, both within the last moment."""
    return abs(sample.time_ns - (step.time_ns - step.moved_ns)) < abs(sample.time_ns - step.time_ns)
