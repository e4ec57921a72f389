"""From mole fractions to emissions: transport, priors, solvers, diagnostics, inventories and the cross-check.

The symbols, everywhere (Rodgers 2000; Enting 2002):

=========  =================================================  ========================
symbol     meaning                                            size
=========  =================================================  ========================
y          observed mole fractions                            n
x, x_a, B  state (fluxes or scalings), prior mean, covariance  m, m, m x m
b, b_a, B_b  boundary (background) terms, likewise              p, p, p x p
H, H_b     sensitivities of y to x and to b                   n x m, n x p
R          covariance of y − H x − H_b b                      n x n
K          gain B Hᵀ (H B Hᵀ + R)⁻¹                           m x n
A          averaging kernel K H                               m x m
x̂, Ŝ       posterior mean and covariance                      m, m x m
W          aggregate: provinces, sectors, years               k x m
=========  =================================================  ========================
"""

from inversion import covariance, solve
from inversion.errors import InversionError
from inversion.findings import Finding, Grade
from inversion.posterior import Posterior
from inversion.problem import Problem

__all__ = ["Finding", "Grade", "InversionError", "Posterior", "Problem", "covariance", "solve"]
