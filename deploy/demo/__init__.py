"""A network of eight simulated stations, from instrument files to the cross-check, on one machine.

Everything but the air is real: the files are in the instrument's own format, the agents, the
broker, the database, quality control, the inversion and the report are those of production.
"""
