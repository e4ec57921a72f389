"""`skyledger inventory`: ledgers read and compared, made from energy balances, laid over a grid."""

from pathlib import Path
from typing import Annotated

import typer

from deploy import outputs

_File = Annotated[Path, typer.Argument(help="A ledger: CSV, CEADs, UNFCCC, EDGAR, primap2.")]
_Category = Annotated[str, typer.Option(help='IPCC 2006 category that parts are added up to; "0" for the total.')]
_Mapping = Annotated[Path | None, typer.Option(help="TOML file that maps a CSV's columns.")]
_Encoding = Annotated[str | None, typer.Option(help="Of a CSV; gb18030 for Chinese spreadsheets.")]


def attach(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        help="Statistical inventories: read, compare, make from a balance, estimate ahead, lay over a grid."
    )
    for command in (read, compare, key, balance, express, grid):
        group.command()(command)
    app.add_typer(group, name="inventory")


def read(
    file: _File,
    *,
    mapping: _Mapping = None,
    encoding: _Encoding = None,
    form: Annotated[str, typer.Option("--format", help="Where the file's name does not say it.")] = "auto",
    vintage: Annotated[str | None, typer.Option(help="Submission.")] = None,
    category: _Category = "0",
    to: Annotated[Path | None, typer.Option(help="Write it as .csv, or as .yaml for primap2.")] = None,
) -> None:
    """Say what is in a ledger, and every fault of it; write it in another form."""
    from deploy.jobs import inventory as job  # noqa: PLC0415  needs the extra science

    book = job.read_ledger(job.Ledger(file, form, mapping, encoding, vintage))
    typer.echo("\n".join(job.summary(book, category)))
    if to is not None:
        typer.echo(f"\nwritten: {job.written(book, to)}")


def compare(
    old: _File,
    new: Annotated[Path, typer.Argument(help="A later submission of it.")],
    *,
    mapping: _Mapping = None,
    encoding: _Encoding = None,
    category: _Category = "0",
    gas: Annotated[str | None, typer.Option(help="Where they hold several.")] = None,
    period: Annotated[str | None, typer.Option(help="Only this one, as 2019.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write all differences to this netCDF file.")] = None,
) -> None:
    """Say what was recalculated from one submission to the next, the largest change first."""
    from deploy.jobs import inventory as job  # noqa: PLC0415  needs the extra science

    before, after = (job.read_csv_as(file, mapping, encoding) for file in (old, new))
    table, lines = job.differences(before, after, category, gas, period)
    typer.echo("\n".join(lines))
    if output is not None:
        table.to_netcdf(outputs.file(output))
        typer.echo(f"\nwritten: {output}")


def key(
    file: _File,
    *,
    mapping: _Mapping = None,
    encoding: _Encoding = None,
    region: Annotated[str | None, typer.Option(help="Where it holds several, as CN-ZJ.")] = None,
    period: Annotated[str | None, typer.Option(help="Where it holds several, as 2020.")] = None,
    base: Annotated[str | None, typer.Option(help="Base year, as 2010: by trend too.")] = None,
    approach: Annotated[int, typer.Option(min=1, max=2, help="2 weighs emissions by their uncertainty.")] = 1,
) -> None:
    """Say which categories make up most of a ledger, by level and by trend (IPCC 2006, Vol. 1, Ch. 4)."""
    from deploy.jobs import inventory as job  # noqa: PLC0415  needs the extra science
    from inversion.inventory import keycategories  # noqa: PLC0415

    book = job.read_csv_as(file, mapping, encoding)
    made = [keycategories.level(book, region=region, period=period, approach=approach)]
    if base is not None:
        last = str(made[0].attrs["period"])
        made.append(keycategories.trend(book, base, last, region=region, approach=approach))
    typer.echo("\n\n".join("\n".join(keycategories.lines(one)) for one in made))


def balance(config: Annotated[Path, typer.Argument(help="TOML file: balances, factors, correlations.")]) -> None:
    """Make an inventory from energy balances: entries, σ by both approaches, and what they hang on."""
    from deploy.jobs import inventory as job  # noqa: PLC0415  needs the extra science

    _, written, lines = job.make(job.read_balance(config))
    typer.echo("\n".join([*lines, "", *(f"written: {path}" for path in written)]))


def express(  # noqa: PLR0913  each is an option of the command line
    annual: Annotated[Path, typer.Argument(help="Annual totals as reported: CSV, CEADs, UNFCCC, EDGAR, primap2.")],
    indicators: Annotated[Path, typer.Argument(help="CSV of activity by month or year so far: an energy balance.")],
    *,
    history: Annotated[Path, typer.Option(help="Folder in which every release is kept.")],
    vintage: Annotated[str, typer.Option(help="Name of this release, as 2025-07.")],
    reason: Annotated[str, typer.Option(help='Why it is made, as "electricity of July".')],
    date: Annotated[str | None, typer.Option(help="Its day [today].")] = None,
    mapping: _Mapping = None,
    encoding: Annotated[str, typer.Option(help="Of the CSV files; gb18030 for Chinese spreadsheets.")] = "utf-8-sig",
    carrier: Annotated[str, typer.Option(help="Fuel of the indicator.")] = "electricity",
    gas: Annotated[str, typer.Option(help="Of the totals.")] = "co2",
    sigma_percent: Annotated[
        float | None, typer.Option(min=0.001, help="1 σ of annual totals that state none.")
    ] = None,
    by: Annotated[str, typer.Option(help="month, quarter or year.")] = "quarter",
    since: Annotated[str | None, typer.Option(help="First period to print, as 2025-01 [all].")] = None,
) -> None:
    """Estimate months that are not reported yet from an indicator, and keep the release beside those before."""
    import datetime as dt  # noqa: PLC0415

    from deploy.jobs import inventory as job  # noqa: PLC0415  needs the extra science
    from inversion.inventory import balance as balances  # noqa: PLC0415
    from inversion.inventory.express import express as estimate  # noqa: PLC0415

    book = job.read_ledger(job.Ledger(annual, "auto", mapping, encoding if annual.suffix == ".csv" else None))
    if not indicators.is_file():
        raise typer.BadParameter(f"there is no file {indicators.name}")
    try:
        day = dt.date.today() if date is None else dt.date.fromisoformat(date)  # noqa: DTZ011  the team's own day
    except ValueError:
        raise typer.BadParameter(f"--date: {date!r} is no day; give it as 2025-08-20") from None
    relative = None if sigma_percent is None else sigma_percent / 100
    said = balances.read(indicators, encoding=encoding)
    made = estimate(book, said, vintage=vintage, carrier=carrier, gas=gas, sigma=relative)
    shown = made.inventory(by, since=since)
    _, revised = job.release(made.inventory(), history, vintage=vintage, date=day, reason=reason)
    typer.echo("\n".join([f"{by}s, kt", *job.estimated(shown)]))
    if revised:
        typer.echo("\n".join(["", f"revised: {len(revised)} months", *revised]))
    typer.echo(f"\nwritten: {history}")


def grid(
    config: Annotated[Path, typer.Argument(help="TOML file: ledger, categories, grid, proxies, profiles.")],
) -> None:
    """Lay a ledger over a grid and over the year, mass conserved: a flux file for `skyledger invert`."""
    from deploy.jobs import inventory as job  # noqa: PLC0415  needs the extra science

    settings = job.read_grid(config)
    ds = job.lay(settings)
    ds.to_netcdf(outputs.file(settings.output))
    typer.echo(
        "\n".join([f"{ds.attrs['source']}, {ds.attrs['period']}", *job.masses(ds), f"written: {settings.output}"])
    )
