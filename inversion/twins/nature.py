"""The world a twin experiment is made in: what the inversion assumes, but for what is stated to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.errors import FaultsError
from inversion.jacobian import Jacobian, as_jacobian
from inversion.problem import Problem

HONEST = "as the inversion assumes"
"""Name of a nature in which nothing is otherwise."""
_GROUP = 64
"""Draws worked on at a time where they share one transport."""


class TwinError(FaultsError):
    """A twin experiment or a network design that cannot be made."""


class Draw(NamedTuple):
    """Some truths and the air they make."""

    x: Array
    """(m, k)."""
    y: Array
    """(n, k)."""
    H: Jacobian
    """The transport that made it."""


@dataclass(frozen=True, slots=True)
class Nature:
    """How truth and observations are made; whatever is None is as the inversion assumes.

    y = H x + H_b b + ε,  x ~ N(x_a, B),  b ~ N(b_a, B_b),  ε ~ N(0, R)

    Parameters
    ----------
    name : str
        What is otherwise, for titles and findings ("winds off by 20 degrees").
    x_a, b_a : array (m,), (p,), optional
        Means the truth is drawn around: a prior with a bias.
    B, B_b, R : Covariance, optional
        Covariances the truth and the noise are drawn from.
    aggregate : array or DataArray (k, m'), optional
        W of the nature's own state, where that is not the inversion's: a finer grid. `x_a`, `B` and `H` are then its
        own, too (m'), and the difference is the aggregation error.
    H, H_b : as `Problem` takes them (n, m), (n, p), or a function of a random generator that returns one, optional
        Transport that makes the observations; a function is called once for every draw: its errors then vary, too.

    Examples
    --------
    >>> from inversion.covariance import Diagonal
    >>> Nature(name="errors of the ledger twice as large", B=Diagonal([4.0, 4.0])).name
    'errors of the ledger twice as large'
    """

    name: str = HONEST
    x_a: Any = None
    B: Covariance | None = None
    H: Any | Callable[[np.random.Generator], Any] = None
    R: Covariance | None = None
    H_b: Any | Callable[[np.random.Generator], Any] = None
    b_a: Any = None
    B_b: Covariance | None = None
    aggregate: Any = None

    @property
    def varies(self) -> bool:
        """Whether every draw has a transport of its own."""
        return any(callable(H) and not hasattr(H, "shape") for H in (self.H, self.H_b))

    def draw(self, problem: Problem, draws: int, rng: np.random.Generator) -> Iterator[Draw]:
        """Yield truths and observations, in groups that share a transport.

        Parameters
        ----------
        problem : Problem
            What the inversion assumes.
        draws : int
        rng : numpy.random.Generator

        Yields
        ------
        Draw

        Raises
        ------
        TwinError
            Where sizes differ from those of the problem.
        """
        self._check(problem)
        group = 1 if self.varies else _GROUP
        H, H_b = (None, None) if self.varies else self._transport(problem, rng)
        for start in range(0, draws, group):
            count = min(group, draws - start)
            if H is None or self.varies:
                H, H_b = self._transport(problem, rng)
            yield self._drawn(problem, H, H_b, count, rng)

    def _drawn(self, problem: Problem, H: Jacobian, H_b: Jacobian | None, count: int, rng: np.random.Generator) -> Draw:
        x = _gaussian(problem.x_a.values if self.x_a is None else self.x_a, self.B or problem.B, count, rng)
        y = H.matvec(x) + _gaussian(np.zeros(problem.n_obs), self.R or problem.R, count, rng)
        spread = self.B_b or problem.B_b
        if H_b is not None and problem.b_a is not None and spread is not None:
            y += H_b.matvec(_gaussian(problem.b_a.values if self.b_a is None else self.b_a, spread, count, rng))
        return Draw(x, y, H)

    def _transport(self, problem: Problem, rng: np.random.Generator) -> tuple[Jacobian, Jacobian | None]:
        H, H_b = (_called(given, rng) for given in (self.H, self.H_b))
        made = problem.H if H is None else as_jacobian(H)
        edges = problem.H_b if H_b is None else as_jacobian(H_b)
        faults = list(_shape_faults(problem.n_obs, (self.states(problem), problem.n_boundary), made, edges))
        if faults:
            raise TwinError(f"The nature {self.name!r}", faults)
        return made, edges

    def states(self, problem: Problem) -> int:
        """Return the size of the nature's state."""
        return problem.n_state if self.aggregate is None else int(np.shape(self.aggregate)[1])

    def _check(self, problem: Problem) -> None:
        sizes = dict.fromkeys(("x_a", "B"), self.states(problem)) | {"R": problem.n_obs}
        sizes |= dict.fromkeys(("b_a", "B_b"), problem.n_boundary)
        faults = []
        missing = [name for name in ("x_a", "B", "H") if getattr(self, name) is None]
        if self.aggregate is not None and missing:
            faults.append(f"A state of its own (aggregate=) needs {', '.join(missing)} of its own.")
        for label, expected in sizes.items():
            given = getattr(self, label)
            size = expected if given is None else given.size if isinstance(given, Covariance) else np.size(given)
            if size != expected:
                faults.append(f"{label} has size {size}, expected {expected} as in the problem.")
        if faults:
            raise TwinError(f"The nature {self.name!r}", faults)


def _called(given: Any, rng: np.random.Generator) -> Any:
    return given(rng) if callable(given) and not hasattr(given, "shape") else given


def _shape_faults(n_obs: int, unknowns: tuple[int, int], H: Jacobian, H_b: Jacobian | None) -> Iterator[str]:
    """Compare with the problem: observations and unknowns must be the same ones."""
    for label, made, columns in zip(("H", "H_b"), (H, H_b), unknowns, strict=True):
        if made is not None and made.shape != (n_obs, columns):
            yield f"{label} has shape {made.shape}, expected {(n_obs, columns)}."


def _gaussian(mean: Any, covariance: Covariance, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` columns."""
    drawn = covariance.sqrt().matvec(rng.standard_normal((covariance.size, count)))
    return np.asarray(mean, dtype=np.float64)[:, None] + drawn
