import doctest

import pytest

from qc import state, water


@pytest.mark.parametrize("module", [state, water], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
