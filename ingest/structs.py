"""What msgspec says of a document that does not fit, with the nearest known name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import msgspec


def explained(error: msgspec.ValidationError, kinds: Iterable[type[msgspec.Struct]]) -> str:
    """Return msgspec's sentence; where a field is not known, with the nearest of those that these kinds have."""
    sentence = str(error)
    found = re.search(r"unknown field `(.+?)`", sentence)
    known = {info.encode_name for kind in kinds for info in msgspec.structs.fields(kind)}
    near = difflib.get_close_matches(found[1], sorted(known), n=1) if found else []
    return f"{sentence}; did you mean {near[0]!r}?" if near else sentence
