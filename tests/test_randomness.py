"""Draws against Philox-4x64-10 written out in whole numbers, and against numbers kept for ever."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof import randomness
from inkproof.errors import ConfigurationError
from inkproof.randomness import Use, permutation, uniform

WORDS = st.integers(0, 2**64 - 1)
USES = st.sampled_from(list(Use))
MASK = 2**64 - 1


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """One block of Philox-4x64 with ten rounds (Salmon et al. 2011, section 4.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c0 * 0xD2E7470EE14C6C93, 2**64)
        high1, low1 = divmod(c2 * 0xCA5A826395121157, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def words(count: int, use: Use, seed: int, index: int) -> list[int]:
    blocks = (philox((block, 0, 0, index), (seed, use)) for block in itertools.count(1))
    return list(itertools.islice(itertools.chain.from_iterable(blocks), count))


def test_the_reference_gives_the_published_answer():
    """The known answer for counter 0 and key 0 of the authors' Random123."""
    assert philox((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )


@given(count=st.integers(0, 20), use=USES, seed=WORDS, index=WORDS)
def test_uniform_is_philox(count, use, seed, index):
    expected = [(word >> 11) / 2**53 for word in words(count, use, seed, index)]
    drawn = uniform(count, use, seed=seed, index=index)
    assert drawn.dtype == np.float64
    assert drawn.tolist() == expected
    assert all(0 <= number < 1 for number in drawn)


@given(count=st.integers(0, 20), use=USES, seed=WORDS, index=WORDS)
def test_permutation_sorts_philox(count, use, seed, index):
    drawn = words(count, use, seed, index)
    order = permutation(count, use, seed=seed, index=index)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(count), key=drawn.__getitem__)


def test_equal_words_keep_their_order(monkeypatch):
    tied = np.arange(200, dtype=np.uint64) % np.uint64(3)
    monkeypatch.setattr(randomness, "_words", lambda *_: tied)
    order = permutation(200, Use.BATCH_ORDER, seed=0)
    assert order.tolist() == sorted(range(200), key=tied.__getitem__)


def test_draws_are_those_of_the_first_version():
    """Results that people have kept rest on these; a change here is a change of all results."""
    assert permutation(8, Use.HOLD_OUT, seed=0).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
    assert permutation(8, Use.BATCH_ORDER, seed=7, index=3).tolist() == [3, 1, 4, 6, 2, 0, 5, 7]
    assert uniform(2, Use.INITIAL_WEIGHTS, seed=1, index=2).tolist() == [
        0.46198181433286756,
        0.27747119343474047,
    ]


@given(use=USES, seed=WORDS, index=WORDS, short=st.integers(0, 50), more=st.integers(0, 50))
def test_a_longer_draw_begins_as_a_shorter_one(use, seed, index, short, more):
    long = uniform(short + more, use, seed=seed, index=index)
    assert long[:short].tolist() == uniform(short, use, seed=seed, index=index).tolist()


@given(key=st.tuples(USES, WORDS, WORDS), other=st.tuples(USES, WORDS, WORDS))
def test_another_key_draws_other_numbers(key, other):
    (use, seed, index), (other_use, other_seed, other_index) = key, other
    same = uniform(4, use, seed=seed, index=index).tolist() == (
        uniform(4, other_use, seed=other_seed, index=other_index).tolist()
    )
    assert same == (key == other)


def test_uses_have_numbers_of_their_own_for_ever():
    assert {use.name: use.value for use in Use} == {
        "HOLD_OUT": 1,
        "INITIAL_WEIGHTS": 2,
        "BATCH_ORDER": 3,
        "RESAMPLING": 4,
        "MIXUP": 5,
    }


@given(seed=WORDS, use=USES)
def test_uniform_is_uniform(seed, use):
    """For any seed: ten equal bins of 10,000 draws, chi-squared below its 1 - 1e-9 quantile."""
    bins = np.bincount((uniform(10_000, use, seed=seed) * 10).astype(int), minlength=10)
    assert ((bins - 1000) ** 2 / 1000).sum() < 60.9


@given(seed=WORDS)
def test_permutation_leaves_nothing_in_order(seed):
    """For any seed: the correlation of place and number within six standard errors of 0."""
    order = permutation(10_000, Use.BATCH_ORDER, seed=seed)
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 6 / math.sqrt(9_999)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, np.int64(-1), np.float64(1), "1", None])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ConfigurationError, match=r"^seed must be a whole number from 0 to 2\*\*64"):
        permutation(4, Use.HOLD_OUT, seed=seed)


@pytest.mark.parametrize("index", [-1, 2**64, 0.5])
def test_an_index_that_is_none(index):
    message = rf"^index must be a whole number from 0 to 2\*\*64 - 1, got {index}$"
    with pytest.raises(ConfigurationError, match=message):
        uniform(4, Use.HOLD_OUT, seed=0, index=index)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.uint64])
def test_whole_numbers_of_numpy_will_do(kind):
    expected = permutation(9, Use.HOLD_OUT, seed=3)
    assert permutation(9, Use.HOLD_OUT, seed=kind(3)).tolist() == expected.tolist()


def test_public_names():
    own = {
        name
        for name, value in vars(randomness).items()
        if name[0] != "_" and getattr(value, "__module__", "") == randomness.__name__
    }
    assert own == set(randomness.__all__)
    assert randomness.__all__ == sorted(randomness.__all__)
