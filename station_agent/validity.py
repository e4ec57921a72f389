"""When a certificate begins and ends to be valid, read from its file.

The standard library tells that of the broker's certificate only, once it is connected. This reads as much of X.509
(RFC 5280, section 4.1) as leads to the two times.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from station_agent.errors import ConfigError

MOST_BYTES: Final = 1_000_000
SEQUENCE: Final = 0x30
VERSION: Final = 0xA0
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
BEGIN: Final = "-----BEGIN CERTIFICATE-----"
END: Final = "-----END CERTIFICATE-----"


def validity(path: Path) -> tuple[datetime, datetime]:
    """Return from when to when the first certificate of a PEM file is valid.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds no certificate.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    start, stop = text.find(BEGIN), text.find(END)
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(text[start : stop + len(END)] if 0 <= start < stop else ""))
    except ValueError as error:
        raise ConfigError(f"{path}: is no certificate in PEM: {error}") from None


def _validity(der: bytes) -> tuple[datetime, datetime]:
    body, _ = _element(der, SEQUENCE)
    signed, _ = _element(body, SEQUENCE)
    if signed[:1] == bytes([VERSION]):
        _, signed = _element(signed)
    for _ in ("serial number", "signature algorithm", "issuer"):
        _, signed = _element(signed)
    times, _ = _element(signed, SEQUENCE)
    first, times = _time(times)
    last, _ = _time(times)
    return first, last


def _element(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """Return the content of the first element and what follows it."""
    if len(data) < 2 or (tag is not None and data[0] != tag):
        raise ValueError("its structure is not that of X.509")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if start + size > len(data):
        raise ValueError("it is cut short")
    return data[start : start + size], data[start + size :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    content, rest = _element(data)
    text = content.decode("ascii", "replace")
    if data[0] == UTC_TIME:  # two digits of the year: 50 to 99 are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif data[0] != GENERALIZED_TIME:
        raise ValueError("its validity is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
