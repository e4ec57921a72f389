"""A visitor's session: the map, the series, calibrations and the cross-check, kept up to date. It only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from importlib import resources
from typing import Any, Final

import panel as pn
from bokeh.document import Document, without_document_lock
from bokeh.events import RangesUpdate, SelectionGeometry

from deploy.dashboard import comparison, network, quality, timeseries, wording
from deploy.dashboard.store import Store
from deploy.dashboard.timeseries import WINDOWS, Choice, Seen
from deploy.errors import DeployError
from ingest import screen
from ingest.database import Connection
from ingest.screen import Series
from ingest.standing import Standing
from qc import report
from qc.errors import QcError

TITLE: Final = "skyledger network"
FIRST_WINDOW: Final = "week"
AFTER: Final = timedelta(minutes=10)
"""How long what changes seldom (catalogue, calibrations, cross-check) is not looked at again."""
_SAME: Final = 0.002
"""Part of a window by which two may differ and still be the same: browsers round."""
_MARGIN: Final = 0.01


@dataclass(frozen=True, slots=True)
class Shown:
    """What all visitors are shown beside the store: the QC configuration's series, and where cross-checks lie."""

    series: Sequence[Mapping[str, Any]] = ()
    crosscheck: comparison.Source | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a visitor wants to see: a choice over a window, or (`name`) over the newest so much of it."""

    choice: Choice
    name: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(slots=True)
class _Slow:
    """What changes seldom, and when it was looked at."""

    looked: datetime | None = None
    cylinders: list[report.Cylinders] = field(default_factory=list)
    file: Any = None


def style() -> str:
    """Return the style of what stands within the page's parts."""
    return resources.files("deploy.dashboard").joinpath("assets/parts.css").read_text(encoding="utf-8")


def _columns(least: int) -> str:
    """Return the style of parts side by side, each at least so wide, px; one below the other where there is no room."""
    return (
        ":host { display: grid !important; gap: 8px 14px;"
        f" grid-template-columns: repeat(auto-fit, minmax(min(100%, {least}px), 1fr)); }}"
    )


