"""Who may say and hear what at the broker: Mosquitto's access list, from what the authority has given out."""

from __future__ import annotations

from collections.abc import Iterable

from station_agent.wire import ROOT

_HEAD = """\
# Written by `skyledger pki`; do not edit. The user is the name in the client's certificate (CN).
# A station speaks as itself and hears what is said to it; nobody else does either.
pattern write {root}/%u/+/data
pattern write {root}/%u/+/event
pattern write {root}/%u/status
pattern read {root}/%u/ack
pattern read {root}/%u/config
"""
_WORKER = """
user {name}
topic read {root}/+/+/data
topic read {root}/+/+/event
topic read {root}/+/status
topic write {root}/+/ack
topic write {root}/+/config
"""


def access_rules(workers: Iterable[str]) -> str:
    """Return the access list: patterns for every station, lines for each ingest worker.

    Parameters
    ----------
    workers : iterable of str
        Their names, those in their certificates.
    """
    lines = (_WORKER.format(name=name, root=ROOT) for name in sorted(set(workers)))
    return _HEAD.format(root=ROOT) + "".join(lines)
