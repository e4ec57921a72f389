"""Large matrix products by scipy's BLAS, the one its factorisations use; why, is said in `threads`."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas

from inversion.covariance.operator import Array


def gram(A: Array) -> Array:
    """Return Aᵀ A, every entry of it.

    Parameters
    ----------
    A : array (n, m)

    Returns
    -------
    array (m, m)
    """
    by_rows = A.flags.c_contiguous
    half = blas.dsyrk(1.0, A.T if by_rows else A, trans=0 if by_rows else 1, lower=1)
    half += np.tril(half, -1).T
    return half


def product(A: Array, B: Array) -> Array:
    """Return A B without turning round what lies row by row.

    Parameters
    ----------
    A : array (n, k)
    B : array (k, m)

    Returns
    -------
    array (n, m), Fortran order
    """
    left, right = (A.T, 1) if A.flags.c_contiguous else (A, 0), (B.T, 1) if B.flags.c_contiguous else (B, 0)
    return blas.dgemm(1.0, left[0], right[0], trans_a=left[1], trans_b=right[1])