class Visit:
    """One visitor.

    Parameters
    ----------
    doc
        Of the session.
    store
        What is asked.
    shown
        What else there is.
    """

    def __init__(self, doc: Document, store: Store, shown: Shown) -> None:
        self._doc, self._store, self._shown = doc, store, shown
        self._every: list[Series] = []
        self._choices: dict[str, Choice] = {}
        self._wish: Wish | None = None
        self._current: Wish | None = None
        self._drawn: Wish | None = None
        self._framed: tuple[datetime, datetime] | None = None
        self._fulfilling: asyncio.Task[None] | None = None
        self._hanging: asyncio.Task[None] | None = None
        self._unhung = False
        self._asked_station = _asked(doc, "station")
        self._slow, self._filling = _Slow(), False
        self._map, self._chart = network.Map(), timeseries.Chart()
        self._events()  # before the figures belong to the document: later ones it does not hear of
        self._parts()
        self._begin()

    def _parts(self) -> None:
        def html(name: str) -> Any:
            return name, pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[style()], margin=0)

        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self._station = pn.widgets.Select(label="Station", options={}, **wide)
        self._series = pn.widgets.Select(label="Inlet and gas", options={}, **wide)
        self._as = pn.widgets.Select(label="Shown", options={}, **wide)
        self._window = pn.widgets.RadioButtonGroup(
            label="Window", options=list(WINDOWS), value=FIRST_WINDOW, sizing_mode="stretch_width", margin=(8, 0, 6, 0)
        )
        self._html = dict(map(html, ("notice", "stations", "caption", "decisions", "quality_note", "crosscheck")))
        self._figures = pn.Column(sizing_mode="stretch_width", stylesheets=[_columns(380)], margin=0)
        chosen = pn.Column(
            self._station, self._series, self._as, sizing_mode="stretch_width", stylesheets=[_columns(340)], margin=0
        )
        controls = pn.Column(chosen, self._window, sizing_mode="stretch_width", margin=0)
        roots = {**self._html, "controls": controls, "figures": self._figures}
        for name, part in roots.items():
            part.server_doc(self._doc, location=False)
            self._doc.roots[-1].name = name
        for plot in (self._map.figure, self._chart.figure):
            self._doc.add_root(plot)
        self._doc.title = TITLE

    def _events(self) -> None:
        self._map.chosen.selected.on_change("indices", lambda _attr, _old, new: self._tapped(new))
        self._chart.figure.on_event(RangesUpdate, lambda _: self._zoomed())
        self._chart.figure.on_event(SelectionGeometry, self._brushed)

    def _begin(self) -> None:
        self._station.param.watch(lambda _: self._station_chosen(), "value")
        self._series.param.watch(lambda _: self._series_chosen(), "value")
        self._as.param.watch(lambda _: self._wanted(), "value")
        self._window.param.watch(self._window_chosen, "value")
        self._doc.add_next_tick_callback(self.refresh)
        self._doc.add_periodic_callback(self.refresh, max(int(1000 * self._store.every), 100))
        end = self._store.listen(lambda: self._later(self._again))
        self._doc.on_session_destroyed(lambda _: end())

    def let_brush(self) -> None:
        """Let a range of the series be marked; what for is the affair of the page's form."""
        self._chart.let_brush()

    # --- kept up to date ----------------------------------------------------------------------

    @without_document_lock
    async def refresh(self) -> None:
        """Ask how the stations stand, and what is new of the rest; what comes is drawn when the session is free."""
        try:
            stations = await self._store.standings()
            self._later(partial(self._stand, stations))
            now = self._store.now()
            if self._slow.looked is None or not timedelta(0) <= now - self._slow.looked < AFTER:
                self._slow.looked = now
                self._later(partial(self._catalogued, await self._store.ask(screen.every)))
            elif self._current is not None and self._current.name is not None:
                self._later(self._again)
            self._later(partial(self._say, ""))
        except DeployError as error:
            self._slow.looked = None
            self._later(partial(self._say, str(error)))
        self._later(self._compared)

    def _later(self, do: Callable[[], None]) -> None:
        self._doc.add_next_tick_callback(do)

    def _say(self, sentence: str) -> None:
        self._put("notice", network.notice(sentence))

    def _put(self, name: str, html: str) -> None:
        if self._html[name].object != html:
            self._html[name].object = html

    def _stand(self, stations: Sequence[Standing]) -> None:
        now = self._store.now()
        self._map.show(stations, now)
        self._put("stations", network.table(stations, now))

    def _catalogued(self, found: list[Series]) -> None:
        """Take in which series there are; what was chosen stays chosen."""
        if found == self._every:
            self._cylinders_wanted()
            return
        self._every = found
        names = list(dict.fromkeys(one.station for one in found))
        kept = self._station.value or self._asked_station
        self._filling = True
        self._station.options = names
        self._station.value = kept if kept in names else next(iter(names), None)
        self._filling = False
        self._station_chosen()
        if not found:
            self._put("caption", network.notice("No station has data yet."))

    # --- what is chosen -----------------------------------------------------------------------

    def _station_chosen(self) -> None:
        if self._filling:
            return
        own = [one for one in self._every if one.station == self._station.value]
        before = self._series.value
        self._filling = True
        self._series.options = {_called(one): _key(one) for one in own}
        self._series.value = before if before in self._series.options.values() else next(map(_key, own), None)
        self._filling = False
        self._series_chosen()

    def _series_chosen(self) -> None:
        if self._filling:
            return
        one = next((s for s in self._every if s.station == self._station.value and _key(s) == self._series.value), None)
        self._choices = {} if one is None else timeseries.choices(one)
        before = self._as.value
        self._filling = True
        self._as.options = list(self._choices)
        self._as.value = before if before in self._choices else next(iter(self._choices), None)
        self._filling = False
        self._wanted()
        self._cylinders_wanted()

    def _wanted(self) -> None:
        """Ask for the newest of what is chosen, or for the window that was zoomed to."""
        choice = self._choices.get(self._as.value)
        if self._filling or choice is None:
            return
        if self._window.value is None and self._framed is not None:
            self._ask(Wish(choice, None, *self._framed))
        else:
            self._ask(Wish(choice, self._window.value or FIRST_WINDOW))

    def _window_chosen(self, event: Any) -> None:
        if event.new is not None:
            self._wanted()

    def _tapped(self, indices: Sequence[int]) -> None:
        names = self._map.chosen.data["name"]
        if len(indices) == 1 and 0 <= indices[0] < len(names) and names[indices[0]] in self._station.options:
            self._station.value = names[indices[0]]

    def _zoomed(self) -> None:
        """Ask for what a visitor zoomed or moved to."""
        if self._current is None:
            return
        start, end = timeseries.bounded(*self._chart.window)
        if self._framed is not None and _same((start, end), self._framed):
            return
        self._framed = start, end
        choice = self._current.choice
        self._window.value = None
        self._ask(Wish(choice, None, start, end))

    def _brushed(self, event: SelectionGeometry) -> None:
        """Say what was marked back to the page, whose form alone can do something with it."""
        geometry: Mapping[str, Any] = event.geometry or {}
        if not event.final or self._current is None or not {"x0", "x1"} <= set(geometry):
            return
        if self._drawn is None or self._drawn.choice != self._current.choice:
            return  # what is marked is still of the series before
        start, end = (_whole(time) for time in sorted(map(timeseries.moment, (geometry["x0"], geometry["x1"]))))
        until = max(end, start + timedelta(seconds=1))
        self._mark(self._current.choice, f"{start:%Y-%m-%dT%H:%M:%S}", f"{until:%Y-%m-%dT%H:%M:%S}")

    def _mark(self, choice: Choice, start: str = "", end: str = "") -> None:
        one = choice.series
        where = {"station": one.station, "inlet": one.inlet, "gas": one.gas, "instrument": choice.instrument or ""}
        self._chart.figure.tags = [where | {"start": start, "end": end}]

    # --- the series ---------------------------------------------------------------------------

    def _again(self) -> None:
        if self._current is not None:
            self._ask(self._current)

    def _ask(self, wish: Wish) -> None:
        """Take a wish; while one is being fulfilled only the last of those that come is kept."""
        if self._current is None or self._current.choice != wish.choice:
            self._mark(wish.choice)  # what was marked was of another series
        self._wish = self._current = wish
        if self._fulfilling is None or self._fulfilling.done():
            self._fulfilling = asyncio.get_running_loop().create_task(self._fulfil())

    async def _fulfil(self) -> None:
        while self._wish is not None:
            wish, self._wish = self._wish, None
            try:
                seen = await self._store.ask(partial(_answer, wish))
            except DeployError as error:
                self._later(partial(self._unseen, wish, str(error)))
            else:
                self._later(partial(self._show, wish, seen))

    def _show(self, wish: Wish, seen: Seen | None) -> None:
        if wish is not self._current:  # something else is wanted meanwhile
            return
        if seen is None:
            self._unseen(wish, "Nothing here yet.")
            return
        if wish.name is not None:
            if wish is self._drawn and self._framed is not None and not _same(self._chart.window, self._framed):
                return  # the visitor is on the way to somewhere else
            self._framed = seen.start, seen.end
            if not _same(self._chart.window, self._framed):
                self._chart.frame(seen.start, seen.end)
        self._drawn = wish
        self._chart.show(seen)
        self._put("caption", network.notice(timeseries.caption(seen)))
        self._put("decisions", timeseries.decisions(seen))

    def _unseen(self, wish: Wish, sentence: str) -> None:
        """Say why there is nothing; what is drawn of another series goes."""
        if wish is not self._current:
            return
        if self._drawn is None or self._drawn.choice != wish.choice:
            now, self._drawn = self._store.now(), None
            self._chart.show(Seen(wish.choice, now, now, {}, ()))
            self._put("decisions", "")
        self._put("caption", network.notice(sentence))

    # --- what changes seldom ------------------------------------------------------------------

    def _cylinders_wanted(self) -> None:
        """Ask for those of what is chosen; while one question is out only the last is kept."""
        self._unhung = self._current is not None
        if self._unhung and (self._hanging is None or self._hanging.done()):
            self._hanging = asyncio.get_running_loop().create_task(self._hang_last())

    async def _hang_last(self) -> None:
        while self._unhung and self._current is not None:
            self._unhung = False
            await self._cylinders(self._current.choice.series)

    async def _cylinders(self, one: Series) -> None:
        question = partial(
            quality.found, series=self._shown.series, station=one.station, gas=one.gas, now=self._store.now()
        )
        try:
            found, said = await self._store.ask(question), ""
        except (DeployError, QcError) as error:
            found, said = [], str(error)
        self._later(partial(self._hang, one, found, said))

    def _hang(self, one: Series, found: Sequence[report.Cylinders], said: str) -> None:
        if self._current is None or self._current.choice.series != one:
            return
        plots = quality.figures(found)
        where = f"{wording.gas(one.gas)} at {one.station}, the last year"
        self._put("quality_note", network.notice(said or (where if plots else f"No calibrations of {where}.")))
        self._figures.objects = [pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=0) for plot in plots]

    def _compared(self) -> None:
        """Read the latest cross-check where there is another one than before."""
        if self._shown.crosscheck is None:
            self._put("crosscheck", network.notice("No cross-check is shown: start with --crosscheck FOLDER."))
            return
        try:
            path = self._shown.crosscheck.latest()
            state = None if path is None else (path, path.stat().st_mtime_ns)
            if state is None:
                self._slow.file = None
                self._put("crosscheck", network.notice("No cross-check has been written yet."))
            elif state != self._slow.file:
                self._slow.file = state
                self._put("crosscheck", comparison.table(state[0]))
        except DeployError as error:
            self._put("crosscheck", network.notice(str(error)))
        except OSError as error:  # its own words say where it lies
            self._slow.file = None
            self._put("crosscheck", network.notice(f"The cross-check cannot be read: {error.strerror}."))


