"""Numbers as a reader meets them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from inversion.wording import decimals, number, window, with_sigma


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_a_number_is_written_within_half_a_digit_of_its_sigma(value, sigma):
    places = decimals(sigma)
    text = with_sigma(value, sigma)
    plain = [float(part.replace("\u202f", "").replace("−", "-")) for part in text.split(" ± ")]
    assert abs(plain[0] - value) <= 0.5 * 10.0**-places * (1 + 1e-9) + 1e-9 * abs(value)
    assert abs(plain[1] - sigma) <= 0.5 * 10.0**-places * (1 + 1e-9)
    assert math.floor(math.log10(sigma)) == 1 - places


def test_numbers_as_they_are_printed():
    assert number(-0.04, 1) == "0.0"
    assert number(1234567.0, 0) == "1\u202f234\u202f567"
    assert number(5.0, 0, sign=True) == "+5"
    assert number(math.inf, 1) == "–"
    assert window("2025-07-01T00:00:00/2025-07-15T00:00:00") == "2025-07-01 to 2025-07-15"
    assert window("2023") == "2023"
