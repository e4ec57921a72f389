"""`skyledger backfill`: files of instruments and of archives, filled in afterwards."""

import sys
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from deploy.errors import DeployError
from deploy.options import Dsn, Who

if TYPE_CHECKING:
    from ingest.backfill import Filled


def attach(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("backfill")(backfill)


def backfill(  # noqa: PLR0913  a command's options
    files: Annotated[list[Path], typer.Argument(help="Files an instrument wrote, or files of an archive.")],
    dsn: Dsn,
    *,
    station: Annotated[str, typer.Option(help="Whose they are, in the catalogue.")],
    who: Who,
    instrument: Annotated[str | None, typer.Option(help="Of an instrument's files: which.")] = None,
    inlet: Annotated[str | None, typer.Option(help="Of an archive's files: which inlet.")] = None,
    driver: Annotated[str, typer.Option(help="How an instrument's files are read (auto: by how they begin).")] = "auto",
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the driver, as in TOML: 'time_zone=\"+08:00\"'.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Calibration scale, where an archive does not say it.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="TOML that says what the columns of a table are.")] = None,
    in_place: Annotated[
        bool, typer.Option("--replace", help="In place of what is there, instead of filling gaps; needs --why.")
    ] = False,
    why: Annotated[str, typer.Option(help="The reason; it is kept.")] = "",
    again: Annotated[bool, typer.Option(help="Also files that were filled in before.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Files at once.")] = 1,
) -> None:
    """Fill in files afterwards: what is there stays, what differs is kept aside; a run that was ended goes on."""
    from ingest.backfill import Reason  # noqa: PLC0415  needs the extra server

    if (instrument is None) == (inlet is None):
        msg = "give --instrument for files an instrument wrote, or --inlet for files of an archive"
        raise DeployError(msg)
    if why and not in_place:
        msg = "--why is the reason of a replacement: give --replace too, or leave it out"
        raise DeployError(msg)
    shared: dict[str, Any] = {"station": station, "again": again, "in_place": Reason(who, why) if in_place else None}
    if inlet is not None:
        said = {name: value for name, value in (("scale", scale), ("mapping", mapping)) if value is not None}
        fill = partial(_archive, dsn, **shared, inlet=inlet, said=said)
    else:
        fill = partial(_instrument, dsn, **shared, instrument=instrument, driver=driver, options=_options(option or []))
    if jobs == 1 or len(files) == 1:
        outcomes = map(fill, files)
        failed = [_say(file, outcome) for file, outcome in zip(files, outcomes, strict=True)]
    else:
        with ProcessPoolExecutor(min(jobs, len(files)), mp_context=get_context("spawn")) as pool:
            failed = [_say(file, outcome) for file, outcome in zip(files, pool.map(fill, files), strict=True)]
    if any(failed):
        raise typer.Exit(1)


def _options(given: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads("\n".join(given))
    except tomllib.TOMLDecodeError as error:
        msg = f"--option {' '.join(given)!r} is not TOML: {error}; write it as in the agent's configuration"
        raise DeployError(msg) from None


def _instrument(dsn: str, file: Path, **how: Any) -> "Filled | str":
    from ingest.backfill import instrument_file  # noqa: PLC0415
    from ingest.errors import IngestError  # noqa: PLC0415

    try:
        with _Progress(file) as progress:
            return instrument_file(dsn, file, on_progress=progress, **how)
    except IngestError as error:
        return str(error)


def _archive(dsn: str, file: Path, **how: Any) -> "Filled | str":
    from ingest.backfill import archive_file  # noqa: PLC0415
    from ingest.errors import IngestError  # noqa: PLC0415

    try:
        return archive_file(dsn, file, **how)
    except IngestError as error:
        return str(error)


def _say(file: Path, outcome: "Filled | str") -> bool:
    """Say what became of a file; returns whether it failed."""
    if isinstance(outcome, str):
        typer.echo(f"skyledger: {outcome}", err=True)
        return True
    if outcome.before is not None:
        typer.echo(f"{file}: was filled in on {outcome.before:%Y-%m-%d %H:%M} UTC, nothing to do")
        return False
    written = outcome.written
    parts = [f"{written.new} values new", f"{written.same} there already"]
    parts += [f"{written.aside} others kept aside"] if written.aside else []
    parts += [f"{outcome.replaced} replaced"] if outcome.replaced else []
    parts += [f"{outcome.rejected} lines kept aside (`skyledger aside list`)"] if outcome.rejected else []
    typer.echo(f"{file}: {outcome.format}, {outcome.samples} samples; {', '.join(parts)}")
    return False


class _Progress:
    """One line about a file on a terminal, again and again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begun = self._said = time.monotonic()
        self._lines = 0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            with self._file.open("rb") as stream:
                self._lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
        return self

    def __call__(self, values: int, samples: int) -> None:
        now = time.monotonic()
        if not self._lines or now - self._said < 0.2:
            return
        self._said = now
        share = min(samples / self._lines, 1.0)
        left = (now - self._begun) * (1 - share) / max(share, 1e-9)
        rate = values / (now - self._begun)
        sys.stderr.write(f"\r\x1b[K{self._file.name}: {share:.0%}, {rate:,.0f} values/s, {left:.0f} s left")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._lines:
            sys.stderr.write("\r\x1b[K")
