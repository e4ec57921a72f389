"""The notebooks run from top to bottom, on real data where they need them."""

import pytest

from tests.notebooks.run import said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the notebook machinery's own
def test_gosan(shared):
    case = shared / "data" / "inversion" / "gosan_hfc23_2022.nc"
    assert case.exists()
    text = said("gosan.md")
    assert "1482 observations at GSN" in text
    assert "Not resolved: region 2" in text
    assert "mean scaling 1.39" in text
    assert "The stated σ hold" in text
    assert "residual_correlation in 100%" in text
