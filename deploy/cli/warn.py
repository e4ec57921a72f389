"""`skyledger warn FLUX.nc --annual LEDGER --indicators BALANCE`: months of an inversion beside express estimates."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy import outputs
from deploy.errors import DeployError


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(warn)


def warn(  # noqa: PLR0913  each is an option of the command line
    flux: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help='Flux file of an inversion by month ([totals] by = "province").'
        ),
    ],
    *,
    annual: Annotated[
        Path, typer.Option(exists=True, help="Annual totals as reported: CSV, CEADs, UNFCCC, EDGAR, primap2.")
    ],
    indicators: Annotated[
        Path, typer.Option(exists=True, help="CSV of activity by month or year so far: an energy balance.")
    ],
    mapping: Annotated[Path | None, typer.Option(help="TOML file that maps the annual ledger's columns.")] = None,
    encoding: Annotated[str, typer.Option(help="Of the CSV files; gb18030 for Chinese spreadsheets.")] = "utf-8-sig",
    carrier: Annotated[str, typer.Option(help="Fuel of the indicator.")] = "electricity",
    category: Annotated[str, typer.Option(help="IPCC 2006 category of the estimates.")] = "0",
    vintage: Annotated[str, typer.Option(help="Name of the estimates.")] = "now",
    sigma_percent: Annotated[
        float | None, typer.Option(min=0.001, help="1 σ of annual totals that state none.")
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of any warning without cause in --months.")] = 0.05,
    months: Annotated[int, typer.Option(help="Months the level is spread over.")] = 12,
    window: Annotated[int, typer.Option(min=1, help="Months that are compared at once.")] = 12,
    outlook: Annotated[int, typer.Option(min=0, help="Months to continue each region by.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write all tests to this netCDF file.")] = None,
) -> None:
    """Say where months of an inversion part from what electricity and annual reports let expect."""
    from inversion import inventory as inventories  # noqa: PLC0415  needs the extra science
    from inversion import warning  # noqa: PLC0415
    from inversion.crosscheck import read_periods  # noqa: PLC0415
    from inversion.inventory import balance  # noqa: PLC0415
    from inversion.inventory.express import express  # noqa: PLC0415

    rule = warning.Rule(level=level, months=months)
    seen = read_periods(flux)
    estimates = express(
        inventories.read(annual, mapping=mapping, encoding=encoding if annual.suffix == ".csv" else None),
        balance.read(indicators, encoding=encoding),
        vintage=vintage,
        carrier=carrier,
        gas=seen.attrs["gas"],
        sigma=None if sigma_percent is None else sigma_percent / 100,
    )
    table = warning.rolling(warning.windows(seen, estimates, category=category, length=window), rule)
    if not table["p"].notnull().any():
        listed = ", ".join(sorted({one.category for one in estimates.series}))
        msg = (
            f"{flux.name}: nothing can be tested: the estimates are of category {listed}, asked for is {category}; or "
            "of other regions; or the network sees too little of every region"
        )
        raise DeployError(msg)
    ahead = _outlook(warning.outlook(seen, steps=outlook)) if outlook else []
    typer.echo("\n".join([f"{rule}\n", *_lines(table), *ahead]))
    if output is not None:
        table.to_netcdf(outputs.file(output))
        typer.echo(f"\nwritten: {output}")


def _lines(table: Any) -> list[str]:
    """Return what was tested and found."""
    tested = table["p"].notnull()
    names = table["region"].values[~tested.any(["month", "span"]).values]
    first, last = table["month"].values[[0, -1]]
    found = table.attrs["warnings"].splitlines()
    lines = [f"{first} to {last}: {int(tested.sum())} tests of {table.sizes['region'] - names.size} regions"]
    lines += [f"not tested (no estimate, or hardly seen): {', '.join(names)}"] if names.size else []
    lines += [f"caution: {table.attrs['caution']}"] if table.attrs["caution"] else []
    return [*lines, "", *(found or ["no warning"])]


def _outlook(ahead: Any) -> list[str]:
    lines = ["", f"months to come, {ahead.attrs['units']}, {100 * ahead.attrs['level']:.0f} % interval"]
    for region in ahead["region"].values:
        one = ahead.sel(region=region)
        if one["mean"].isnull().all():
            lines.append(f"  {region}  hardly seen ({float(one['seen_share']):.0%})")
            continue
        lines += [
            f"  {region} {month}  {float(row['mean']):.4g} ({float(row['lower']):.4g} to {float(row['upper']):.4g})"
            for month, row in ((m, one.sel(month=m)) for m in one["month"].values)
        ]
    return lines
