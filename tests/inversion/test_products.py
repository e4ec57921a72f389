"""Products by scipy's BLAS are those of numpy, in whatever order the matrices lie."""

import numpy as np
import pytest

from inversion.products import gram, product

LAYOUTS = {
    "by rows": np.ascontiguousarray,
    "by columns": np.asfortranarray,
    "every second row": lambda A: A.repeat(2, 0)[::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gram_is_whole_and_symmetric(layout):
    A = LAYOUTS[layout](np.random.default_rng(0).normal(size=(7, 5)))
    np.testing.assert_allclose(gram(A), A.T @ A, rtol=1e-13, atol=1e-14)
    assert (gram(A) == gram(A).T).all()


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_product(left, right):
    rng = np.random.default_rng(1)
    A, B = LAYOUTS[left](rng.normal(size=(7, 5))), LAYOUTS[right](rng.normal(size=(5, 3)))
    np.testing.assert_allclose(product(A, B), A @ B, rtol=1e-13, atol=1e-14)
