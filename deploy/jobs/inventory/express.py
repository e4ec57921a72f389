"""Months that are not reported yet, released one after another; every release is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy import outputs
from deploy.errors import DeployError
from inversion.inventory import Entry, Inventory
from inversion.inventory.express import History, vintages

_NOTABLE: Final = 1e-6
"""Smallest relative change of a value that is a revision and not rounding."""


def release(
    estimates: Inventory, folder: Path, *, vintage: str, date: dt.date, reason: str
) -> tuple[History, list[str]]:
    """Add a release to the history in a folder (or begin one), write it, and return it with its revisions in lines.

    Raises
    ------
    InventoryError
        Where the vintage is there, the release is older than the last, or the history is not whole.
    DeployError
        Where the folder holds something else.
    """
    known = any(outputs.folder(folder).iterdir())
    if known and not (folder / "releases.csv").is_file():
        msg = f"{folder.name} holds other files and no history (releases.csv); name a folder of its own"
        raise DeployError(msg)
    before = vintages.read(folder) if known else History()
    after = before.add(estimates, vintage=vintage, date=date, reason=reason)
    vintages.write(after, folder)
    return after, list(_revised(before, estimates))


def estimated(estimates: Inventory) -> list[str]:
    """Return the entries in lines, for a terminal."""
    return [
        f"  {e.region:8} {e.category:8} {e.period!s:16} {e.value:.6g} ± {e.sigma:.4g}"
        for e in estimates.entries
        if e.value is not None and e.sigma is not None
    ]


def _revised(before: History, estimates: Inventory) -> Iterator[str]:
    old = {_what(entry): entry for entry in before.everything().entries}  # the later release goes over the earlier
    for entry in estimates.entries:
        was = old.get(_what(entry))
        if was is None or was.value is None or entry.value is None:
            continue
        change = entry.value - was.value
        if abs(change) > _NOTABLE * abs(was.value):
            sigmas = f", {change / was.sigma:+.1f} σ of then" if was.sigma else ""
            what = f"{entry.region} {entry.category} {entry.period}"
            was_said = f"{was.value:.6g} of {was.vintage}"
            yield f"  {what}: {was_said} to {entry.value:.6g} ({change / was.value:+.1%}{sigmas})"


def _what(entry: Entry) -> tuple[str, str, str, str]:
    return entry.region, entry.gas, entry.category, str(entry.period)
