"""Instruments read while they measure, over TCP or a serial port.

- `makers`: what each family speaks, as a table, and the addresses of the configuration;
- `port`: one connection that never blocks;
- `dialogue`, `stream`, `picarro`: what is said over it;
- `source`: connects, listens, connects again, and tells of changes.

Example::

    [[instrument]]
    name = "g2401"
    driver = "picarro"
    tcp = "192.0.2.7"            # port 51020, the maker's
    columns = ["time", "CO2", "CH4", "H2O", "CavityPressure", "species", "MPVPosition"]
    time_zone = "+08:00"         # of the instrument's clock

    [[instrument]]
    name = "ugga"
    driver = "lgr"
    serial = "/dev/ttyUSB0"      # 115200 8N1; else baud, bits, parity, stop
    date_order = "mdy"
    fields = ["Time", "[CH4]_ppm", "[CH4]_ppm_sd", "[H2O]_ppm", "[H2O]_ppm_sd"]

An instrument that is read live can still be given its own files by ``replay``: they say the same samples.
"""
