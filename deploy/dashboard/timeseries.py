"""A series over time, as fine as the screen: what is seen is asked for again, finer, with every zoom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from bokeh.models import (
    BasicTickFormatter,
    BoxSelectTool,
    BoxZoomTool,
    ColumnDataSource,
    CrosshairTool,
    DataRange1d,
    DatetimeTickFormatter,
    HoverTool,
    Legend,
    LegendItem,
    PanTool,
    Range1d,
    ResetTool,
    VStrip,
    WheelZoomTool,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from deploy.dashboard import templates, wording
from deploy.jobs import network
from ingest import ledger, read, screen
from ingest.database import Connection
from ingest.errors import StoreError
from ingest.screen import Envelope, Series
from qc.flags import Flag
from qc.plot import COLOURS, WORDS

MEANS: Final = "means with flags"
PIXELS: Final = 1200
SHORTEST: Final = timedelta(seconds=10)
LONGEST: Final = timedelta(days=100 * 366)
WINDOWS: Final[Mapping[str, timedelta | None]] = {
    "6 hours": timedelta(hours=6),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
    "all": None,
}

_LINE: Final = "#0072b2"
_LOOKS: Final = {
    Flag.GOOD: ("circle", 4, _LINE),
    Flag.SUSPECT: ("triangle", 8, COLOURS[Flag.SUSPECT]),
    Flag.BAD: ("x", 9, COLOURS[Flag.BAD]),
    Flag.NOT_EVALUATED: ("diamond", 7, "#6f6f6f"),
}
_GAP: Final = 3.5
"""Steps between two values from which on no line joins them."""
_MOST_MARKED: Final = 400
"""Values up to which those of a line are marked one by one."""
_HOW: Final = "Ctrl and the wheel zoom, dragging moves."
_DATES: Final = {
    "seconds": "%H:%M:%S", "minsec": "%H:%M:%S", "minutes": "%H:%M", "hourmin": "%H:%M", "hours": "%H:%M",
    "days": "%d %b", "months": "%b %Y", "years": "%Y",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be seen: a series, as means or as the readings of an instrument."""

    series: Series
    instrument: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in a window: envelopes by flag (of readings there is one, not evaluated), and flags by hand."""

    choice: Choice
    start: datetime
    end: datetime
    envelopes: Mapping[int, Envelope]
    decisions: Sequence[ledger.Row]


def choices(one: Series) -> dict[str, Choice]:
    """Return the ways to look at a series, by their names."""
    found = {MEANS: Choice(one)} if one.evaluated else {}
    return found | {f"readings of {name}, as sent": Choice(one, name) for name in one.instruments}


# --- what the store says ----------------------------------------------------------------------


def ends(conn: Connection, choice: Choice) -> tuple[datetime, datetime] | None:
    """Return the first and last time there is anything."""
    one = choice.series
    found = screen.extent(conn, station=one.station, inlet=one.inlet, gas=one.gas, instrument=choice.instrument)
    return None if found is None else (read.instant(found[0]), read.instant(found[1]))


def look(conn: Connection, choice: Choice, start: datetime, end: datetime) -> Seen:
    """Return what there is to see of a series in a window; as much as the screen shows, and no more."""
    start, end = bounded(start, end)
    one = choice.series
    if choice.instrument is None:
        found: Mapping[int, Envelope] = screen.means(
            conn, station=one.station, inlet=one.inlet, gas=one.gas, start=start, end=end, pixels=PIXELS
        )
    else:
        readings = screen.readings(
            conn,
            station=one.station,
            instrument=choice.instrument,
            quantity=one.gas,
            start=start,
            end=end,
            pixels=PIXELS,
            ports=_ports(conn, choice, start, end),
        )
        found = {int(Flag.NOT_EVALUATED): readings}
    rows = ledger.read(conn, one.station, start=start, end=end)
    touching = [row for row in rows if row.in_force and _concerns(row, choice)]
    return Seen(choice, start, end, found, touching)


def bounded(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return a window that is neither shorter nor longer than what can be looked at."""
    length = min(max(end - start, SHORTEST), LONGEST)
    return start, start + length


def _ports(conn: Connection, choice: Choice, start: datetime, end: datetime) -> list[str] | None:
    """Return the positions of the valve that draw from the inlet; None where there is no valve."""
    one = choice.series
    known = next(s for s in read.stations_on(conn) if s.name == one.station)
    instrument = next((i for i in known.instruments if i.name == choice.instrument), None)
    if instrument is None:
        msg = f"station {one.station!r} has no instrument {choice.instrument!r}"
        raise StoreError(msg)
    first, last = (np.datetime64(t.replace(tzinfo=None), "ns") for t in (start, end))
    connected = network.ports_of(instrument, (first, last))
    ports = [p.port for p in connected if p.inlet == one.inlet]
    if moved := {str(p.port) for p in connected if p.inlet != one.inlet and p.port in ports}:
        msg = (
            f"position {', '.join(sorted(moved))} of the valve drew from another inlet in a part of this time: "
            "choose a shorter one"
        )
        raise StoreError(msg)
    return None if None in ports else [port for port in ports if port is not None]


