"""What the inversion raises: one root, one sentence each, all faults of a thing at once."""

from __future__ import annotations

from collections.abc import Iterable


class InversionError(Exception):
    """Root of everything this package raises on purpose."""


class FaultsError(InversionError):
    """Several faults of one thing, reported together.

    Parameters
    ----------
    subject : str
        What was looked at ("the inversion problem", a file's name).
    faults : iterable of str
        One sentence each: what, where, got, expected, what next.
    """

    def __init__(self, subject: str, faults: Iterable[str]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        super().__init__(f"{subject} cannot be used: " + " ".join(self.faults))


class ProblemError(FaultsError):
    """The pieces of an inversion do not fit together, or hold what cannot be."""


class CovarianceError(InversionError):
    """A matrix is no covariance: not symmetric, not positive definite, or too badly conditioned."""


class FootprintError(FaultsError):
    """Footprints, receptors or meteorology that cannot be used."""


class CaseError(FaultsError):
    """A file of a prepared inversion that cannot be read as one."""


class SelectionError(InversionError):
    """No observations are left, or the selection asked for does not exist."""


class ColumnError(FaultsError):
    """Observed columns, their operators or profiles that cannot be used."""


class PriorError(FaultsError):
    """A flux or a field of mole fractions by others that cannot be used: units, grid, times, names."""


class AssemblyError(FaultsError):
    """Observations, footprints, fluxes and backgrounds that do not make a problem."""
