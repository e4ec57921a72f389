"""`skyledger pki init|broker|worker|renew|revoke|list`: the certificates of a network."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import DeployError

app = typer.Typer(
    help="Certificates: authority, broker, ingest workers; stations by `station add`.", no_args_is_help=True
)
Folder = Annotated[
    Path, typer.Option("--pki", help="The authority's folder; keep it off the broker, and its copy safe.")
]
To = Annotated[Path | None, typer.Option(help="Where to write; ./NAME unless said.", show_default=False)]
Request = Annotated[
    Path | None,
    typer.Option("--csr", help="Certificate signing request: the key stays where it is.", show_default=False),
]
PKI = Path("pki")
DASK = "/etc/skyledger-dask"


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="pki")


@app.callback()
def pki() -> None:
    """Certificates: authority, broker, ingest workers; stations by `station add`."""


@app.command()
def init(name: Annotated[str, typer.Argument(help="The network's name, for people.")], folder: Folder = PKI) -> None:
    """Make the authority."""
    from deploy.pki import Authority  # noqa: PLC0415  needs the extra server

    authority = Authority.create(folder, name)
    typer.echo(
        f"authority: {authority.certificate}, good for twenty years; nobody but you may read {folder / 'ca.key'}"
    )


@app.command()
def broker(
    host: Annotated[str, typer.Argument(help="Its name, as stations call it.")],
    also: Annotated[list[str] | None, typer.Option("--also", help="Another name or address of it.")] = None,
    days: Annotated[int, typer.Option(min=1)] = 825,
    to: To = None,
    folder: Folder = PKI,
) -> None:
    """Write the broker's certificate and key, with what it has to know beside them."""
    from deploy.pki import Authority, Kind  # noqa: PLC0415  needs the extra server

    authority, target = Authority(folder), to or Path(host)
    record = authority.issue(host, Kind.BROKER, folder=target, days=days, hosts=also or ())
    authority.equip_broker(host, target)
    typer.echo(f"broker {host}: good until {record.ends[:10]}; copy {target}/ to /etc/mosquitto/skyledger/")


@app.command()
def worker(
    name: Annotated[str, typer.Argument(help="Of an ingest worker; each needs one of its own.")],
    days: Annotated[int, typer.Option(min=1)] = 825,
    to: To = None,
    folder: Folder = PKI,
    request: Request = None,
) -> None:
    """Write an ingest worker's certificate, and let it in."""
    from deploy.pki import Authority, Kind  # noqa: PLC0415  needs the extra server

    authority, target = Authority(folder), to or Path(name)
    record = authority.issue(name, Kind.WORKER, folder=target, days=days, request=request)
    (target / "ca.crt").write_bytes(authority.certificate.read_bytes())
    typer.echo(f"worker {name}: good until {record.ends[:10]}, in {target}/")
    typer.echo(_to_the_broker(authority.access, restart=False))


@app.command()
def compute(
    name: Annotated[str, typer.Argument(help="For people; Dask's scheduler, workers and users share the certificate.")],
    days: Annotated[int, typer.Option(min=1)] = 825,
    to: To = None,
    folder: Folder = PKI,
) -> None:
    """Write a certificate for Dask's scheduler, workers and clients, of an authority that gives out nothing else."""
    from deploy.pki import Authority, Kind  # noqa: PLC0415  needs the extra server
    from deploy.pki.parcel import dask_configuration  # noqa: PLC0415

    authority, target = Authority(folder), to or Path(name)
    record = authority.issue(name, Kind.COMPUTE, folder=target, days=days)
    (target / "ca.crt").write_bytes(authority.certificate.read_bytes())
    (target / "tls.yaml").write_text(dask_configuration(name), encoding="utf-8")
    typer.echo(f"compute {name}: good until {record.ends[:10]}; copy {target}/ to {DASK} and set DASK_CONFIG={DASK}")


@app.command()
def renew(
    name: str,
    days: Annotated[int, typer.Option(min=1)] = 825,
    to: To = None,
    folder: Folder = PKI,
    request: Request = None,
) -> None:
    """Write a new certificate of somebody who has one; the old one stays good until it ends."""
    from deploy.pki import Authority, Kind  # noqa: PLC0415  needs the extra server

    authority, target = Authority(folder), to or Path(name)
    record = authority.renew(name, folder=target, days=days, request=request)
    if record.kind is Kind.BROKER:
        authority.equip_broker(name, target)
    (target / "ca.crt").write_bytes(authority.certificate.read_bytes())
    typer.echo(f"{record.kind} {name}: good until {record.ends[:10]}, in {target}/")


@app.command()
def revoke(
    name: str, why: Annotated[str, typer.Option(help="Kept in the authority's list.")], folder: Folder = PKI
) -> None:
    """Shut somebody out: all certificates of a name."""
    from deploy.pki import Authority  # noqa: PLC0415  needs the extra server

    authority = Authority(folder)
    for record in authority.revoke(name, why):
        typer.echo(f"revoked: {record.kind} {name}, serial {record.serial}")
    typer.echo(_to_the_broker(authority.crl, restart=True))


@app.command("list")
def listed(
    folder: Folder = PKI,
    expiring: Annotated[
        int | None,
        typer.Option(
            min=0, help="Only what ends within so many days and has no successor; any there is makes this fail."
        ),
    ] = None,
) -> None:
    """Say what was given out, and what it is worth now."""
    from deploy.pki import Authority  # noqa: PLC0415  needs the extra server

    now, authority = datetime.now(UTC), Authority(folder)
    found = authority.records() if expiring is None else authority.ending(now + timedelta(days=expiring))
    for record in found:
        why = f"  {record.revoked[:10]} {record.reason}" if record.revoked else ""
        typer.echo(f"{record.name:<24} {record.kind:<8} {record.state(now):<8} until {record.ends[:10]}{why}")
    if expiring is not None and found:
        names = ", ".join(record.name for record in found)
        raise DeployError(f"{len(found)} end within {expiring} days: `skyledger pki renew NAME` for {names}")


def _to_the_broker(file: Path, *, restart: bool) -> str:
    what = "restart the broker, which also ends sessions that are open" if restart else "reload it (SIGHUP)"
    return f"now copy {file} to the broker (/etc/mosquitto/skyledger/) and {what}"
