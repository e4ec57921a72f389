"""The commands that a page prints: lines of its indented blocks, and commands inside its sentences and tables."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("skyledger ", "station-agent ")
_HERE = re.compile(r"<<'?(\w+)'?")


@dataclass(frozen=True)
class Command:
    """A command as it is printed, without its comment, and the heading it stands under."""

    section: str
    text: str


def blocks(page, beginning=()):
    """Lines of indented blocks (all, or those that begin so); a here-document belongs to its command."""
    found, section, lines, here, fenced = [], "", [], None, False
    for line in (ROOT / page).read_text("utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            continue
        elif line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("    "):
            lines.append(line[4:])
            if here is None and (opened := _HERE.search(line)):
                here = opened[1]
            elif here is not None and line.strip() == here:
                here = None
            if here is None and not line.endswith("\\"):
                found.append(Command(section, "\n".join(lines)))
                lines = []
    assert not lines, lines
    return [command for command in found if not beginning or command.text.startswith(beginning)]


def spoken(page, beginning=OURS):
    """Commands between backticks, on one line or two."""
    text, section = (ROOT / page).read_text("utf-8"), ""
    found = []
    for part in re.split(r"^(#+ .*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE):
        if part.startswith("#"):
            section = part.lstrip("# ")
        lines = "\n".join(line for line in part.splitlines() if not line.startswith("    "))
        found += [Command(section, " ".join(said.split())) for said in re.findall(r"`([^`]+)`", lines)]
    return [command for command in found if command.text.startswith(beginning)]


def bare(text):
    """Return a command without the comment behind it."""
    return re.sub(r"\s+#.*$", "", text)
