"""From fluxes at the ground to mole fractions at receptors: footprints, computed or read."""

from inversion.transport.plume import footprints
from inversion.transport.readers import read_footprints
from inversion.transport.sensitivity import sensitivities

__all__ = ["footprints", "read_footprints", "sensitivities"]
