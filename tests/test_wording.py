from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof import wording
from inkproof.wording import counted, fixed, nats, percent, points, seeds_listed


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.0, 2, "0.00"),
        (-0.0, 2, "0.00"),
        (1.005, 1, "1.0"),
        (-3.14159, 2, "−3.14"),
        (0.004, 2, "0.004"),
        (-0.0004, 2, "−0.0004"),
        (1e-12, 2, "0.00"),
        (-1e-12, 4, "0.0000"),
    ],
)
def test_fixed(value, decimals, text):
    assert fixed(value, decimals) == text


@given(value=st.floats(-1e3, 1e3), decimals=st.integers(0, 4))
def test_fixed_keeps_value_and_side(value, decimals):
    back = float(fixed(value, decimals).replace("−", "-"))
    assert back == pytest.approx(value, abs=0.5 * 10**-decimals + 1e-9)
    assert back * value >= 0
    assert (back == 0) == (abs(value) < 0.5e-8 or value == 0) or abs(abs(value) - 0.5e-8) < 1e-12


def test_shares_and_losses():
    assert percent(0.97724) == "97.72 %"
    assert points(0.0011) == "0.11"
    assert points(-0.0011) == "−0.11"
    assert nats(0.076) == "0.0760"


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "no runs"),
        (1, "one run"),
        (6, "six runs"),
        (12, "twelve runs"),
        (13, "13 runs"),
        (10_000, "10,000 runs"),
    ],
)
def test_counted(n, text):
    assert counted(n, "run") == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([], "no seeds"),
        ([4], "seed 4"),
        ([0, 1], "seeds 0 and 1"),
        ([0, 1, 5], "seeds 0, 1 and 5"),
        (list(range(20)), "seeds 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"),
    ],
)
def test_seeds_listed(seeds, text):
    assert seeds_listed(seeds) == text


def test_public_names():
    own = {
        name
        for name, value in vars(wording).items()
        if name[0] != "_"
        and (name.isupper() or getattr(value, "__module__", "") == wording.__name__)
    }
    assert own <= set(wording.__all__) <= set(vars(wording))
