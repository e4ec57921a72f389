"""`skyledger aside list|show|mend|replay|discard`: what could not be stored as it came."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import DeployError
from deploy.options import Dsn, Who

app = typer.Typer(help="Look at, mend and replay what was kept aside.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="The message's number in `skyledger aside list`.")]
Numbers = Annotated[list[int], typer.Argument(help="Numbers of messages in `skyledger aside list`.")]
Why = Annotated[str, typer.Option(help="The reason; it stays with the message.")]


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="aside")


@app.command(name="list")
def list_(
    dsn: Dsn,
    *,
    station: Annotated[str | None, typer.Option(help="Only of this station.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each.")] = 50,
) -> None:
    """List messages, and single values, that were kept aside."""
    from ingest import aside  # noqa: PLC0415  needs the extra server

    entries = aside.entries(dsn, station=station, limit=limit)
    rows = aside.rows(dsn, station=station, limit=limit)
    for entry in entries:
        mended = f"  [{len(entry.mends)} mends]" if entry.mends else ""
        typer.echo(f"{entry.id}  {entry.received:%Y-%m-%d %H:%M:%S}  {entry.station}/{entry.instrument}  {entry.kind}")
        typer.echo(f"    {entry.reason}{mended}")
    for row in rows:
        what = f"{row.station}/{row.instrument} {row.quantity} {row.time:%Y-%m-%d %H:%M:%S.%f}"
        typer.echo(f"value of message {row.message}  {what}: {row.value!r}, where {row.standing!r} stands")
    if not entries and not rows:
        typer.echo("Nothing is kept aside.")


@app.command()
def show(number: Number, dsn: Dsn) -> None:
    """Show one message: why it waits, what was mended, what it says."""
    from ingest import aside  # noqa: PLC0415  needs the extra server

    shown = aside.show(dsn, number)
    entry = shown.entry
    typer.echo(f"message {entry.id} of {entry.station}/{entry.instrument} ({entry.kind}), {entry.size} bytes")
    typer.echo(f"came    {entry.received:%Y-%m-%d %H:%M:%S %Z}")
    typer.echo(f"reason  {entry.reason}")
    for mend in entry.mends:
        what = ", ".join(f"{key} {value}" for key, value in mend.what.items() if key != "payload")
        typer.echo(f"mended  {mend.when} by {mend.who}: {what or 'payload replaced'} ({mend.why})")
    typer.echo(shown.text)


@app.command()
def mend(  # noqa: PLR0913  a command's options
    numbers: Numbers,
    dsn: Dsn,
    why: Why,
    who: Who,
    *,
    map_station: Annotated[str | None, typer.Option(help="It belongs to this station.")] = None,
    map_instrument: Annotated[str | None, typer.Option(help="It belongs to this instrument.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: a quantity has another name; may be given several times.")
    ] = None,
    set_unit: Annotated[
        list[str] | None, typer.Option(help="QUANTITY=UNIT: its values are in this unit; may be given several times.")
    ] = None,
    shift: Annotated[float | None, typer.Option(help="Seconds to add to its times: a clock was not set.")] = None,
    line: Annotated[str | None, typer.Option(help="What the rejected line should have been.")] = None,
    payload: Annotated[
        Path | None, typer.Option(help="File with the bytes the payload should have been.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Put a correction beside messages; `skyledger aside replay` then stores them."""
    from ingest import aside  # noqa: PLC0415  needs the extra server

    correction = aside.Correction(
        station=map_station,
        instrument=map_instrument,
        rename=dict(_pair(text, option="--rename", example="CO2=co2") for text in rename or []),
        unit=dict(_pair(text, option="--set-unit", example="ch4=ppm") for text in set_unit or []),
        shift=shift,
        payload=None if payload is None else payload.read_bytes(),
        line=line,
    )
    for number in numbers:
        left = aside.mend(dsn, number, correction, who=who, why=why)
        typer.echo(f"message {number} is mended" + (f", but still: {left}" if left else "; replay it."))


@app.command()
def replay(
    dsn: Dsn,
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of messages; none: all.")] = None,
    *,
    station: Annotated[str | None, typer.Option(help="Only of this station.")] = None,
) -> None:
    """Read messages again, with their mends and today's catalogue, and store those that can be."""
    from ingest import aside  # noqa: PLC0415  needs the extra server

    done = aside.replay(dsn, ids=numbers or None, station=station)
    typer.echo(
        f"{done.stored} messages stored, {done.aside} still kept aside; readings: {done.written.new} new, "
        f"{done.written.same} there already, {done.written.aside} kept aside."
    )


@app.command()
def discard(numbers: Numbers, dsn: Dsn, why: Why, who: Who) -> None:
    """Give messages up: they stay in the database, but wait no longer and fill no quota."""
    from ingest import aside  # noqa: PLC0415  needs the extra server

    if not why.strip():
        raise DeployError("--why is empty: a message is given up for a reason")
    for number in numbers:
        aside.discard(dsn, number, who=who, why=why)
    typer.echo(f"{len(numbers)} messages are discarded.")


def _pair(text: str, *, option: str, example: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not (left and equals and right):
        raise DeployError(f"{option} {text!r} is not two words with = between, as {example}")
    return left, right
