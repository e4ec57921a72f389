"""`skyledger crosscheck CONFIG.toml | RESULT.nc --inventory LEDGER.csv`: inversions beside ledgers, with a report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy import outputs

_CONTROLS = "region: each by itself; family: all regions together (Holm)."


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(crosscheck)


def crosscheck(  # noqa: PLR0913  each is an option of the command line
    result: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="TOML file that names inversions, ledgers, rule, languages and state; or netCDF file of a result.",
        ),
    ],
    *,
    inventory: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="netCDF: the ledger: CSV, CEADs, UNFCCC, EDGAR, primap2."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="netCDF: folder for the report [crosscheck].")] = None,
    mapping: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="netCDF: TOML file that maps the ledger's columns.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="netCDF: of a CSV; gb18030 for Chinese spreadsheets.")] = None,
    category: Annotated[
        str | None, typer.Option(help="netCDF: IPCC 2006 category, where the ledger has several.")
    ] = None,
    period: Annotated[
        str | None, typer.Option(help="netCDF: such as 2023 or 2023-07, where there are several.")
    ] = None,
    vintage: Annotated[str | None, typer.Option(help="netCDF: submission, where there are several.")] = None,
    sigma_percent: Annotated[
        float | None, typer.Option(min=0.001, help="netCDF: 1 σ of what the ledger states none for.")
    ] = None,
    level: Annotated[float | None, typer.Option(help="netCDF: two-sided rate of false alarms [0.05].")] = None,
    min_share: Annotated[
        float | None, typer.Option(help="netCDF: share the network must have seen of a region [0.5].")
    ] = None,
    inventory_correlation: Annotated[
        float | None, typer.Option(help="netCDF: of the ledger's errors between regions [0].")
    ] = None,
    control: Annotated[str | None, typer.Option(help=f"netCDF: {_CONTROLS} [region]")] = None,
    title: Annotated[str | None, typer.Option(help="netCDF: of the report.")] = None,
) -> None:
    """Lay inversions beside ledgers: verdict per region, with pages, workbook, CSV, netCDF and map."""
    rule = {"level": level, "min_share": min_share, "inventory_correlation": inventory_correlation, "control": control}
    ledger = {"mapping": mapping, "encoding": encoding}
    chosen = {"category": category, "period": period, "vintage": vintage}
    others = {"inventory": inventory, "output": output, "sigma_percent": sigma_percent, "title": title}
    given = {n: v for n, v in (others | ledger | chosen | rule).items() if v is not None}
    if result.suffix == ".toml":
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise typer.BadParameter(f"{names}: a configuration says this itself; write it into {result.name}")
        _configured(result)
        return
    if inventory is None:
        raise typer.BadParameter("--inventory: which ledger is the result to be laid beside? Or give a TOML file.")
    _single(
        result,
        inventory,
        output or Path("crosscheck"),
        title=title or "Emissions ledger beside the sky",
        sigma_percent=sigma_percent,
        reading=ledger,
        chosen=chosen,
        rule={name: value for name, value in rule.items() if value is not None},
    )


def _configured(source: Path) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415  the clock is read here and nowhere else

    from deploy.jobs import crosscheck as job  # noqa: PLC0415  needs the extra science

    outcome = job.run(job.read(source), today=datetime.now(UTC).strftime("%Y-%m-%d"))
    typer.echo("\n".join(outcome.lines()))
    for path in outcome.files:
        typer.echo(f"written: {path}")


def _single(
    result: Path,
    source: Path,
    output: Path,
    *,
    title: str,
    sigma_percent: float | None,
    reading: dict[str, Any],
    chosen: dict[str, Any],
    rule: dict[str, Any],
) -> None:
    from inversion import inventory as inventories  # noqa: PLC0415  needs the extra science
    from inversion import report  # noqa: PLC0415
    from inversion.crosscheck import Rule, compare  # noqa: PLC0415
    from inversion.report import rows  # noqa: PLC0415

    ledger = inventories.whole(inventories.read(source, **reading), chosen["category"])
    if sigma_percent is not None:
        ledger = inventories.supposed(ledger, sigma_percent)
    table = compare(report.read_totals(result), ledger, rule=Rule(**rule), **chosen)
    written = report.write(table, outputs.folder(output), title=title, stations=report.read_stations(result))
    typer.echo("\n".join(rows.lines(table)))
    for path in written.files:
        typer.echo(f"written: {path}")
