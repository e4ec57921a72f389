"""One page for a station and month that needs nothing else: tables and figures in one HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from qc import plot
from qc.calibration import Calibration
from qc.plot import PLAIN
from qc.report import tables
from qc.schema import OBS
from qc.target import History


@dataclass(frozen=True, slots=True)
class Series:
    """The means of one inlet: OBS of hours and of minutes; None where there are none."""

    inlet: str
    height: float
    hours: xr.Dataset | None
    minutes: xr.Dataset | None


@dataclass(frozen=True, slots=True)
class Cylinders:
    """What the cylinders of one instrument say of one gas.

    Parameters
    ----------
    instrument, gas, unit
        Names, and the unit of the gas.
    standards
        Names of the standards, in the calibration's order.
    calibration
        None: there is none.
    targets
        Name of the target -> its history.
    """

    instrument: str
    gas: str
    unit: str
    standards: Sequence[str] = ()
    calibration: Calibration | None = None
    targets: Mapping[str, History] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody decided: the row, what it says, of what time, why, who, and when."""

    row: str
    what: str
    window: str
    why: str
    who: str
    when: str


@dataclass(frozen=True, slots=True)
class _Picture:
    """A figure of the page with the words that stand for it."""

    caption: str
    png: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """A gas at an inlet."""

    inlet: str
    height: float
    gas: str
    tests: list[tables.Tested]
    idle: list[str]
    pictures: list[_Picture]


@dataclass(frozen=True, slots=True)
class _Hung:
    """The cylinders of an instrument for a gas."""

    instrument: str
    gas: str
    unit: str
    episodes: list[tables.Episode]
    repeatability: str
    drift: str
    targets: list[tables.Target]
    pictures: list[_Picture]


def render(  # noqa: PLR0913  all that stands on a page
    *,
    station: str,
    title: str,
    place: str,
    start: np.datetime64,
    end: np.datetime64,
    series: Sequence[Series],
    cylinders: Sequence[Cylinders] = (),
    notes: Sequence[Note] = (),
    font: str = "",
    version: str = "",
) -> str:
    """Return the page.

    Parameters
    ----------
    station, title, place
        Name, title and whereabouts of the station.
    start, end
        datetime64: the month, or as much of it as there is.
    series
        Of all inlets.
    cylinders
        Of all instruments and gases that are calibrated.
    notes
        Flags by hand and corrections of cylinders.
    font
        WOFF in base64 for letters the reader's machine may lack; "" for none.
    version
        Of the code.

    Returns
    -------
    str
        HTML; everything that came from data is escaped.
    """
    wanted = int((end - start) / np.timedelta64(1, "h"))
    there = [(one, gas) for one in series if one.hours is not None for gas in OBS.species(one.hours)]
    context: dict[str, Any] = {
        "station": station,
        "title": title or station,
        "place": place,
        "month": str(start.astype("datetime64[M]")),
        "until": tables.day(end),
        "coverage": [tables.coverage(_hours(one), gas, inlet=one.inlet, wanted=wanted) for one, gas in there],
        "absent": [one.inlet for one in series if one.hours is None],
        "budget": [tables.budget(_hours(one), gas, inlet=one.inlet) for one, gas in there],
        "shown": [_shown(one, gas) for one, gas in there],
        "hung": [_hung(one, start, end) for one in cylinders],
        "notes": list(notes),
        "provenance": list(_provenance(series)),
        "font": font,
        "version": version,
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qc.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("month.html").render(context)


def _hours(one: Series) -> xr.Dataset:
    assert one.hours is not None
    return one.hours


def _picture(figure: Figure, caption: str) -> _Picture:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": ""})
    return _Picture(caption, base64.b64encode(stream.getvalue()).decode("ascii"))


def _shown(one: Series, gas: str) -> _Shown:
    hours, minutes = _hours(one), one.minutes
    name = f"{gas.upper()} at {one.inlet}"
    pictures = [
        _picture(
            plot.series(hours, gas, minutes=minutes),
            f"{name}: hourly means over the minutes they are made of, and their standard deviation.",
        ),
        _picture(plot.coverage(hours, gas), f"{name}: what became of each hour of the month."),
    ]
    ran: list[tables.Tested] = []
    idle: list[str] = []
    if minutes is not None and gas in minutes:
        ran, idle = tables.tests(minutes, gas)
        pictures.append(_picture(plot.flags(minutes, gas), f"{name}: minutes of each day by flag."))
    pictures.append(_picture(plot.uncertainty(hours, gas), f"{name}: standard uncertainty of good hours."))
    return _Shown(one.inlet, one.height, gas.upper(), ran, idle, pictures)


def _hung(one: Cylinders, start: np.datetime64, end: np.datetime64) -> _Hung:
    unit, pictures = PLAIN.get(one.unit, one.unit), []
    episodes: list[tables.Episode] = []
    repeatability = drift = "–"
    if one.calibration is not None:
        episodes = tables.episodes(one.calibration, start=start, end=end)
        repeatability = tables.number(float(one.calibration.repeatability[-1]))
        a_day = float(np.sqrt(one.calibration.drift[-1, 0, 0] * 86_400))
        drift = tables.number(a_day, 4)
        about = f"{one.gas.upper()} on {one.instrument}: corrections by the standards, and what they leave."
        pictures.append(_picture(plot.calibration(one.calibration, list(one.standards), unit=unit), about))
    for name, history in one.targets.items():
        if history.time.size:
            drawn = plot.target(history, name=name, gas=one.gas, unit=unit)
            about = f"{one.gas.upper()} on {one.instrument}: target {name} found again, its repeatability."
            pictures.append(_picture(drawn, about))
    found = [tables.target(name, one.gas, history) for name, history in one.targets.items()]
    return _Hung(one.instrument, one.gas.upper(), unit, episodes, repeatability, drift, found, pictures)


def _provenance(series: Sequence[Series]) -> Iterator[tuple[str, str, str]]:
    """Yield inlet, code version and configuration digests."""
    for one in series:
        if one.hours is not None:
            attrs = one.hours.attrs
            yield one.inlet, str(attrs.get("code_version", "")), str(attrs.get("configuration_digest", ""))
