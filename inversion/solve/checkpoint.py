"""A file of Lanczos steps: a run that was killed goes on where it was.

A header line (JSON: what it is of), then one record a step: α, η, the next vector, as little-endian float64, and their
CRC-32. A record that was cut short is cut off.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inversion.covariance.operator import Array
from inversion.errors import InversionError

_SAME = 1e-9
"""Share by which the first step may differ when it is computed anew (another machine rounds differently)."""


class Step(NamedTuple):
    """What one step of the process found."""

    alpha: float
    eta: float
    vector: Array
    """q_{k+1} (size,)."""


class Checkpoint:
    """Steps of one process, in a file that is made where there is none.

    Parameters
    ----------
    path : path
    identity : mapping
        What the steps belong to, JSON values with ``size`` among them; a file of something else is refused.

    Raises
    ------
    InversionError
        Where the file is no checkpoint, or one of another problem.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._size = int(identity["size"])
        self._header = json.dumps(dict(identity), sort_keys=True).encode() + b"\n"
        if not self.path.exists() or not self.path.stat().st_size:
            self.path.write_bytes(self._header)
        with self.path.open("rb") as file:
            found = file.readline()
        if found != self._header:
            msg = f"{self.path} is no checkpoint of this problem: {self._difference(found)}; name another file."
            raise InversionError(msg)

    def steps(self) -> Iterator[Step]:
        """Yield the steps kept, and cut off what follows the last whole one."""
        length = 8 * (2 + self._size)
        with self.path.open("r+b") as file:
            file.seek(len(self._header))
            while True:
                begin = file.tell()
                record = file.read(length + 4)
                if len(record) < length + 4 or zlib.crc32(record[:length]).to_bytes(4, "little") != record[length:]:
                    file.truncate(begin)
                    return
                numbers = np.frombuffer(record, dtype="<f8", count=2 + self._size).astype(np.float64)
                yield Step(float(numbers[0]), float(numbers[1]), numbers[2:])

    def append(self, step: Step) -> None:
        """Keep a step."""
        record = np.concatenate([[step.alpha, step.eta], step.vector]).astype("<f8").tobytes()
        with self.path.open("ab") as file:
            file.write(record + zlib.crc32(record).to_bytes(4, "little"))

    def compare(self, computed: Step, kept: Step) -> None:
        """Refuse steps that this problem does not give."""
        scale = max(abs(computed.alpha), computed.eta)
        if abs(computed.alpha - kept.alpha) > _SAME * scale or abs(computed.eta - kept.eta) > _SAME * scale:
            msg = (
                f"{self.path} is no checkpoint of this problem: its first step has α = {kept.alpha:.10g}, here it is "
                f"{computed.alpha:.10g}, so H, B or R is another one; name another file."
            )
            raise InversionError(msg)

    def _difference(self, found: bytes) -> str:
        try:
            theirs, ours = json.loads(found), json.loads(self._header)
            keys = [key for key in ours if theirs.get(key) != ours[key]]
            return ", ".join(f"its {key} is {theirs.get(key)!r}, here it is {ours[key]!r}" for key in keys)
        except (ValueError, AttributeError):
            return "its first line is no header"
