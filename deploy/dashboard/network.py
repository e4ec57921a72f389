"""The map and the table of stations: how old the newest data of each are, its clock, its queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, Range1d, TapTool, WheelZoomTool
from bokeh.plotting import figure

from deploy.dashboard import borders, templates, wording
from ingest.standing import Grade, Standing

LOOKS: Final[Mapping[Grade, tuple[str, str, str]]] = {
    Grade.FRESH: ("#009e73", "circle", "●"),
    Grade.LATE: ("#e69f00", "triangle", "▲"),
    Grade.SILENT: ("#d55e00", "square", "■"),
    Grade.NEVER: ("#7a7a7a", "diamond", "◆"),
}
"""Colour (Okabe and Ito), marker, sign: shape tells them apart where colour does not."""
MEANING: Final = {
    Grade.FRESH: "under 15 min",
    Grade.LATE: "15 min to 1 day",
    Grade.SILENT: "over 1 day",
    Grade.NEVER: "no data yet",
}

_SEA, _LAND, _COUNTRY, _BORDER = "#e6eef4", "#f3f1ea", "#fbfaf6", "#9aa5ad"
_ROOM: Final = 0.2
_LEAST_M: Final = 900e3
_WIDTH, _HEIGHT = 560, 440  # px, about; for what is laid out before the size is known
_LETTER, _LINE = 7.0, 15.0  # px


class Map:
    """The map of one visitor.

    Attributes
    ----------
    figure
        Of Bokeh.
    chosen
        Source whose selection is the station that was tapped on.
    """

    def __init__(self) -> None:
        self.chosen = ColumnDataSource({name: [] for name in _COLUMNS})
        self.figure = figure(
            name="map", height=_HEIGHT, sizing_mode="stretch_width", x_axis_type="mercator", y_axis_type="mercator",
            tools="pan,reset",
            x_range=Range1d(0, 1), y_range=Range1d(0, 1), toolbar_location="above", match_aspect=True,
            x_axis_label="longitude (degrees, east positive)", y_axis_label="latitude (degrees, north positive)",
            background_fill_color=_SEA, border_fill_color="#ffffff", output_backend="canvas",
        )  # fmt: skip
        self._scale = 0.0
        self._drawn()
        self._frame([])

    def _drawn(self) -> None:
        plot = self.figure
        plot.toolbar.logo = None
        plot.patches(*borders.land(), fill_color=_LAND, line_color="#c4c4bb", line_width=0.5)
        plot.patches(*borders.provinces(), fill_color=_COUNTRY, line_color=_BORDER, line_width=0.6)
        plot.multi_line(*borders.dashes(), line_color="#555555", line_width=1.4)
        plot.grid.grid_line_color = "#c9d6df"
        plot.grid.grid_line_alpha = 0.6
        marks = plot.scatter(
            "x", "y", source=self.chosen, marker="marker", fill_color="colour", size="size", line_color="#1c2a33",
            line_width=1.2, nonselection_fill_alpha=1.0, nonselection_line_alpha=1.0, selection_line_width=3.0,
        )  # fmt: skip
        plot.text(
            "x", "y", text="label", x_offset="shift", text_align="align", text_baseline="middle", source=self.chosen,
            text_font_size="12px", text_color="#1c2a33", background_fill_color="#ffffff", background_fill_alpha=0.7,
            padding=1, nonselection_text_alpha=1.0,
        )  # fmt: skip
        tips = [("", "@sign @name  @title"), ("data", "@grade, @age old"), ("newest", "@reading UTC")]
        tips += [("queue", "@queue batches"), ("clock offset", "@offset"), ("says it is", "@state")]
        wheel = WheelZoomTool(modifiers="ctrl")
        plot.add_tools(HoverTool(renderers=[marks], tooltips=tips), TapTool(renderers=[marks]), wheel)
        plot.toolbar.active_scroll = wheel

    def _frame(self, stations: Sequence[Standing]) -> None:
        x, y = borders.plane([s.longitude for s in stations], [s.latitude for s in stations])
        if x.size == 0:
            x, y = borders.plane([73.0, 135.0], [15.0, 54.0])
        across = max(np.ptp(x) * (1 + 2 * _ROOM), _LEAST_M)
        up = max(np.ptp(y) * (1 + 2 * _ROOM), _LEAST_M * _HEIGHT / _WIDTH)
        scale = max(across / _WIDTH, up / _HEIGHT)
        self._scale, self._framed = scale, bool(stations)
        for name, middle, pixels in (("x", (x.min() + x.max()) / 2, _WIDTH), ("y", (y.min() + y.max()) / 2, _HEIGHT)):
            ends = float(middle - scale * pixels / 2), float(middle + scale * pixels / 2)
            getattr(self.figure, f"{name}_range").update(
                start=ends[0], end=ends[1], reset_start=ends[0], reset_end=ends[1]
            )

    def show(self, stations: Sequence[Standing], now: datetime) -> None:
        """Draw how the stations stand; the first time the map is put where they are."""
        if not self._framed:
            self._frame(stations)
        x, y = borders.plane([s.longitude for s in stations], [s.latitude for s in stations])
        said = [line(one, now) for one in stations]
        columns: dict[str, list[Any]] = {name: [each[name] for each in said] for name in _TEXTS}
        columns |= {"x": x.tolist(), "y": y.tolist(), **self._labelled(stations, x, y)}
        columns["size"] = [15 if one.grade(now) is not Grade.FRESH else 12 for one in stations]
        if columns != self.chosen.data:
            self.chosen.data = columns

    def _labelled(self, stations: Sequence[Standing], x: Any, y: Any) -> dict[str, list[Any]]:
        """Return names beside the marks where there is room; the others are in the table and in what hovers."""
        taken = [(px - 9, py - 9, px + 9, py + 9) for px, py in zip(x / self._scale, y / self._scale, strict=True)]
        edges = [end / self._scale for end in (self.figure.x_range.reset_start, self.figure.x_range.reset_end)]
        made: dict[str, list[Any]] = {"label": [], "shift": [], "align": []}
        for k, one in enumerate(stations):
            low, high = y[k] / self._scale - _LINE / 2, y[k] / self._scale + _LINE / 2
            right, left = taken[k][2] + 2, taken[k][0] - 2
            length = _LETTER * len(one.name)
            sides = {"left": (right, low, right + length, high), "right": (left - length, low, left, high)}
            inside = {a: box for a, box in sides.items() if edges[0] < box[0] and box[2] < edges[1]}
            free = (a for a, box in inside.items() if not any(_overlap(box, o) for i, o in enumerate(taken) if i != k))
            align = next(free, "")
            made["label"].append(one.name if align else "")
            made["align"].append(align or "left")
            made["shift"].append(-11 if align == "right" else 11)
            if align:
                taken.append(sides[align])
        return made


_TEXTS: Final = (
    *("name", "title", "grade", "age", "reading", "queue", "offset", "state", "said", "colour", "marker", "sign"),
)
_COLUMNS: Final = (*_TEXTS, "x", "y", "label", "shift", "align", "size")


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def line(one: Standing, now: datetime) -> dict[str, str]:
    """Return what is said of a station, as texts."""
    grade = one.grade(now)
    colour, marker, sign = LOOKS[grade]
    return {
        "name": one.name,
        "title": one.title,
        "grade": grade.value,
        "age": wording.span(one.age(now)),
        "reading": wording.moment(one.reading),
        "queue": wording.count(one.queue),
        "offset": wording.offset(one.offset) + (", not synchronised" if one.synchronised is False else ""),
        "state": one.state or wording.NOTHING,
        "said": f"{wording.span(now - one.said)} ago" if one.said is not None else "",
        "colour": colour,
        "marker": marker,
        "sign": sign,
    }


def table(stations: Sequence[Standing], now: datetime) -> str:
    """Return the summary and the table as HTML: what needs somebody first."""
    grades = [one.grade(now) for one in stations]
    order = sorted(range(len(stations)), key=lambda k: (_urgency(grades[k]), k))
    counts = Counter(grades)
    tiles = [
        {"sign": LOOKS[grade][2], "colour": LOOKS[grade][0], "count": counts[grade], "word": grade.value,
         "meaning": MEANING[grade]}
        for grade in Grade
    ]  # fmt: skip
    return templates.render(
        "stations.html", tiles=tiles, lines=[line(stations[k], now) for k in order], now=wording.moment(now)
    )


def notice(sentence: str) -> str:
    """Return a sentence as HTML."""
    return templates.render("notice.html", sentence=sentence)


def _urgency(grade: Grade) -> int:
    return (Grade.SILENT, Grade.LATE, Grade.NEVER, Grade.FRESH).index(grade)
