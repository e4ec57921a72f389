"""Text in the form of a Picarro user log, for tests."""

NAMES = ("DATE", "TIME", "EPOCH_TIME", "INST_STATUS", "species", "MPVPosition", "CH4", "CO2", "H2O", "CavityPressure")
HEADER = "".join(f"{name:<26}" for name in NAMES)
START = 1_700_000_000


def row(number, *, epoch=None, species=None, port=1.0, co2=None, ch4=None, h2o=1.5, status="963", pressure=140.0):
    """Return the row of second `number`: CO2, CH4 and water take turns, as on a G2301."""
    fields = (
        "2023-11-14",
        "22:13:20.000",
        f"{START + number:.3f}" if epoch is None else epoch,
        status,
        f"{1 + number % 3 if species is None else species:.10E}",
        f"{port:.10E}",
        f"{1.9 + number / 1e4 if ch4 is None else ch4:.10E}",
        f"{420 + number / 100 if co2 is None else co2:.10E}",
        f"{h2o:.10E}",
        f"{pressure:.10E}",
    )
    return "".join(f"{field:<26}" for field in fields)


def text(first, last):
    """Return a whole log of the rows first ... last - 1."""
    return "\n".join([HEADER, *(row(number) for number in range(first, last))]) + "\n"
