"""What the demonstration says at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from deploy.demo import files
from deploy.demo.network import SITES, Trouble
from deploy.demo.run import Outcome
from deploy.demo.world import PLANTED_SIGMAS
from deploy.jobs.qc import SeriesResult
from qc import pipeline
from qc.units import QUANTITIES


def lines(outcome: Outcome) -> list[str]:
    """Return the summary: stations, readings, QC, inversion, provinces with verdicts, the planted error."""
    return [*_network(outcome), "", *_inversion(outcome), "", *_provinces(outcome), "", *_planted(outcome), ""]


def _network(outcome: Outcome) -> Iterator[str]:
    counts = outcome.counts
    inlets = sum(len(site.heights) for site in SITES)
    yield f"Stations     {len(SITES)} with {inlets} inlets"
    yield (
        f"Readings     {counts.readings:,} in {counts.messages:,} messages, "
        f"from {outcome.rows_written:,} instrument rows"
    )
    yield f"Kept aside   {len(outcome.aside)}"
    yield from (f"             {sentence}" for sentence in outcome.aside)
    for site in SITES:
        if site.trouble is not Trouble.NONE:
            yield f"{site.title:<12} {site.trouble}: {_trouble(site.name, site.trouble, outcome)}"
        if site.tanks:
            yield f"{site.title:<12} calibrated each day by two cylinders; a third checks"


def _trouble(station: str, trouble: Trouble, outcome: Outcome) -> str:
    if trouble is Trouble.BAD_LINK:
        return f"hung up {outcome.cuts} times, nothing lost"
    series = [one for one in outcome.series if one.station == station]
    values, rejected = (sum(_count(one, key) for one in series) for key in ("values", "rejected"))
    hours = sum(0 if one.hours is None else int((one.hours["ch4_flag"].values == 4).sum()) for one in series)
    return f"{rejected:,} of {values + rejected:,} CH4 values rejected, {hours} hours bad"


def _count(one: SeriesResult, key: str) -> int:
    return 0 if one.hours is None else int(pipeline.summary(one.hours)["ch4"].get(key, 0))


def _inversion(outcome: Outcome) -> Iterator[str]:
    posterior, selected = outcome.result.posterior, outcome.result.selected
    d = posterior.diagnostics
    dropped = selected.counts.sum("series")
    told = ", ".join(
        f"{int(dropped.sel(outcome=o))} {o}" for o in dropped["outcome"].values if int(dropped.sel(outcome=o))
    )
    yield f"Inversion    {d.n_obs} hourly CH4 means for {d.n_state} unknown fluxes ({told})"
    yield f"             χ² {d.chi2:.0f} for {d.n_obs} observations, DOFS {d.dofs:.1f}"
    for finding in posterior.findings:
        yield f"             {finding}"


def _provinces(outcome: Outcome) -> Iterator[str]:
    table = outcome.result.table
    truth = outcome.world.totals
    yield f"{'CH4, kt a year':<12} {'ledger':>13} {'inversion':>13} {'truth':>7} {'seen':>5} {'z':>6}  verdict"
    for i in range(table.sizes["region"]):
        row = table.isel(region=i)
        yield (
            f"{row.name_en.item():<12} {_pm(row.inventory, row.inventory_sigma):>13} "
            f"{_pm(row.inversion, row.inversion_sigma):>13} {float(truth[i]):7.0f} {max(float(row.share), 0.0):5.0%} "
            f"{float(row.z):6.1f}  {row.verdict.item()}"
        )


def _pm(value: xr.DataArray, sigma: xr.DataArray) -> str:
    return f"{float(value):.0f} ± {float(sigma):.0f}"


def _planted(outcome: Outcome) -> Iterator[str]:
    world, table = outcome.world, outcome.result.table
    row = table.sel(region=world.planted)
    truth = float(world.totals.sel(region=world.planted))
    others = table.where(table["region"] != world.planted, drop=True)
    alarms = [
        str(n) for n, v in zip(others.name_en.values, others.verdict.values, strict=True) if v in ("higher", "lower")
    ]
    yield (
        f"Planted      the ledger of {row.name_en.item()} is {world.planted_kt:.0f} kt too low: "
        f"{PLANTED_SIGMAS:g} joint σ of {world.joint_kt:.0f} kt"
    )
    said = "found" if found(outcome) else "NOT FOUND"
    yield (
        f"             {said}: verdict {row.verdict.item()}, z = {float(row.z):.1f}; "
        f"inversion {float(row.inversion):.0f} ± {float(row.inversion_sigma):.0f}, truth {truth:.0f}"
    )
    yield f"False alarms {', '.join(alarms) or 'none'} ({table.attrs['expected_false_alarms']:.1f} expected by chance)"
    ledger, sky = (
        float(np.sqrt(((table[name] - world.totals.values) ** 2).mean())) for name in ("inventory", "inversion")
    )
    yield (
        f"Truth        missed by {ledger:.0f} kt in the ledger, by {sky:.0f} kt in the inversion "
        "(root mean square over provinces)"
    )


def found(outcome: Outcome) -> bool:
    """Return whether the planted error was found."""
    return bool(outcome.result.table["verdict"].sel(region=outcome.world.planted).item() == "higher")


def paths(outcome: Outcome) -> Iterator[tuple[str, Path]]:
    """Yield name and path of what was written."""
    written = outcome.written
    yield "Report", written.html
    yield "Workbook", written.xlsx
    yield "netCDF", written.netcdf
    yield "Map", written.map_png
    if written.series_png is not None:
        yield "Series", written.series_png


def of_files(outcome: files.Outcome) -> list[str]:
    """Return what became of replayed files."""
    said = []
    for one in outcome.files:
        if one.problem:
            said.append(f"{one.file}: not replayed: {one.problem}")
            continue
        said.append(one.file)
        said += [
            f"    {name:<20} {n:>8,} values, mean {mean:.6g} {QUANTITIES[name].unit}"
            for name, (n, mean) in one.means.items()
        ]
        ports = {port: n for port, n in one.ports.items() if port}
        if ports:
            said.append("    rows by port         " + ", ".join(f"{port}: {n:,}" for port, n in ports.items()))
    said.append(f"Kept aside: {len(outcome.aside) or 'nothing'}")
    return said + [f"    {sentence}" for sentence in outcome.aside]
