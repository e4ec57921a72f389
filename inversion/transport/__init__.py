"""From fluxes at the ground to mole fractions at receptors: footprints, computed or read."""

from inversion.transport.files import read_footprints, write_footprints
from inversion.transport.models import footprints
from inversion.transport.sensitivity import sensitivities

__all__ = ["footprints", "read_footprints", "sensitivities", "write_footprints"]