def _concerns(row: ledger.Row, choice: Choice) -> bool:
    one = choice.series
    instruments = one.instruments if choice.instrument is None else (choice.instrument,)
    return (
        row.inlet in (None, one.inlet)
        and row.gas in (None, one.gas)
        and (row.instrument is None or row.instrument in instruments)
    )


# --- the figure -------------------------------------------------------------------------------


class Chart:
    """The figure of one visitor.

    Attributes
    ----------
    figure
        Of Bokeh.
    """

    def __init__(self) -> None:
        self.figure = figure(
            name="series", height=380, sizing_mode="stretch_width", x_axis_type="datetime", tools=[],
            x_range=Range1d(0, 1), y_range=DataRange1d(range_padding=0.08, default_span=1.0), x_axis_label="time (UTC)",
            toolbar_location="above", border_fill_color="#ffffff", output_backend="canvas",
        )  # fmt: skip
        plot = self.figure
        plot.toolbar.logo = None
        wheel = WheelZoomTool(dimensions="width", modifiers="ctrl")
        plot.add_tools(PanTool(dimensions="width"), BoxZoomTool(dimensions="width"), wheel, ResetTool())
        plot.add_tools(CrosshairTool(dimensions="height", line_color="#9aa5ad"))
        plot.toolbar.active_scroll = wheel
        plot.xaxis.formatter = DatetimeTickFormatter(**_DATES)
        plot.grid.grid_line_color = "#e3e7ea"
        plot.min_border_right = 24
        plot.yaxis.formatter = BasicTickFormatter(use_scientific=False)
        self._strips = ColumnDataSource({"left": [], "right": [], "colour": []})
        strips = plot.add_glyph(
            self._strips,
            VStrip(
                x0="left", x1="right", fill_color="colour", fill_alpha=0.16, line_color="colour", hatch_alpha=0.35,
                hatch_pattern="right_diagonal_line", hatch_color="colour", hatch_scale=14,
            ),
        )  # fmt: skip
        self._line = ColumnDataSource({"x": [], "y": []})
        self._marks = {flag: ColumnDataSource({name: [] for name in ("x", "y", "n", "word")}) for flag in _LOOKS}
        line = plot.line("x", "y", source=self._line, line_color=_LINE, line_width=1.4)
        marks = {
            flag: plot.scatter(
                "x", "y", source=self._marks[flag], marker=marker, size=size, fill_color=colour, line_color=colour,
                line_width=1.6 if marker == "x" else 0.8,
            )
            for flag, (marker, size, colour) in _LOOKS.items()
        }  # fmt: skip
        plot.y_range.renderers = [line, *marks.values()]
        self._entries = {
            flag: LegendItem(label=WORDS[flag], renderers=[line, one] if flag is Flag.GOOD else [one], visible=False)
            for flag, one in marks.items()
        }
        self._sent = LegendItem(label="as sent", renderers=[line], visible=False)
        self._by_hand = LegendItem(label="flagged by hand", renderers=[strips], visible=False)
        plot.add_layout(
            Legend(
                items=[self._sent, *self._entries.values(), self._by_hand], orientation="horizontal", padding=0,
                border_line_color=None, margin=4, label_text_font_size="12px",
            ),
            "above",
        )  # fmt: skip
        tips = [("time", "@x{%F %T} UTC"), ("value", "@y{0,0.00}"), ("flag", "@word"), ("values", "@n")]
        formats = {"@x": "datetime"}
        plot.add_tools(HoverTool(renderers=list(marks.values()), formatters=formats, tooltips=tips))

    def let_brush(self) -> None:
        """Add the tool that marks a range of time."""
        tool = BoxSelectTool(
            dimensions="width", persistent=True, renderers=[], description="Mark a range to be flagged"
        )
        tool.overlay.name = "range"
        self.figure.add_tools(tool)
        self.figure.toolbar.active_drag = tool

    @property
    def window(self) -> tuple[datetime, datetime]:
        """What the visitor's screen shows."""
        return moment(self.figure.x_range.start), moment(self.figure.x_range.end)

    def frame(self, start: datetime, end: datetime) -> None:
        """Show a window; what is in it comes later."""
        with_ends = self.figure.x_range
        with_ends.update(start=milliseconds(start), end=milliseconds(end))
        with_ends.update(reset_start=milliseconds(start), reset_end=milliseconds(end))

    def show(self, seen: Seen) -> None:
        """Draw what was found."""
        one = seen.choice.series
        self.figure.yaxis.axis_label = f"{wording.gas(one.gas)} ({wording.unit(one.gas)})"
        alone = seen.choice.instrument is not None
        self._line.data = _line(seen.envelopes.get(Flag.NOT_EVALUATED if alone else Flag.GOOD))
        self._sent.visible, self._by_hand.visible = alone, bool(seen.decisions)
        for flag, source in self._marks.items():
            found = seen.envelopes.get(flag)
            word = "as sent" if alone else WORDS[flag]
            source.data = _marks(found, word, few=flag is Flag.GOOD or alone)
            self._entries[flag].visible = not alone and found is not None and found.time.size > 0
        self._strips.data = {
            "left": [milliseconds(row.start) for row in seen.decisions],
            "right": [milliseconds(row.end) for row in seen.decisions],
            "colour": [COLOURS[row.flag] for row in seen.decisions],
        }


