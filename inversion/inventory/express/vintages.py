"""Every release of an inventory, kept: what was known when, and how it was revised."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from inversion.inventory import delimited
from inversion.inventory.entry import UNIT, Entry, Inventory, InventoryError, Period


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Attributes
    ----------
    vintage : str
    date : datetime.date
    reason : str
        Why it was made: "month 2020-07", "annual report of 2019".
    inventory : Inventory
    """

    vintage: str
    date: dt.date
    reason: str
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class History:
    """Releases in the order of time; a release is never changed, and none is taken away.

    Attributes
    ----------
    releases : tuple of Release
    """

    releases: tuple[Release, ...] = ()

    def add(self, inventory: Inventory, *, vintage: str, date: dt.date, reason: str) -> History:
        """Return the history with one release more; its entries get the vintage.

        Raises
        ------
        InventoryError
            When the vintage is already there, or the release is older than the last.
        """
        faults = []
        if vintage in (release.vintage for release in self.releases):
            faults.append(f"The vintage {vintage!r} is already there: releases are kept as they were, name a new one.")
        if self.releases and date < self.releases[-1].date:
            faults.append(f"The release of {date} is older than the last ({self.releases[-1].date}).")
        if not reason.strip():
            faults.append("It says no reason.")
        if faults:
            raise InventoryError("The history", faults)
        named = Inventory(tuple(replace(entry, vintage=vintage) for entry in inventory.entries), inventory.name)
        return History((*self.releases, Release(vintage, date, reason, named)))

    def as_of(self, date: dt.date) -> Inventory:
        """Return what was known on a day: every entry from the last release that has it."""
        latest: dict[tuple[str, str, str, Period], Entry] = {}
        for release in self.releases:
            if release.date <= date:
                latest |= {_what(entry): entry for entry in release.inventory.entries}
        return Inventory(tuple(latest.values()), f"as of {date}")

    def everything(self) -> Inventory:
        """Return all releases side by side, told apart by their vintages."""
        return Inventory(tuple(e for release in self.releases for e in release.inventory.entries), "all releases")

    def revisions(self, *, region: str, category: str, period: str, gas: str = "co2") -> xr.Dataset:
        """Return how one entry was revised.

        Returns
        -------
        xr.Dataset (release)
            ``value``, ``sigma``, ``revision`` (to the release before) [kt], ``z`` = revision / σ before; ``vintage``,
            ``date``, ``reason``.

        Raises
        ------
        InventoryError
            When no release has it.
        """
        what = (region, gas, category, Period.parse(period))
        rows = [(r, e) for r in self.releases for e in r.inventory.entries if _what(e) == what]
        if not rows:
            raise InventoryError("The history", [f"No release has {region} {gas} {category} {period}."])
        value, sigma = (
            np.array([np.nan if getattr(e, name) is None else getattr(e, name) for _, e in rows])
            for name in ("value", "sigma")
        )
        revision = np.concatenate([[np.nan], np.diff(value)])
        before = np.concatenate([[np.nan], sigma[:-1]])
        z = np.divide(revision, before, out=np.full(value.size, np.nan), where=before > 0)
        units = {"units": UNIT}
        return xr.Dataset(
            {
                "value": ("release", value, units),
                "sigma": ("release", sigma, units),
                "revision": ("release", revision, units),
                "z": ("release", z),
                "vintage": ("release", [r.vintage for r, _ in rows]),
                "date": ("release", np.array([r.date for r, _ in rows], "datetime64[D]").astype("datetime64[ns]")),
                "reason": ("release", [r.reason for r, _ in rows]),
            }
        )


def _what(entry: Entry) -> tuple[str, str, str, Period]:
    return entry.region, entry.gas, entry.category, entry.period


def write(history: History, folder: str | Path) -> Path:
    """Write a history: ``releases.csv`` (vintage, date, reason, file) and a plain CSV inventory for each release.

    A release that is already there is left as it is.

    Parameters
    ----------
    history : History
    folder : path

    Returns
    -------
    Path
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    names = [f"{number:04d}.csv" for number in range(1, len(history.releases) + 1)]
    for name, release in zip(names, history.releases, strict=True):
        if not (place / name).exists():
            delimited.write(release.inventory, place / name)
    with (place / "releases.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["vintage", "date", "reason", "name", "file"])
        for name, r in zip(names, history.releases, strict=True):
            writer.writerow([r.vintage, r.date, r.reason, r.inventory.name, name])
    return place


def read(folder: str | Path) -> History:
    """Read a history that `write` wrote.

    Raises
    ------
    InventoryError
        When it is none, or a release is missing.
    """
    place = Path(folder)
    index = place / "releases.csv"
    if not index.is_file():
        raise InventoryError(str(place), ["It has no releases.csv: expected a folder that a history was written to."])
    with index.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    missing = [row["file"] for row in rows if not (place / row["file"]).is_file()]
    if missing:
        raise InventoryError(str(place), [f"Releases are missing: {', '.join(missing)}."])
    releases = []
    for row in rows:
        entries = delimited.read(place / row["file"]).entries
        kept = Inventory(tuple(replace(entry, place="") for entry in entries), row["name"])
        releases.append(Release(row["vintage"], dt.date.fromisoformat(row["date"]), row["reason"], kept))
    return History(tuple(releases))
