"""Hyper-parameters of R and B by maximum marginal likelihood (Michalak et al. 2005, JGR 110, D24107).

With d = y − H x_a − H_b b_a and S(θ) = H B(θ) Hᵀ + R(θ), the observations themselves say how likely θ is:
−ln p(d | θ) = ½ ln det S + ½ dᵀ S⁻¹ d + ½ n ln 2π, with ∂/∂θ = ½ tr(S⁻¹ ∂S) − ½ λᵀ ∂S λ, λ = S⁻¹ d. All θ are above
zero and are looked for as ln θ; the Hessian there gives their uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.optimize
import xarray as xr

from inversion.covariance import BlockDiagonal, Covariance, Scaled
from inversion.covariance.operator import Array
from inversion.errors import InversionError, ProblemError
from inversion.findings import Finding, Grade
from inversion.problem import Problem

PIECES: Final = ("R", "B", "B_b")
"""The covariances of a problem that may hold unknowns."""
_WIDE: Final = float(np.log(1e3))
"""A parameter is looked for within a factor of 1000 of where it starts."""
_STEP: Final = 1e-4
"""Step in ln θ over which a covariance is differenced; its error is of the order of the square."""
_HESSIAN_STEP: Final = 1e-3
_LARGEST: Final = 15_000
"""Observations; S, its factor and its inverse take 5 GB there."""


@dataclass(frozen=True, eq=False)
class Scale:
    """An unknown factor on standard deviations.

    Attributes
    ----------
    name : str
    of : str
        "R", "B" or "B_b".
    where : array of bool (size of `of`), optional
        The elements it multiplies; all by default.
    start : float
    """

    name: str
    of: str
    where: npt.ArrayLike | None = None
    start: float = 1.0


@dataclass(frozen=True, eq=False)
class Form:
    """Unknown parameters from which a covariance is built, as correlation lengths.

    Attributes
    ----------
    of : str
        "R", "B" or "B_b".
    build : callable
        Returns the covariance; takes the parameters by name.
    start : mapping of str to float
        Where the search starts, above zero; its keys are the parameters' names.
    """

    of: str
    build: Callable[..., Covariance]
    start: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fit:
    """Hyper-parameters with their uncertainty.

    Attributes
    ----------
    value : xr.DataArray (hyper)
        θ̂, each in the units of its own.
    stdev_log : xr.DataArray (hyper)
        Standard deviation of ln θ̂: of θ̂ as a share where it is small; NaN where θ is not determined.
    covariance_log : xr.DataArray (hyper, hyper_2)
        Inverse Hessian in ln θ.
    log_likelihood, log_likelihood_start : float
        ln p(d | θ) at θ̂ and where the search started.
    problem : Problem
        The problem with R, B and B_b at θ̂; its findings and provenance say so.
    findings : tuple of Finding
        What the fit says about itself; `problem` carries them too.
    """

    value: xr.DataArray
    stdev_log: xr.DataArray
    covariance_log: xr.DataArray
    log_likelihood: float
    log_likelihood_start: float
    problem: Problem
    findings: tuple[Finding, ...]

    def interval(self, level: float = 0.95) -> xr.DataArray:
        """Return θ̂ exp(∓ z σ), the interval that holds θ with the probability `level` (hyper, bound)."""
        z = NormalDist().inv_cdf(0.5 + level / 2.0)
        bounds = np.exp(np.log(self.value.values)[:, None] + z * self.stdev_log.values[:, None] * np.array([-1.0, 1.0]))
        return xr.DataArray(bounds, dims=("hyper", "bound"), coords={"hyper": self.value["hyper"].values})


def error_scales(problem: Problem) -> list[Scale]:
    """Return one factor on the standard deviations of R for each site, or one for all without the coordinate ``site``.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    list of Scale
        Named ``error_scale[site]``.
    """
    if "site" not in problem.y.coords:
        return [Scale("error_scale", "R")]
    sites = problem.y["site"].values.astype(str)
    return [Scale(f"error_scale[{site}]", "R", sites == site) for site in dict.fromkeys(sites.tolist())]


def fit(problem: Problem, unknowns: Sequence[Scale | Form], *, iterations: int = 200) -> Fit:
    """Return the hyper-parameters that make the observations most likely.

    Parameters
    ----------
    problem : Problem
        With R and B as first guessed; mean, sensitivities and observations stay as they are.
    unknowns : sequence of Scale, Form
        What is not known of R, B and B_b; at most one `Form` a covariance, and any number of `Scale` on top.
    iterations : int
        Most steps of the search (L-BFGS).

    Returns
    -------
    Fit

    Raises
    ------
    InversionError
        For unknowns that do not fit the problem, or more than 15,000 observations.
    ProblemError
        Where S is not positive definite at the start.

    Examples
    --------
    >>> from inversion.covariance import Diagonal
    >>> rng = np.random.default_rng(0)
    >>> problem = Problem(y=3.0 * rng.normal(size=400), H=np.zeros((400, 1)), R=Diagonal(np.ones(400)), x_a=[1.0],
    ...                   B=Diagonal([1.0]), y_units="nmol mol-1", x_units="1")
    >>> fit(problem, [Scale("sigma", "R")]).value.round(1).item()
    3.0
    """
    likelihood = MarginalLikelihood(problem, unknowns)
    start = likelihood.start
    bounds = list(zip(start - _WIDE, start + _WIDE, strict=True))
    first = likelihood.value_and_gradient(start)[0]
    found = scipy.optimize.minimize(
        likelihood.value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": iterations, "ftol": 1e-12, "gtol": 1e-5 * max(1.0, problem.n_obs / 1000)},
    )
    free = np.abs(found.x - start) < _WIDE * (1 - 1e-6)
    covariance = _uncertainty(likelihood, found.x, free)
    findings = tuple(_findings(likelihood.names, found, covariance, free))
    names = {"hyper": likelihood.names}
    square = xr.DataArray(covariance, dims=("hyper", "hyper_2"), coords=names | {"hyper_2": likelihood.names})
    return Fit(
        value=xr.DataArray(np.exp(found.x), dims="hyper", coords=names),
        stdev_log=xr.DataArray(np.sqrt(np.diagonal(covariance)), dims="hyper", coords=names),
        covariance_log=square,
        log_likelihood=-float(found.fun),
        log_likelihood_start=-float(first),
        problem=with_covariances(
            problem,
            likelihood.covariances(found.x),
            provenance={"hyper-parameters": dict(zip(likelihood.names, np.exp(found.x).tolist(), strict=True))},
            findings=findings,
        ),
        findings=findings,
    )


class MarginalLikelihood:
    """−ln p(d | θ) and its gradient, of η = ln θ.

    Parameters
    ----------
    problem : Problem
    unknowns : sequence of Scale, Form

    Attributes
    ----------
    names : list of str
    start : array (k,)
        η of the first guess.

    Raises
    ------
    InversionError
    """

    def __init__(self, problem: Problem, unknowns: Sequence[Scale | Form]) -> None:
        _check(problem, unknowns)
        self._given = {name: piece for name in PIECES if (piece := getattr(problem, name)) is not None}
        self._forms = {unknown.of: unknown for unknown in unknowns if isinstance(unknown, Form)}
        self._scales = [unknown for unknown in unknowns if isinstance(unknown, Scale)]
        starts = [(scale.name, scale.start) for scale in self._scales]
        starts += [pair for form in self._forms.values() for pair in form.start.items()]
        self.names = [name for name, _ in starts]
        self.start = np.log(np.array([value for _, value in starts], dtype=np.float64))
        joint = problem.joint()
        self._d = joint.innovation
        self._Ht = np.ascontiguousarray(joint.H.rows(slice(0, problem.n_obs)).T)
        m = problem.n_state
        self._parts = {"B": slice(0, m), "B_b": slice(m, m + problem.n_boundary)}
        self._fixed_prior = not any(unknown.of != "R" for unknown in unknowns)
        self._signal: tuple[Array, Array] | None = None

    def covariances(self, eta: Array) -> dict[str, Covariance]:
        """Return R, B (and B_b) at η."""
        value = dict(zip(self.names, np.exp(eta).tolist(), strict=True))
        made = {name: self._built(name, value) for name in self._given}
        for name, piece in made.items():
            factor = np.ones(piece.size)
            for scale in self._scales:
                if scale.of == name:
                    factor[_mask(scale, factor.size)] *= value[scale.name]
            if (factor != 1.0).any():
                made[name] = Scaled(piece, factor)
        return made

    def value_and_gradient(self, eta: Array) -> tuple[float, Array]:
        """Return −ln p(d | θ) and its derivatives with respect to η.

        Parameters
        ----------
        eta : array (k,)

        Returns
        -------
        (float, array (k,))
        """
        pieces = self.covariances(eta)
        BHt, S = self._prior_signal(pieces)
        pieces["R"].add_to(S)
        try:
            factor = scipy.linalg.cho_factor(S, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            fault = f"H B Hᵀ + R is not positive definite at {self._say(eta)} ({error}); start from larger errors."
            raise ProblemError("The marginal likelihood", [fault]) from None
        multiplier = scipy.linalg.cho_solve(factor, self._d, check_finite=False)
        logdet = 2.0 * float(np.log(np.diagonal(factor[0])).sum())
        value = 0.5 * (logdet + self._d @ multiplier + self._d.size * np.log(2 * np.pi))
        gradient = self._gradient(eta, pieces, BHt, factor, multiplier)
        return value, np.fromiter(gradient, np.float64, eta.size)

    def hessian(self, eta: Array) -> Array:
        """Return the second derivatives (k, k) by differencing the gradient."""
        k = eta.size
        columns = np.empty((k, k))
        for i in range(k):
            step = _HESSIAN_STEP * (np.arange(k) == i)
            above, below = self.value_and_gradient(eta + step)[1], self.value_and_gradient(eta - step)[1]
            columns[:, i] = (above - below) / (2.0 * _HESSIAN_STEP)
        return 0.5 * (columns + columns.T)

    def _prior_signal(self, pieces: Mapping[str, Covariance]) -> tuple[Array, Array]:
        """Return B Hᵀ, and a copy of H B Hᵀ that may be written to; kept where B holds no unknowns."""
        if self._signal is None or not self._fixed_prior:
            B = BlockDiagonal([pieces[name] for name in self._parts if name in pieces])
            BHt = B.matvec(self._Ht)
            self._signal = BHt, self._Ht.T @ BHt
        return self._signal[0], np.array(self._signal[1], order="F")

    def _gradient(
        self, eta: Array, pieces: Mapping[str, Covariance], BHt: Array, factor: Any, multiplier: Array
    ) -> Iterator[float]:
        """Yield ½ tr(S⁻¹ ∂S) − ½ λᵀ ∂S λ; for a factor on the elements M of C: ∂C = M C + C M."""
        inverse = scipy.linalg.cho_solve(factor, np.eye(self._d.size), check_finite=False)
        vector = {"R": multiplier} | {name: self._Ht[part] @ multiplier for name, part in self._parts.items()}
        per_element = {}
        for name in {scale.of for scale in self._scales}:
            part = self._parts.get(name)
            traces = (
                np.diagonal(pieces[name].matvec(inverse))
                if part is None
                else np.einsum("ji,ji->j", BHt[part], self._Ht[part] @ inverse)
            )
            per_element[name] = traces - vector[name] * pieces[name].matvec(vector[name])
        for scale in self._scales:
            yield float(per_element[scale.of][_mask(scale, pieces[scale.of].size)].sum())
        for form in self._forms.values():
            for name in form.start:
                yield self._of_form(eta, form.of, name, inverse, vector[form.of])

    def _of_form(self, eta: Array, of: str, name: str, inverse: Array, vector: Array) -> float:
        """Return the derivative for a parameter a covariance is built from, by differencing that covariance."""
        step = _STEP * (np.array(self.names) == name)
        above, below = self.covariances(eta + step)[of], self.covariances(eta - step)[of]

        def change(V: Array) -> Array:
            return (above.matvec(V) - below.matvec(V)) / (2.0 * _STEP)

        if of == "R":
            trace = float(np.trace(change(inverse)))
        else:
            Ht = self._Ht[self._parts[of]]
            trace = float(np.vdot(change(Ht), Ht @ inverse))
        return 0.5 * (trace - float(vector @ change(vector)))

    def _built(self, name: str, value: Mapping[str, float]) -> Covariance:
        if name not in self._forms:
            return self._given[name]
        form = self._forms[name]
        return form.build(**{key: value[key] for key in form.start})

    def _say(self, eta: Array) -> str:
        return ", ".join(f"{name} = {value:.3g}" for name, value in zip(self.names, np.exp(eta), strict=True))


def with_covariances(
    problem: Problem,
    pieces: Mapping[str, Covariance],
    *,
    provenance: Mapping[str, Any] | None = None,
    findings: Sequence[Finding] = (),
) -> Problem:
    """Return the same problem with other covariances.

    Parameters
    ----------
    problem : Problem
    pieces : mapping of "R", "B", "B_b" to Covariance
        Those that change.
    provenance, findings
        Added to the problem's own.

    Returns
    -------
    Problem
    """
    given = {name: pieces.get(name, getattr(problem, name)) for name in PIECES}
    if problem.b_a is None:
        given["B_b"] = None
    own = tuple(finding for finding in problem.findings if finding.code != "regularised")
    return Problem(
        y=problem.y,
        H=problem.H,
        x_a=problem.x_a,
        H_b=problem.H_b,
        b_a=problem.b_a,
        **given,
        b_units=problem.b_units if problem.b_a is not None else None,
        name=problem.name,
        provenance={**problem.provenance, **(provenance or {})},
        findings=(*own, *findings),
    )


def _mask(scale: Scale, size: int) -> Array:
    return np.ones(size, dtype=bool) if scale.where is None else np.asarray(scale.where, dtype=bool)


def _check(problem: Problem, unknowns: Sequence[Scale | Form]) -> None:
    faults = []
    names = [n for unknown in unknowns for n in (unknown.start if isinstance(unknown, Form) else [unknown.name])]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if not names:
        faults.append("There are no unknowns; give Scale(...) or Form(...).")
    if doubled:
        faults.append(f"{', '.join(doubled)} stands there more than once; names tell parameters apart.")
    formed = [unknown.of for unknown in unknowns if isinstance(unknown, Form)]
    faults += [f"{of} has {formed.count(of)} forms, expected one." for of in PIECES if formed.count(of) > 1]
    for unknown in unknowns:
        piece = getattr(problem, unknown.of, None) if unknown.of in PIECES else None
        if piece is None:
            faults.append(f"An unknown is of {unknown.of!r}, which the problem does not have; expected R, B or B_b.")
        elif isinstance(unknown, Scale) and _mask(unknown, piece.size).shape != (piece.size,):
            faults.append(f"{unknown.name}: `where` does not have the {piece.size} elements of {unknown.of}.")
        elif isinstance(unknown, Scale) and not _mask(unknown, piece.size).any():
            faults.append(f"{unknown.name}: `where` chooses no element of {unknown.of}.")
        starts = unknown.start.values() if isinstance(unknown, Form) else [unknown.start]
        faults += [f"A start is {value}, expected above zero." for value in starts if not value > 0]
    if problem.n_obs > _LARGEST:
        faults.append(f"There are {problem.n_obs} observations, expected {_LARGEST} at most: fit a part of them.")
    if faults:
        msg = "The hyper-parameters cannot be fitted: " + " ".join(faults)
        raise InversionError(msg)


def _uncertainty(likelihood: MarginalLikelihood, eta: Array, free: Array) -> Array:
    """Return the inverse Hessian of the parameters that are inside their bounds, NaN for the others."""
    covariance = np.full((eta.size, eta.size), np.nan)
    if not free.any():
        return covariance
    inside = np.flatnonzero(free)
    hessian = likelihood.hessian(eta)[np.ix_(inside, inside)]
    values, vectors = scipy.linalg.eigh(hessian)
    determined = values > 1e-8 * max(float(values[-1]), 1.0)
    if not determined.all():
        # Along a flat direction nothing is known: the parameters that have a part in it are not determined.
        blind = (np.abs(vectors[:, ~determined]) > 0.1).any(axis=1)
        inside, hessian = inside[~blind], hessian[np.ix_(~blind, ~blind)]
    if inside.size:
        covariance[np.ix_(inside, inside)] = scipy.linalg.inv(hessian)
    return covariance


def _findings(names: Sequence[str], found: Any, covariance: Array, free: Array) -> Iterator[Finding]:
    sigma = np.sqrt(np.diagonal(covariance))
    said = [
        f"{name} {np.exp(eta):.3g} ({np.exp(eta - 1.96 * s):.3g} to {np.exp(eta + 1.96 * s):.3g})"
        for name, eta, s in zip(names, found.x, sigma, strict=True)
        if np.isfinite(s)
    ]
    if said:
        sentence = f"Taken from the observations by maximum marginal likelihood (95 % interval): {', '.join(said)}."
        yield Finding(Grade.INFORM, "hyper_parameters", sentence)
    lost = [
        f"{name} (left at {np.exp(eta):.3g}{'' if inside else ', the end of the search'})"
        for name, eta, s, inside in zip(names, found.x, sigma, free, strict=True)
        if not np.isfinite(s)
    ]
    if lost:
        sentence = f"The observations do not determine {', '.join(lost)}: fix it, or give it together with another."
        yield Finding(Grade.WARN, "hyper_undetermined", sentence)
    if not found.success:
        sentence = f"The search for hyper-parameters stopped before its end: {found.message}; start it closer."
        yield Finding(Grade.WARN, "hyper_search", sentence)
