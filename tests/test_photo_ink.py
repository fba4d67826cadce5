"""What is measured of the levels of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inkproof.photo.ink import median, percentile

VALUES = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: arrays.arrays(
        dtype, st.integers(1, 60), elements=st.integers(-(10**6), 10**6).map(lambda n: n / 128)
    )
)


@given(VALUES)
def test_the_median_is_numpys(values):
    assert median(values) == pytest.approx(float(np.median(values)), rel=1e-6)


@given(VALUES, st.one_of(st.floats(0, 100), st.sampled_from([0, 0.02, 50, 99.98, 100])))
def test_percentiles_are_numpys(values, share):
    expected = float(np.percentile(values, share))
    assert percentile(values, share) == pytest.approx(expected, rel=1e-6, abs=1e-3)
