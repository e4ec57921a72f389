"""The words of a report in its language; all of them stand in `vocabulary.toml` beside this module."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from inversion import fonts
from inversion.errors import InversionError
from inversion.inventory.entry import NOTATION_KEYS

LANGUAGES: Final = ("en", "zh")
_ENGLISH: Final = "en"


class LanguageError(InversionError):
    """A language that reports are not written in."""


@functools.cache
def document() -> Mapping[str, Any]:
    """Return the vocabulary as it stands in its file."""
    return tomllib.loads(resources.files("inversion").joinpath("vocabulary.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one language.

    Attributes
    ----------
    language : {"en", "zh"}
    """

    language: str

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            msg = f"Reports are written in {' and '.join(LANGUAGES)}, not in {self.language!r}."
            raise LanguageError(msg)

    def __call__(self, key: str, **values: Any) -> str:
        """Return what ``section.name`` is called, with its blanks filled in.

        Examples
        --------
        >>> Vocabulary("zh")("column.inventory"), Vocabulary("en")("page.sum", regions=4)
        ('清单', 'Sum of 4 regions')
        """
        section, _, name = key.partition(".")
        text = str(document()[section][name][self.language])
        return text.format(**values) if values else text

    def verdict(self, word: str) -> str:
        """Return a verdict as it reads."""
        return self(f"verdict.{word.replace(' ', '_')}")

    def name(self, name_en: str, name_zh: str, code: str) -> str:
        """Return what a region is called in running text."""
        first, second = (name_zh, name_en) if self.language == "zh" else (name_en, name_zh)
        return first or second or code

    def sentence(self, text: str) -> str:
        """Return a sentence of the comparison in this language; one that is not known stays as it is.

        Examples
        --------
        >>> Vocabulary("zh").sentence("the ledger says NE (not estimated)")
        '清单标记为 NE (未估算)'
        """
        if self.language == _ENGLISH:
            return text
        for known in document()["sentence"]:
            found = re.fullmatch(known["pattern"], text, re.DOTALL)
            if found:
                parts = (self._part(part) for part in found.groups())
                return str(known[self.language]).format(None, *parts)
        return text

    def _part(self, text: str) -> str:
        for key, meaning in NOTATION_KEYS.items():
            text = text.replace(f"{key} ({meaning})", f"{key} ({self(f'notation.{key}')})")
        return self.sentence(text)


ENGLISH: Final = Vocabulary("en")
CHINESE: Final = Vocabulary("zh")


@functools.cache
def drawn(words: Vocabulary) -> Vocabulary:
    """Return the words for figures: those given where a font of this machine has all their letters, else English."""
    text = "".join(entry[words.language] for part in _FIGURES for entry in document()[part].values())
    return words if fonts.covers(text) else ENGLISH


_FIGURES: Final = ("map", "series", "state", "figure", "column")
"""Sections whose words stand in figures."""