def _asked(doc: Document, name: str) -> str | None:
    """Return what the address asks for."""
    request: Any = getattr(doc.session_context, "request", None)
    given = [] if request is None else request.arguments.get(name, [])
    return given[0].decode("utf-8", "replace") if given else None


def _whole(time: datetime) -> datetime:
    """Return the nearest whole second."""
    return (time + timedelta(seconds=0.5)).replace(microsecond=0)


def _called(one: Series) -> str:
    height = f"{one.height:g} m"
    known = one.inlet.replace(" ", "") == height.replace(" ", "")
    return f"{wording.gas(one.gas)} at {height}" if known else f"{wording.gas(one.gas)} at {height} ({one.inlet})"


def _key(one: Series) -> str:
    return f"{one.inlet}/{one.gas}"


def _same(one: tuple[datetime, datetime], other: tuple[datetime, datetime]) -> bool:
    allowed = _SAME * (other[1] - other[0])
    return abs(one[0] - other[0]) <= allowed and abs(one[1] - other[1]) <= allowed


def _answer(wish: Wish, conn: Connection) -> Seen | None:
    """Return what a wish gets to see; None where there is nothing at all."""
    if wish.start is not None and wish.end is not None:
        return timeseries.look(conn, wish.choice, wish.start, wish.end)
    ends = timeseries.ends(conn, wish.choice)
    if ends is None:
        return None
    length = WINDOWS.get(wish.name or "")
    start = ends[0] if length is None else ends[1] - length
    margin = max(_MARGIN * (ends[1] - start), timedelta(seconds=1))
    return timeseries.look(conn, wish.choice, start - (margin if length is None else timedelta(0)), ends[1] + margin)
