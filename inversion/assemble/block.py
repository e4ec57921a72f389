"""Blocks of the state: sectors that share regions, periods and the way their errors hang together."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from inversion.assemble.basis import Basis
from inversion.assemble.sector import Sector
from inversion.covariance import Covariance, Dense, Diagonal, Kronecker, spatial, temporal
from inversion.covariance.operator import Array
from inversion.errors import AssemblyError


@dataclass(frozen=True, slots=True)
class Block:
    """Scalings of sectors x periods x regions, in that order; B = sector ⊗ time ⊗ space.

    Attributes
    ----------
    sectors : tuple of Sector
    basis : Basis
    edges : np.ndarray (P + 1,) datetime64
        Start of every period, and the end of the last. Fluxes before the first belong to it.
    length_km, length_days : float, optional
        e-folding lengths of the errors; without them regions, or periods, are independent.
    correlation : np.ndarray (S, S), optional
        Correlation of the sectors' errors; by default none. A co-tracer (CO beside CO2) is a sector of its own gas
        whose scaling is correlated with that of the first: the ratio's relative σ is √(σ₁² + σ₂² − 2 ρ σ₁ σ₂).
    kind : str
        Shape of the correlation in space: "exponential", "matern", "gaspari-cohn", "gaussian" (`covariance.spatial`).
    nugget : float
        Regularises the factors in time and space; the result says so.
    """

    sectors: tuple[Sector, ...]
    basis: Basis
    edges: np.ndarray
    length_km: float | None = None
    length_days: float | None = None
    correlation: np.ndarray | None = field(default=None)
    kind: str = "exponential"
    nugget: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        edges = np.asarray(self.edges).astype("datetime64[ns]")
        if edges.size < 2 or (np.diff(edges) <= np.timedelta64(0)).any():
            faults.append(f"Its periods have the edges {edges}, expected two or more that increase.")
        if len(self.sectors) > 1 and any(sector.regional_sigma is not None for sector in self.sectors):
            faults.append("A sector with a sigma for each region must be a block of its own.")
        if not self.sectors:
            faults.append("It has no sector.")
        for sector in self.sectors:
            for name in ("latitude", "longitude"):
                ours, theirs = self.basis.grid[name].values, sector.flux[name].values
                if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-4):
                    faults.append(f"The {name}s of basis and sector {sector.name!r} differ.")
        if self.correlation is not None and np.shape(self.correlation) != (len(self.sectors),) * 2:
            faults.append(
                f"The sectors' correlation is {np.shape(self.correlation)}, expected {(len(self.sectors),) * 2}."
            )
        if faults:
            raise AssemblyError(f"The block of {', '.join(s.name for s in self.sectors) or 'no sectors'}", faults)
        object.__setattr__(self, "edges", edges)

    @property
    def periods(self) -> int:
        """Number of periods P."""
        return int(self.edges.size) - 1

    @property
    def size(self) -> int:
        """Number of states, sectors x periods x regions."""
        return len(self.sectors) * self.periods * self.basis.size

    def labels(self) -> np.ndarray:
        """Return the periods as text, start/end: dates, or hours where a period does not begin with a day."""
        days = bool((self.edges == self.edges.astype("datetime64[D]")).all())
        said = [str(edge) for edge in self.edges.astype("datetime64[D]" if days else "datetime64[h]")]
        return np.array([f"{start}/{end}" for start, end in itertools.pairwise(said)])

    def period_of(self, time: np.ndarray) -> np.ndarray:
        """Return the period each time falls in; what lies before the first or after the last belongs to those."""
        return np.clip(np.searchsorted(self.edges, time, "right") - 1, 0, self.periods - 1)

    def covariance(self) -> Covariance:
        """Return B of the scalings."""
        time = self._time()
        by_region = self.sectors[0].regional_sigma
        if by_region is not None:
            # The mean over all periods carries less of the error than one period does: scaled so that it keeps its σ.
            weight = np.diff(self.edges) / (self.edges[-1] - self.edges[0])
            spread = float(np.sqrt(weight @ time.matvec(weight)))
            own = [by_region.get(str(region), self.sectors[0].sigma) / spread for region in self.basis.region]
            return Kronecker(time, self._space(np.array(own)), name=f"B of {self.sectors[0].name}")
        sigma = np.array([sector.sigma for sector in self.sectors])
        names = ", ".join(sector.name for sector in self.sectors)
        matrix = np.eye(sigma.size) if self.correlation is None else np.asarray(self.correlation, np.float64)
        between = Dense(matrix * np.outer(sigma, sigma), name=f"correlation of the sectors {names}")
        return Kronecker(between, time, self._space(np.ones(self.basis.size)), name=f"B of {names}")

    def _time(self) -> Covariance:
        if self.length_days is None or self.periods == 1:
            return Diagonal(np.ones(self.periods))
        middle = self.edges[:-1] + np.diff(self.edges) // 2
        return temporal(middle, length_days=self.length_days, nugget=self.nugget)

    def _space(self, sigma: Array) -> Covariance:
        if self.length_km is None or self.basis.size == 1:
            return Diagonal(sigma**2)
        place = (self.basis.longitude, self.basis.latitude)
        return spatial(*place, sigma=sigma, length_km=self.length_km, kind=self.kind, nugget=self.nugget)

    def prior(self) -> xr.DataArray:
        """Return x_a (state) with the labels of the states."""
        shape = (len(self.sectors), self.periods, self.basis.size)
        values = np.broadcast_to(np.array([s.prior for s in self.sectors])[:, None, None], shape)

        def along(labels: np.ndarray, axis: int) -> tuple[str, np.ndarray]:
            view = labels.reshape([-1 if k == axis else 1 for k in range(3)])
            return "state", np.broadcast_to(view, shape).ravel()

        return xr.DataArray(
            values.ravel(),
            dims="state",
            coords={
                "sector": along(np.array([s.name for s in self.sectors]), 0),
                "region": along(self.basis.region, 2),
                "region_longitude": along(self.basis.longitude, 2),
                "region_latitude": along(self.basis.latitude, 2),
                "period": along(self.labels(), 1),
                "gas": along(np.array([s.gas for s in self.sectors]), 0),
            },
            attrs={"units": "1", "long_name": "scaling of the prior flux"},
        )

    def means(self) -> Array:
        """Return the mean flux of every sector and period (S, P, cells) [mol m-2 s-1]."""
        spans = list(zip(self.edges[:-1], self.edges[1:], strict=True))
        return np.stack([[sector.mean(start, end) for start, end in spans] for sector in self.sectors])
