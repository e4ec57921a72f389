"""What a catalogue document is made of.

A key that is absent from a station or an instrument says nothing: what the catalogue has stays. An empty text empties
it. A port or a cylinder is one statement: all of it is what its row says.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from ingest.read import instant

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}\\Z")]
InletName = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,62}\\Z")]
Text = Annotated[str, msgspec.Meta(max_length=200)]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Wigos = Annotated[str, msgspec.Meta(pattern="^(0-[0-9]{1,5}-[0-9]{1,5}-[0-9A-Za-z]{1,16})?\\Z")]
Height = Annotated[float, msgspec.Meta(ge=-500, le=9000)]
When = datetime | None


def _utc(moment: When) -> When:
    """Return a time in UTC, as it is where it has no zone."""
    if moment is None:
        return None
    try:
        return instant(moment.isoformat()).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment} is not a time in the years 1 to 9999") from None


class _Dated(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    from_: When = msgspec.field(name="from", default=None)
    to: When = None

    def __post_init__(self) -> None:
        self.from_, self.to = _utc(self.from_), _utc(self.to)


class Port(_Dated):
    """A valve position and the inlet it draws from."""

    inlet: InletName
    port: NonEmpty | None = None


class Channel(msgspec.Struct, forbid_unknown_fields=True):
    """A quantity an instrument will send."""

    quantity: Text
    unit: Text = ""


class Inlet(msgspec.Struct, forbid_unknown_fields=True):
    """Where air is drawn."""

    name: InletName
    height: Height


class Instrument(msgspec.Struct, forbid_unknown_fields=True):
    """What measures."""

    name: Name
    model: Text | UnsetType = UNSET
    serial: Text | UnsetType = UNSET
    driver: Text | UnsetType = UNSET
    port: list[Port] = []
    channel: list[Channel] = []


class Station(msgspec.Struct, forbid_unknown_fields=True):
    """A place; its `region` is an ISO 3166-2 code once it is checked, `gbt_2260` the Chinese one beside it."""

    name: Name
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    altitude: Height
    title: Text | UnsetType = UNSET
    region: Text | UnsetType | None = UNSET
    gbt_2260: Text | UnsetType | None = UNSET
    wigos: Wigos | UnsetType | None = UNSET
    time_zone: Text | UnsetType | None = UNSET
    inlet: list[Inlet] = []
    instrument: list[Instrument] = []


class Cylinder(_Dated):
    """A standard or target gas: what it is assigned, on which scale, from when until when."""

    name: NonEmpty
    species: Text
    value: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    scale: NonEmpty
    uncertainty: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """All of it."""

    station: list[Station] = []
    cylinder: list[Cylinder] = []
