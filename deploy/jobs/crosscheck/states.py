"""The states of a report: draft, submitted, approved; what was submitted is never overwritten.

A report's folder holds ``draft`` (made anew each time), ``submitted-1``, ``submitted-2``, ``approved-1``, ... (made
once) and ``history.jsonl``, a line for each submission and approval, with the digest of the tables, those of the files,
that of the line before it, and its own. A line or file that was changed, and a line that was taken out, are noticed.
Whoever may write the whole folder can write another history: keep the digest that the report prints elsewhere, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from inversion.report import Step

HISTORY: Final = "history.jsonl"
_SHORT: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the history.

    Attributes
    ----------
    state, who, when, remarks : str
    digest : str
        SHA-256 of the tables.
    folder : str
        Where the report lies.
    files : dict of name to SHA-256
    previous : str
        SHA-256 of the line before; empty for the first.
    own : str
        SHA-256 of the entry without this.
    """

    state: str
    who: str
    when: str
    remarks: str
    digest: str
    folder: str
    files: dict[str, str]
    previous: str
    own: str = ""

    @property
    def sealed(self) -> Entry:
        """The entry with its own digest."""
        bare = json.dumps(asdict(replace(self, own="")), ensure_ascii=False, sort_keys=True)
        return replace(self, own=_sha256(bare.encode()))

    @property
    def step(self) -> Step:
        """The entry as a report shows it."""
        return Step(state=self.state, who=self.who, when=self.when, remarks=self.remarks, digest=self.digest)


def history(folder: Path) -> list[Entry]:
    """Return what was submitted and approved.

    Raises
    ------
    DeployError
        Where the history cannot be read, or a line was changed or taken out.
    """
    path = folder / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries, previous = [], ""
    for number, line in enumerate(lines, 1):
        try:
            entry = Entry(**json.loads(line))
        except (TypeError, ValueError) as error:
            msg = f"{path}:{number} is no entry of a history ({error}): restore the file from a copy"
            raise DeployError(msg) from error
        if entry.previous != previous or entry != entry.sealed:
            msg = f"{path}:{number} was changed, or the line before it: restore the history from a copy"
            raise DeployError(msg)
        entries.append(entry)
        previous = _sha256(line.encode())
    known = {entry.folder for entry in entries}
    strange = sorted(place.name for place in folder.glob("*-[0-9]*") if place.is_dir() and place.name not in known)
    if strange:
        msg = (
            f"{folder}: {', '.join(strange)} is in no line of {HISTORY}: restore the history from a copy, or, where "
            "a run was interrupted, move the folder away"
        )
        raise DeployError(msg)
    return entries


def require_allowed(entries: Sequence[Entry], step: Step, folder: Path) -> None:
    """Refuse a state that cannot follow.

    Raises
    ------
    DeployError
        The same table is submitted or approved already; a table is approved that was not submitted, or was changed
        since; files of any submission or approval were changed; the day is before the last.
    """
    state, digest = step.state, step.digest
    if state == "draft":
        return
    for entry in entries:
        _require_unchanged(entry, folder)
    last = entries[-1] if entries else None
    if last is not None and step.when < last.when:
        msg = f"{folder}: {state} on {step.when} would be before what was {last.state} on {last.when}: correct `when`"
        raise DeployError(msg)
    if last is not None and last.digest == digest and last.state in (state, "approved"):
        msg = f"{folder}: this table was {last.state} on {last.when} by {last.who} already ({last.folder})"
        raise DeployError(msg)
    if state == "submitted":
        return
    if last is None:
        msg = f"{folder}: nothing was submitted yet: submit the table before it is approved"
        raise DeployError(msg)
    if last.digest != digest:
        msg = (
            f"{folder}: the table is not the one {last.state} on {last.when} by {last.who} (digest {digest[:_SHORT]}, "
            f"{last.folder} has {last.digest[:_SHORT]}): submit it before it is approved"
        )
        raise DeployError(msg)


def _require_unchanged(entry: Entry, folder: Path) -> None:
    place = folder / entry.folder
    changed = [
        name
        for name, known in entry.files.items()
        if not (place / name).is_file() or _sha256((place / name).read_bytes()) != known
    ]
    if changed:
        msg = f"{place}: {', '.join(changed)} changed after it was {entry.state}: restore the folder from a copy"
        raise DeployError(msg)


def keep(folder: Path, step: Step, write: Callable[[Path], Sequence[Path]]) -> tuple[Path, ...]:
    """Write a report into its place, and its entry into the history.

    Parameters
    ----------
    folder : Path
        Of all states of the report.
    step : Step
    write : callable
        Writes the report into a folder, and returns its files.

    Returns
    -------
    tuple of Path
        The files where they lie.

    Raises
    ------
    DeployError
        Where the folder cannot be written to.
    """
    try:
        return _kept(folder, step, write)
    except OSError as error:
        msg = f"{error.filename or folder}: the report cannot be written there: {error.strerror}"
        raise DeployError(msg) from error


def _kept(folder: Path, step: Step, write: Callable[[Path], Sequence[Path]]) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".unfinished-{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        names = [path.relative_to(unfinished) for path in write(unfinished)]
        place = folder / "draft" if step.state == "draft" else _free(folder, step.state)
        if step.state == "draft":
            shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if step.state != "draft":
        files = {str(name): _sha256((place / name).read_bytes()) for name in names}
        _append(folder / HISTORY, step, place.name, files)
    return tuple(place / name for name in names)


def _free(folder: Path, state: str) -> Path:
    """Return the next name that nothing has."""
    number = 1
    while (folder / f"{state}-{number}").exists():
        number += 1
    return folder / f"{state}-{number}"


def _append(path: Path, step: Step, place: str, files: dict[str, str]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    previous = _sha256(lines[-1].encode()) if lines else ""
    entry = Entry(**asdict(step), folder=place, files=files, previous=previous).sealed
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(entry), ensure_ascii=False, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
