"""Lines of a Picarro log, made up."""

import random
from pathlib import Path

WIDTH = 26
HEADER = ("DATE", "TIME", "EPOCH_TIME", "INST_STATUS", "species", "MPVPosition", "CH4", "CO2", "H2O", "h2o_reported")


def lines(first: int, count: int, draw: random.Random, *, start: float = 1_751_328_000.0, spacing: float = 1.1) -> str:
    text = []
    for n in range(first, first + count):
        epoch = f"{start + n * spacing:.3f}"
        values = ["2025-07-01", "00:00:00.000", epoch, "963", f"{n % 3 + 1:.10E}", "1.0000000000E+01"]
        values += [f"{draw.uniform(1.9, 2.1):.10E}", f"{draw.uniform(400, 450):.10E}"]
        values += [f"{draw.uniform(1, 2):.10E}", f"{draw.uniform(1, 2):.10E}"]
        text.append("".join(f"{value:<{WIDTH}}" for value in values) + "\r\n")
    return "".join(text)


def header() -> str:
    return "".join(f"{name:<{WIDTH}}" for name in HEADER) + "\r\n"


def write(path: Path, text: str) -> Path:
    path.write_text(header() + text, newline="")
    return path


def append(path: Path, text: str) -> None:
    with path.open("a", newline="") as file:
        file.write(text)
