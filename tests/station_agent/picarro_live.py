"""The same measurements as a Picarro logs them and as its live buffer says them."""

import math
from datetime import UTC, datetime, timedelta

COLUMNS = ("time", "CO2", "CH4", "H2O", "CavityPressure", "species", "MPVPosition", "INST_STATUS")
OPTIONS = {"columns": list(COLUMNS)}
TABLE = 'driver = "picarro"\npoll = 0.05\ncolumns = ["' + '", "'.join(COLUMNS) + '"]\n'
LOG = ("DATE", "TIME", "EPOCH_TIME", "INST_STATUS", "species", "MPVPosition", "solenoid_valves", *COLUMNS[1:5])
START = 1_700_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def measurement(number):
    """Return epoch (s, finer than ms) and the values by column; one row a second, gases taking turns."""
    epoch = START + number + (number * 617 % 9973) / 9973
    values = {
        "CO2": 420 + 5 * math.sin(number / 500),
        "CH4": 1.95 + 0.05 * math.cos(number / 700),
        "H2O": 1.5 + math.sin(number / 90) / 3,
        "CavityPressure": 140 + math.sin(number) / 100,
        "species": 1.0 + number % 3,
        "MPVPosition": 1.0 + number // 3600 % 4,
        "INST_STATUS": 963.0,
    }
    # As exact as the log: what it rounds may round to another third decimal than what the buffer rounds.
    return epoch, {name: float(f"{value:.10E}") for name, value in values.items()}


def stamp(epoch, *, ahead=timedelta()):
    """Return date and time as a Picarro writes them: the ms cut off."""
    moment = EPOCH + timedelta(microseconds=round(epoch * 1e6)) + ahead
    return f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def live_row(number, *, guide=False, ahead=timedelta(), decimals=3):
    """Return a row of the live buffer; `guide`: with the date as the maker's guide has it."""
    epoch, values = measurement(number)
    date, clock = stamp(epoch, ahead=ahead)
    date = date[2:].replace("-", "/") if guide else date
    return ";".join([f"{date} {clock}", *(f"{values[name]:.{decimals}f}" for name in COLUMNS[1:])]) + ";"


def live_rows(first, last, **form):
    return [live_row(number, **form) for number in range(first, last)]


def log_row(number):
    """Return the row of the log."""
    epoch, values = measurement(number)
    fields = dict(zip(("DATE", "TIME"), stamp(epoch), strict=True), EPOCH_TIME=f"{epoch:.3f}", INST_STATUS="963")
    rest = {name: f"{value:.10E}" for name, value in {**values, "solenoid_valves": 0.0}.items() if name not in fields}
    return "".join(f"{ {**fields, **rest}[name]:<26}" for name in LOG)


def log_text(first, last):
    """Return a whole log."""
    return "\n".join(["".join(f"{name:<26}" for name in LOG), *map(log_row, range(first, last))]) + "\n"
