"""The agent: reads what is new, spools it, delivers it, and says how it is. One thread; stops when told."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Final

from station_agent import heap, pushed
from station_agent.atomic import replace_file
from station_agent.clock import Clock, Step
from station_agent.config import Config, try_pushed
from station_agent.dating import Dating
from station_agent.delivery import Delivery
from station_agent.errors import AgentError, SpoolUnwritableError
from station_agent.health import Health, Transport, clock_state, encoded, exposition
from station_agent.notify import Notifier
from station_agent.reading import Notice, Reading
from station_agent.shedding import Loss
from station_agent.sources import Source
from station_agent.spool import Spool
from station_agent.trouble import Trouble

WAIT_S: Final = 0.5
"""The longest the loop waits for anything: so soon it stops when told."""
MOST_SHED_BYTES: Final = 4_000_000
"""Bytes given up at once, at most."""
RESUME: Final = 0.95
"""Share of the quota below which reading goes on after it had stopped."""
GOODBYE_S: Final = 3.0
TELL_S: Final = 15.0
"""How often the service manager is told how it goes."""

log = logging.getLogger(__name__)


class Ending(StrEnum):
    """Why the loop ended."""

    STOPPED = "stopped"
    DRAINED = "drained"
    RELOAD = "reload"
    """The configuration has changed: it is to be read again and everything opened anew."""


class Agent:
    """The loop.

    Parameters
    ----------
    config
        The station's configuration.
    spool
        Where everything goes through; stays open, the caller closes it.
    sources
        What is read.
    take_config
        Whether configurations the server pushes are taken.
    notifier
        Tells the service manager.
    unstored
        What an agent before this one had read and not spooled.
    clock
        The host's clock, watched for steps.
    draw
        Source of the jitter in reconnecting.
    on_step
        Called with the name of each step of reading and sending: where a test pulls the plug.
    """

    def __init__(  # noqa: PLR0913  what a test replaces is an argument
        self,
        config: Config,
        spool: Spool,
        sources: Sequence[Source],
        *,
        take_config: bool = False,
        notifier: Notifier | None = None,
        unstored: Sequence[Reading] = (),
        clock: Clock | None = None,
        draw: random.Random | None = None,
        on_step: Callable[[str], object] = lambda _step: None,
    ) -> None:
        self._config, self._spool, self._sources = config, spool, sources
        self._on_step = on_step
        self._notifier = notifier or Notifier({})
        self._clock = clock or Clock(earliest_ns=spool.acknowledged_ms * 1_000_000)
        self._dating = Dating(self._clock, spool, [entry.name for entry in config.instruments if entry.host_stamped])
        self._due = dict.fromkeys(range(len(sources)), 0.0)
        self._freeze_at: dict[str, float] = {}
        self._health = Health(config, now_ms=time.time_ns() // 1_000_000)
        self._full = self._reload = self._sheds = False
        self.unstored: list[Reading] = list(unstored)
        """What was read and could not be spooled yet; an agent that takes this one's place is given it."""
        self._recovered = False
        """Whether what an agent before this one had left waiting for the clock has been seen to."""
        self._steps: list[Step] = []
        """Steps of the clock whose consequences the disk has not taken yet."""
        self._trouble = Trouble()
        self._tell_due = self._textfile_due = 0.0
        self._told_connected = False
        on_config = self._take_config if take_config else None
        self._delivery = Delivery(config, spool, status=self._status, draw=draw, on_config=on_config, on_step=on_step)
        now = time.monotonic()
        for source in sources:
            if spool.pending(source.instrument.name):
                self._freeze_at[source.instrument.name] = now + config.batch.seconds

    def run(self, stop: threading.Event, *, until_drained: bool = False) -> Ending:
        """Read and deliver until `stop` is set.

        Parameters
        ----------
        stop
            Checked at least twice a second.
        until_drained
            Also end once everything there is has been read, sent and acknowledged.

        Returns
        -------
        Ending
            Why it ended.
        """
        names = ", ".join(source.instrument.name for source in self._sources)
        log.info("station %s: reading %s, %d batches waiting", self._config.station, names, self._spool.queue.batches)
        self._notifier.ready()
        ending: Ending | None = None
        # What files hold is not lost by waiting, and those read once are all to come through.
        self._sheds = self._config.spool.policy != "stop" and not until_drained
        self._dating.patient = not until_drained
        try:
            while ending is None and not stop.is_set():
                try:
                    ending = self._turn(until_drained=until_drained)
                except SpoolUnwritableError as error:  # it could not even be read
                    self._unwritable(error)
                    stop.wait(WAIT_S)
        finally:
            for source in self._sources:
                source.close()
            (self._notifier.reloading if self._reload else self._notifier.stopping)()
            self._delivery.close(grace=GOODBYE_S)
        log.info(
            "stopped: %d samples read, %d lines kept aside, %d batches acknowledged",
            self._health.read,
            self._health.rejected,
            self._delivery.acknowledged,
        )
        return ending or Ending.STOPPED

    def _turn(self, *, until_drained: bool) -> Ending | None:
        """Do once what is due; return why the loop is to end, if it is."""
        self._tell()
        self._watch_clock()
        if self._reload:
            return Ending.RELOAD
        thorough = until_drained and self._spool.empty
        busy = self._read_due(thorough=thorough)
        self._freeze_due(everything=until_drained and not busy and not self._full)
        if thorough and not busy and self._drained():
            self._say_what_is_left()
            return Ending.DRAINED
        self._delivery.step(0.0 if busy else self._wait())
        return None

    def _drained(self) -> bool:
        """Whether all that was read has been acknowledged and no more is sure to come."""
        return (
            self._spool.empty
            and not self.unstored
            and not self._waits
            and not any(source.expecting for source in self._sources)
        )

    # --- reading -----------------------------------------------------------------------------

    def _read_due(self, *, thorough: bool) -> bool:
        """Read once from each source that is due; return whether any had something."""
        self._look_at_room()
        if self._waits or not self._store_what_was_read():
            return False
        if self._trouble.present and not self._written(self._spool.probe):  # it is not over by itself
            return False
        busy = False
        now = time.monotonic()
        for number, source in enumerate(self._sources):
            if now < self._due[number] and not thorough:
                continue
            reading = source.read(thorough=thorough)
            if reading is None:
                self._due[number] = now + source.instrument.poll
            else:
                busy = True
                self._store(reading)
        return busy

    def _store(self, reading: Reading) -> None:
        self._on_step("read")
        # Where the clock was set just now, nobody but the sample's own time says whether it came before or after.
        step = self._watch_clock() if self._config.instrument(reading.instrument).host_stamped else None
        self.unstored.append(self._dating.read(reading, step))
        self._store_what_was_read()

    def _store_what_was_read(self) -> bool:
        """Spool what is waiting for that; return whether nothing is left."""
        while self.unstored and self._recovered and not self._steps:
            reading = self.unstored[0]
            held = self._dating.standing(reading.instrument)
            if not self._written(partial(self._spool.append, reading, held=held)):
                return False
            self.unstored.pop(0)
            self._note(reading)
        return not self.unstored

    def _note(self, reading: Reading) -> None:
        name = reading.instrument
        self._health.note(reading)
        if self._spool.pending(name):
            self._freeze_at.setdefault(name, time.monotonic() + self._config.batch.seconds)
        else:
            self._freeze_at.pop(name, None)

    def _watch_clock(self) -> Step | None:
        """Report a step of the host's clock under each instrument, and move what it had stamped and not sent."""
        if not self._recovered and not self._trouble.lasts(time.monotonic()):
            self._recovered = self._written(partial(self._dating.recover, self._config.instruments[0].name))
        step = self._clock.look()
        if step is not None:
            log.warning("the host's clock was set by %+.3f s", step.seconds)
            self._steps.append(step)
            notice = Notice("clock_stepped", step.time_ns, {"seconds": step.seconds, "clock": self._clock.state()})
            self.unstored += [Reading(source.instrument.name, notices=[notice]) for source in self._sources]
            self._dating.move_unstored(step, self.unstored)
        while self._steps and self._recovered and not self._trouble.lasts(time.monotonic()):
            if not self._written(partial(self._dating.move_pending, self._steps[0])):
                break
            self._steps.pop(0)
        return step

    def _freeze_due(self, *, everything: bool) -> None:
        now = time.monotonic()
        dated = self._recovered and not self._steps
        if self._trouble.lasts(now) or not dated or not self._written(self._dating.release):
            return
        due = [name for name, due in self._freeze_at.items() if everything or due <= now]
        for name in [name for name in due if not self._dating.holds(name)]:
            if not self._written(partial(self._spool.freeze, name)):
                return
            del self._freeze_at[name]

    def _written(self, work: Callable[[], object]) -> bool:
        """Do something that writes the spool; return whether it was done: a disk that cannot take it is waited for.

        It returns False where there was nothing to be written, which says nothing of the disk.
        """
        try:
            done = work()
        except SpoolUnwritableError as error:
            self._unwritable(error)
            return False
        if done is not False:
            self._writable()
        return True

    def _unwritable(self, error: SpoolUnwritableError) -> None:
        if self._trouble.met(str(error), now=time.monotonic()):
            log.error("%s; reading waits, and goes on by itself", error)

    def _writable(self) -> None:
        if since := self._trouble.over(now=time.monotonic()):
            log.info("the spool can be written again after %.0f s: reading goes on", since)
            self._report("spool_unwritable", {"seconds": round(since, 1), "reason": self._trouble.reason})

    @property
    def _waits(self) -> bool:
        """Whether reading waits: for room in the spool, or for the disk."""
        return self._full or self._trouble.lasts(time.monotonic())

    def _look_at_room(self) -> None:
        """See whether the spool is over its quota, and do then what the policy says."""
        used, quota = self._spool.used_bytes, self._config.spool.quota
        # Once reading has stopped, room is made until it goes on: between the two marks nothing else would make any.
        over = used >= (RESUME * quota if self._full else quota)
        if self._sheds and over and not self._trouble.lasts(time.monotonic()):
            self._shed(min(int(quota * (1 - RESUME)), MOST_SHED_BYTES))
            used = self._spool.used_bytes
        if not self._full and used >= quota:
            self._full = True
            log.error("the spool holds %d of %d bytes: reading stops until some is delivered", used, quota)
        elif self._full and used < RESUME * quota:
            self._full = False
            log.info("the spool holds %d of %d bytes: reading goes on", used, quota)

    def _shed(self, size: int) -> None:
        """Give up so many bytes of the spool, and say what was lost."""
        losses: list[Loss] = []
        thin = self._config.spool.policy == "thin"
        try:
            losses = self._spool.shed(size, thin=thin)
        except SpoolUnwritableError as error:
            self._unwritable(error)
        if losses:  # else nothing was written, and the disk has not shown that it can be
            self._writable()
        for loss in losses:
            log.warning(
                "quota (%s): %d samples of %s from %d to %d ms were given up",
                self._config.spool.policy,
                loss.samples,
                loss.instrument,
                loss.first_ms,
                loss.last_ms,
            )

    def _wait(self) -> float:
        """Return how long nothing is due, s."""
        now = time.monotonic()
        freezes = [due for name, due in self._freeze_at.items() if not self._dating.holds(name)]
        due = [*self._due.values(), *freezes] if not self._waits else [now + WAIT_S]
        return max(0.0, min(WAIT_S, min(due, default=now + WAIT_S) - now))

    def _say_what_is_left(self) -> None:
        for source in self._sources:
            for file, size in source.remainder().items():
                log.warning(
                    "%s: %d bytes after the last line end were left: a line still being written is not read", file, size
                )

    # --- how it is ---------------------------------------------------------------------------

    def _tell(self) -> None:
        """Tell the service manager that the loop turns, and node_exporter how it is."""
        self._notifier.turned()
        now, connected = time.monotonic(), self._delivery.connected
        if now < self._tell_due and connected == self._told_connected:
            return
        self._tell_due, self._told_connected = now + TELL_S, connected
        heap.trim()
        link = "connected" if connected else "not connected"
        self._notifier.status(f"reading {self._reading_state()}, {link}, {self._spool.queue.batches} batches waiting")
        path = self._config.textfile
        if path is not None and now >= self._textfile_due:
            self._textfile_due = now + self._config.heartbeat
            document = self._health.document("online", self._transport(), clock=clock_state())
            try:
                replace_file(path, exposition(document, station=self._config.station).encode(), durable=False)
            except OSError as error:
                log.warning("%s: cannot be written: %s; it is tried again", path, error.strerror)

    def _status(self, state: str) -> bytes:
        """Return the status payload: JSON, for people and programs that watch the station."""
        clock = self._clock.state()
        more = {f"clock_{key}": clock[key] for key in ("steps", "plausible", "settled")}
        return encoded(self._health.document(state, self._transport(), clock=clock_state(), more=more))

    def _transport(self) -> Transport:
        return Transport(
            client=self._delivery.client_id,
            spool=self._spool.id,
            queue=self._spool.queue,
            pending=sum(self._spool.pending(source.instrument.name) for source in self._sources),
            used_bytes=self._spool.used_bytes,
            connected=self._delivery.connected,
            acknowledged=self._delivery.acknowledged,
            kept_aside=self._delivery.kept_aside,
            reading=self._reading_state(),
            lost_samples=self._spool.lost_samples,
        )

    def _reading_state(self) -> str:
        if self._trouble.present:
            return "stopped: disk"
        return "stopped: quota" if self._full else "on"

    # --- configuration from the server -------------------------------------------------------

    def _take_config(self, payload: bytes) -> None:
        """Put a pushed configuration in force, or say why not; the same message again changes nothing."""
        path, known = self._config.spool.path, pushed.digest(payload)
        kept, refused = pushed.read_kept(path), pushed.refusal(path)
        against = known, self._config.digest
        seen = refused is not None and (refused.get("digest"), refused.get("against")) == against
        if seen or (kept is not None and pushed.digest(kept) == known):
            return
        try:
            name, faults = try_pushed(self._config, payload)
            if faults:
                self._refuse(payload, name, faults)
                return
            pushed.keep(path, payload)
        except (OSError, ValueError, AgentError) as error:
            log.error("the pushed configuration is not taken: %s; the one in force goes on", error)  # noqa: TRY400
            return
        log.info("configuration %s was pushed: it is put in force", name)
        self._report("config_applied", {"id": name, "digest": known})
        self._store_what_was_read()
        self._reload = True

    def _refuse(self, payload: bytes, name: str | None, faults: list[str]) -> None:
        refusal = pushed.keep_refusal(self._config.spool.path, payload, name, faults, against=self._config.digest)
        log.error("the pushed configuration %s is refused: %s", name, "; ".join(refusal["faults"]))
        self._report("config_refused", {key: refusal[key] for key in ("id", "digest", "faults")})
        self._store_what_was_read()
        self._health.refused = refusal
        self._delivery.beat_soon()

    def _report(self, event: str, detail: dict[str, object]) -> None:
        """Have an event spooled of the station; it goes by its first instrument, for there is no topic of its own."""
        name = self._config.instruments[0].name
        self.unstored.append(Reading(name, notices=[Notice(event, time.time_ns(), detail)]))
