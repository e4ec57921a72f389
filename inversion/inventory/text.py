"""Text files of an inventory team, in whatever they are written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from inversion.errors import FaultsError


def decoded(file: Path, encoding: str, error: type[FaultsError]) -> str:
    """Return the text of a file, or raise `error` with a sentence that says what it may be written in."""
    try:
        text = file.read_text(encoding=encoding)
    except FileNotFoundError as wrong:
        raise error(file.name, [f"There is no file {str(file)!r}: check the path."]) from wrong
    except IsADirectoryError as wrong:
        raise error(file.name, [f"{str(file)!r} is a folder: give a file in it."]) from wrong
    except LookupError as wrong:
        raise error(file.name, [f"The encoding {encoding!r} is not known: utf-8, gb18030 and utf-16 are."]) from wrong
    except UnicodeError as wrong:
        others = " or ".join(name for name in ("gb18030", "utf-8", "utf-16") if name != encoding.removesuffix("-sig"))
        at = f" (byte {wrong.start})" if isinstance(wrong, UnicodeDecodeError) else ""
        sentence = f"It is not {encoding}{at}: Chinese spreadsheets write gb18030; give the encoding as {others}."
        raise error(file.name, [sentence]) from wrong
    if not text.strip():
        raise error(file.name, ["The file is empty."])
    return text


def document(file: Path, error: type[FaultsError]) -> dict[str, Any]:
    """Return a TOML file as a dict, or raise `error` with a sentence."""
    try:
        return tomllib.loads(decoded(file, "utf-8", error))
    except tomllib.TOMLDecodeError as wrong:
        raise error(file.name, [f"It is not TOML: {wrong}."]) from wrong