def milliseconds(time: datetime) -> float:
    """Return a time as Bokeh counts it: ms since 1970."""
    return time.timestamp() * 1000


def moment(ms: Any) -> datetime:
    """Return the time of so many ms since 1970; bounded, for a visitor may say anything."""
    value = float(ms) if isinstance(ms, int | float) else 0.0
    bounds = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    low, high = (milliseconds(bound) for bound in bounds)
    return datetime.fromtimestamp(min(max(value if value == value else low, low), high) / 1000, UTC)  # noqa: PLR0124


def _middle(one: Envelope) -> NDArray[np.float64]:
    return (one.time + np.timedelta64(one.step) / 2).astype("datetime64[ms]").astype(np.float64)


def _line(one: Envelope | None) -> dict[str, Any]:
    """Return a line from each interval's lowest to its highest value and on to the next; broken where nothing is."""
    if one is None or one.time.size == 0:
        return {"x": np.empty(0), "y": np.empty(0)}
    x, y = np.repeat(_middle(one), 2), np.stack([one.low, one.high], axis=1).ravel()
    apart = np.diff(_middle(one))
    step = one.step / timedelta(milliseconds=1) if one.step else float(np.median(apart)) if apart.size else 1.0
    breaks = 2 * (np.flatnonzero(apart > _GAP * step) + 1)
    return {"x": np.insert(x, breaks, x[breaks]), "y": np.insert(y, breaks, np.nan)}


def _marks(one: Envelope | None, word: str, *, few: bool) -> dict[str, Any]:
    """Return lowest and highest of each interval as marks; those that a line shows as well only where they are few."""
    if one is None or (few and one.time.size > _MOST_MARKED):
        return {name: np.empty(0) for name in ("x", "y", "n", "word")}
    twice = one.high > one.low
    x = np.r_[_middle(one), _middle(one)[twice]]
    y, n = np.r_[one.low, one.high[twice]], np.r_[one.size, one.size[twice]]
    return {"x": x, "y": y, "n": n, "word": np.full(x.size, word, dtype=object)}


# --- beside the figure ------------------------------------------------------------------------


def caption(seen: Seen) -> str:
    """Return in a sentence what the figure is made of."""
    total = sum(int(one.size.sum()) for one in seen.envelopes.values())
    first = next(iter(seen.envelopes.values()), None)
    if first is None or total == 0:
        return f"Nothing in this window. {_HOW}"
    longest = max(one.step for one in seen.envelopes.values())
    sent = seen.choice.instrument is not None
    kind = "readings" if sent else f"{first.source} means"
    held = f"{wording.count(total)} {kind}"
    if not longest:
        return f"{held}, each of them. {_HOW}"
    how = f"{held} in intervals of {wording.span(longest)}, from the lowest to the highest of each"
    rolled = sent and first.source in ("day", "hour")
    return f"{how}; rolled up, with calibration gas where there is any. {_HOW}" if rolled else f"{how}. {_HOW}"


def decisions(seen: Seen) -> str:
    """Return the flags by hand of a window as HTML."""
    rows = [
        {
            "number": str(row.number),
            "flag": row.flag.name.lower(),
            "window": f"{wording.moment(row.start)} to {wording.moment(row.end)}",
            "only": ", ".join(part for part in (row.instrument, row.inlet, row.gas, row.port) if part) or "all",
            "reason": row.reason,
            "author": row.author,
            "made": wording.moment(row.made),
        }
        for row in seen.decisions
    ]
    return templates.render("decisions.html", rows=rows)
