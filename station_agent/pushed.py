"""Configuration that the server pushes: what it may change, and how it is kept.

The message on ``skyledger/v1/{station}/config`` is JSON, the whole of the changes each time, not what is added to
the last ones; ``{}`` goes back to the station's own file::

    {"v": 1, "id": "2026-08-slower",
     "changes": {"batch": {"samples": 120}, "health": {"heartbeat": 300}, "instrument": {"g2301": {"poll": 5}}}}

It may change ``batch``, ``health.heartbeat`` and the options of instruments there are; never the broker, TLS, the
spool, or where an instrument is. What it makes of the file is checked as the file is. It is kept beside the spool,
where the agent may write (the folder of the TOML may be read-only to it): ``spool.db.config``, the one before it as
``spool.db.config.previous``, and the last one refused with its faults as ``spool.db.config.refused``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from station_agent.atomic import replace_file

MOST_BYTES: Final = 65_536
MOST_FAULTS: Final = 50
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
TABLES: Final = ("batch", "health", "instrument")
FIXED: Final[Mapping[str, frozenset[str]]] = {
    "health": frozenset({"textfile"}),
    "instrument": frozenset({"name", "driver", "path", "tcp", "serial", "baud", "bits", "parity", "stop"}),
}
"""Keys of those tables that stand in the station's file only."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was pushed, as far as it is known.

    Parameters
    ----------
    id
        Of the changes in force, None where there are none.
    refused
        The last message refused: its ``id``, ``time`` (ms since 1970 UTC), ``digest`` and ``faults``.
    """

    id: str | None = None
    refused: Mapping[str, Any] | None = None


def kept_path(spool: Path) -> Path:
    """Return the file in which the changes in force are kept."""
    return spool.with_name(spool.name + ".config")


def _beside(kept: Path, ending: str) -> Path:
    return kept.with_name(f"{kept.name}.{ending}")


def digest(payload: bytes) -> str:
    """Return what a message is known by."""
    return blake2b(payload, digest_size=16).hexdigest()


def parse(payload: bytes, faults: list[str]) -> tuple[str | None, Mapping[str, Any]]:
    """Return the id and the changes of a message; what is wrong with its shape is appended to `faults`."""
    if len(payload) > MOST_BYTES:
        faults.append(f"the message has {len(payload)} bytes, at most {MOST_BYTES} are read")
        return None, {}
    try:
        message = json.loads(payload, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        faults.append(f"the message is not JSON: {error}")
        return None, {}
    if not isinstance(message, dict) or message.get("v") != 1 or isinstance(message.get("v"), bool):
        faults.append('the message is not of version 1, expected {"v": 1, "id": ..., "changes": {...}}')
        return None, {}
    faults += [f"{key}: unknown key, known are v, id, changes" for key in message if key not in ("v", "id", "changes")]
    name, changes = message.get("id"), message.get("changes")
    if not isinstance(name, str) or not ID.fullmatch(name):
        faults.append("id: expected a text of 1 to 128 letters, digits, '.', '_', ':' and '-'")
        name = None
    if not isinstance(changes, dict):
        faults.append("changes: expected a table")
        changes = {}
    return name, changes


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def merge(document: Mapping[str, Any], changes: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return the station's document with the changes in it; what may not be changed is appended to `faults`."""
    merged = dict(document)
    for table, values in changes.items():
        if table not in TABLES:
            faults.append(f"{table}: may not be changed from the server, only {', '.join(TABLES)} may")
        elif not isinstance(values, dict):
            faults.append(f"{table}: expected a table")
        elif table == "instrument":
            merged[table] = _instruments(document.get(table), values, faults)
        else:
            _refuse_fixed(values, table, table, faults)
            own = document.get(table, {})
            merged[table] = {**own, **values} if isinstance(own, dict) else own
    return merged


def _instruments(own: Any, values: Mapping[str, Any], faults: list[str]) -> Any:
    if not isinstance(own, list):
        return own
    known = {entry.get("name"): dict(entry) if isinstance(entry, dict) else entry for entry in own}
    for name, options in values.items():
        where = f"instrument.{name[:80]}"
        if name not in known:
            faults.append(f"{where}: there is no such instrument, there are {', '.join(map(str, known))}")
        elif not isinstance(options, dict):
            faults.append(f"{where}: expected a table")
        else:
            _refuse_fixed(options, "instrument", where, faults)
            known[name].update(options)
    return list(known.values())


def _refuse_fixed(values: Mapping[str, Any], table: str, where: str, faults: list[str]) -> None:
    fixed = FIXED.get(table, frozenset())
    faults += [f"{where}.{key}: may not be changed from the server" for key in values if key in fixed]


# --- what is kept ----------------------------------------------------------------------------


def keep(spool: Path, payload: bytes) -> None:
    """Put changes in force from the next start on; those before them are kept."""
    path = kept_path(spool)
    before = read_kept(spool)
    if before is not None:
        replace_file(_beside(path, "previous"), before, mode=0o600)
    replace_file(path, payload, mode=0o600)
    _beside(path, "refused").unlink(missing_ok=True)


def read_kept(spool: Path) -> bytes | None:
    """Return the message in force, None where there is none or it cannot be read."""
    try:
        return kept_path(spool).read_bytes()
    except OSError:
        return None


def keep_refusal(spool: Path, payload: bytes, name: str | None, faults: list[str], *, against: str) -> dict[str, Any]:
    """Keep why a message was refused beside the configuration of digest `against`, and return that."""
    refusal = {
        "id": name,
        "time": time.time_ns() // 1_000_000,
        "digest": digest(payload),
        "against": against,
        "faults": [fault[:500] for fault in faults[:MOST_FAULTS]],
    }
    path = _beside(kept_path(spool), "refused")
    replace_file(path, json.dumps(refusal).encode(), mode=0o600)
    return refusal


def refusal(spool: Path) -> dict[str, Any] | None:
    """Return the last message refused since one was put in force."""
    try:
        found = json.loads(_beside(kept_path(spool), "refused").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
