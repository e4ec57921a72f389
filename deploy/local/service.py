"""A command that works beside the servers: what it is called, and what it is told about them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Service:
    """One command of the stack.

    Attributes
    ----------
    name : str
        For messages and the log ``DIR/{name}.log``.
    argv : tuple of str
        Program and arguments, in which ``{dsn}``, ``{broker}`` (host:port), ``{host}``, ``{port}`` and ``{data_dir}``
        stand for the stack's own.
    once : bool
        Run it to its end before the next one starts; the stack does not come up if it fails.
        Otherwise it runs as long as the stack, and is started again when it ends.
    """

    name: str
    argv: tuple[str, ...]
    once: bool = False

    def command(self, **words: str) -> list[str]:
        """Arguments with the words put in."""
        return [_filled(part, words) for part in self.argv]

    @classmethod
    def loads(cls, text: str) -> list[Self]:
        """Undo `dumps`."""
        return [cls(item["name"], tuple(item["argv"]), item["once"]) for item in json.loads(text)]


def dumps(services: Iterable[Service]) -> str:
    """Services as one line of JSON."""
    return json.dumps([asdict(service) for service in services])


def _filled(part: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        part = part.replace("{" + name + "}", value)
    return part
