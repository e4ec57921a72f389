"""`skyledger crosscheck RESULT.nc --inventory LEDGER.csv`: an inversion beside another ledger, with its report."""

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(crosscheck)


def crosscheck(  # noqa: PLR0913  each is an option of the command line
    result: Annotated[Path, typer.Argument(help="netCDF file of a report: the inversion's totals and covariances.")],
    *,
    inventory: Annotated[Path, typer.Option(help="The ledger: CSV, CEADs, UNFCCC, EDGAR, primap2.")],
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("crosscheck"),
    mapping: Annotated[Path | None, typer.Option(help="TOML file that maps the ledger's columns.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV; gb18030 for Chinese spreadsheets.")] = None,
    category: Annotated[str | None, typer.Option(help="IPCC 2006 category, where the ledger has several.")] = None,
    period: Annotated[str | None, typer.Option(help="Such as 2023 or 2023-07, where there are several.")] = None,
    vintage: Annotated[str | None, typer.Option(help="Submission, where there are several.")] = None,
    sigma_percent: Annotated[float | None, typer.Option(help="1 σ of what the ledger states none for.")] = None,
    level: Annotated[float, typer.Option(help="Two-sided rate of false alarms.")] = 0.05,
    min_share: Annotated[float, typer.Option(help="Share the network must have seen of a region.")] = 0.5,
    inventory_correlation: Annotated[float, typer.Option(help="Of the ledger's errors between regions.")] = 0.0,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Emissions ledger beside the sky",
) -> None:
    """Lay an inversion beside a ledger: verdict per region, with page, workbook, netCDF and map."""
    from inversion import inventory as inventories  # noqa: PLC0415  needs the extra science
    from inversion import report  # noqa: PLC0415
    from inversion.crosscheck import Rule, compare  # noqa: PLC0415
    from inversion.report import rows  # noqa: PLC0415

    rule = Rule(level=level, min_share=min_share, inventory_correlation=inventory_correlation)
    ledger = inventories.read(inventory, mapping=mapping, encoding=encoding)
    if any(entry.part for entry in ledger.entries):
        ledger = inventories.totals(ledger, category or "0")
    if sigma_percent is not None:
        ledger = inventories.supposed(ledger, sigma_percent)
    table = compare(report.read_totals(result), ledger, rule=rule, category=category, period=period, vintage=vintage)
    written = report.write(table, output, title=title, stations=report.read_stations(result))
    typer.echo("\n".join(rows.lines(table)))
    for path in (written.html, written.xlsx, written.netcdf, written.map_png):
        typer.echo(f"written: {path}")
