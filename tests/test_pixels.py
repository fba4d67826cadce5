"""The pixel operations, against SciPy's."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import ndimage

from inkproof.errors import ConfigurationError, DataError
from inkproof.photo import pixels

EIGHT = np.ones((3, 3))

# Single pixels, rows and columns; smaller than the windows below and larger.
SHAPES = st.tuples(
    st.one_of(st.integers(1, 5), st.integers(6, 90)),
    st.one_of(st.integers(1, 5), st.integers(6, 90)),
)
SIZES = st.one_of(st.integers(1, 8), st.integers(9, 200))
MASKS = arrays.arrays(np.bool_, SHAPES)


@st.composite
def grey(draw, dtype=np.float32):
    """Pictures in rows, in columns, or with gaps between their pixels."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = rng.integers(0, draw(st.sampled_from([2, 4, 256])), shape)
    if dtype == np.float32 and draw(st.booleans()):
        levels = levels + rng.normal(0, 30, shape)
    layout = draw(st.sampled_from("CFG"))
    if layout == "G":
        wide = np.zeros((2 * shape[0], 3 * shape[1]), dtype=dtype)
        wide[::2, ::3] = levels
        return wide[::2, ::3]
    return np.asarray(levels, dtype=dtype, order=layout)


@st.composite
def blots(draw):
    """Masks of every density, so that components are many, few, nested and large."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(shape) < draw(st.sampled_from([0.0, 0.03, 0.3, 0.45, 0.6, 0.8, 0.97, 1.0]))


def same(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


# --- Filters


@given(grey(), st.floats(0.01, 30), st.sampled_from(["reflect", "nearest"]))
def test_gaussian_filter(picture, sigma, mode):
    found = pixels.gaussian_filter(picture, sigma, mode=mode)
    expected = ndimage.gaussian_filter(picture, sigma, mode=mode)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-5)


@given(grey(), SIZES)
def test_uniform_filter(picture, size):
    found = pixels.uniform_filter(picture, size)
    assert found.dtype == np.float32
    assert np.allclose(found, ndimage.uniform_filter(picture, size), rtol=1e-6, atol=1e-4)


def test_filters_round_as_scipy_does():
    """Not promised on every processor, but what is read from a page rests on it."""
    picture = np.random.default_rng(0).normal(120, 60, (211, 307)).astype(np.float32)
    same(pixels.gaussian_filter(picture, 0.7), ndimage.gaussian_filter(picture, 0.7))
    same(pixels.uniform_filter(picture, 38), ndimage.uniform_filter(picture, 38))


@given(st.one_of(grey(), grey(np.uint8)), SIZES, st.sampled_from([0, 1]))
def test_running_extremes(picture, size, axis):
    for name in ("maximum_filter1d", "minimum_filter1d"):
        found = getattr(pixels, name)(picture, size, axis=axis)
        same(found, getattr(ndimage, name)(picture, size, axis=axis))


@given(st.one_of(grey(), grey(np.uint8)), st.integers(1, 20))
def test_maximum_filter(picture, size):
    same(pixels.maximum_filter(picture, size), ndimage.maximum_filter(picture, size))
    if picture.dtype == np.uint8:
        expected = ndimage.maximum_filter(picture, size, mode="constant")
        same(pixels.maximum_filter(picture, size), expected)


@given(st.one_of(grey(), grey(np.uint8)), st.integers(0, 40))
def test_grey_closing(picture, half):
    size = 2 * half + 1
    expected = ndimage.grey_closing(picture, size=(size, size), mode="nearest")
    same(pixels.grey_closing(picture, size), expected)


@given(grey(), st.integers(0, 30))
def test_grey_dilation(picture, reach):
    down, right = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = down**2 + right**2 <= (reach + 0.3) ** 2
    # SciPy reads beyond an array that is smaller than the footprint, so it gets a larger one.
    wide = np.pad(picture, reach, constant_values=-np.inf)
    inner = tuple(slice(reach, reach + side) for side in picture.shape)
    expected = ndimage.grey_dilation(wide, footprint=disc)[inner]
    same(pixels.grey_dilation(picture, reach), np.ascontiguousarray(expected))


@given(blots(), st.integers(1, 12), st.integers(1, 12))
def test_binary_closing(mask, height, width):
    expected = ndimage.binary_closing(mask, structure=np.ones((height, width), dtype=bool))
    same(pixels.binary_closing(mask, (height, width)), expected)


@pytest.mark.parametrize("bar", [(500, 3), (3, 500), (500, 500)])
def test_a_bar_may_be_larger_than_the_mask(bar):
    mask = np.ones((20, 30), dtype=bool)
    assert not pixels.binary_closing(mask, bar).any()


@given(grey(), st.floats(-3, 3), st.floats(-50, 50))
def test_shear(picture, slope, offset):
    expected = ndimage.affine_transform(
        picture, np.array([[1.0, 0.0], [slope, 1.0]]), offset=(0.0, offset), order=1
    )
    assert np.allclose(pixels.shear(picture, slope, offset), expected, rtol=1e-6, atol=1e-5)


@given(grey(), st.integers(0, 300), st.integers(0, 300))
def test_enlarge(picture, more_rows, more_columns):
    height, width = picture.shape[0] + more_rows, picture.shape[1] + more_columns
    large = Image.fromarray(np.ascontiguousarray(picture)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    found = pixels.enlarge(picture, (height, width))
    assert found.dtype == np.float32
    assert np.allclose(found, np.asarray(large), rtol=1e-6, atol=1e-5)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_luma(picture):
    same(pixels.luma(picture), np.asarray(Image.fromarray(picture).convert("L")))
    same(pixels.luma(picture[:, ::-1]), pixels.luma(picture)[:, ::-1].copy())


@given(st.one_of(grey(), blots()), st.integers(0, 3), st.integers(0, 3))
def test_padded(picture, down, across):
    found = pixels.padded(picture, down, across)
    same(found, np.ascontiguousarray(np.pad(picture, ((down, down), (across, across)))))


# --- What hangs together


@given(st.one_of(blots(), MASKS), st.sampled_from([4, 8]))
def test_label(mask, neighbours):
    found = pixels.label(mask, neighbours=neighbours)
    expected, count = ndimage.label(mask, structure=EIGHT if neighbours == 8 else None)
    assert found.count == count
    same(found.labels, expected)
    places = ndimage.find_objects(expected)
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in places]
    assert found.boxes.shape == (count, 4)
    assert found.boxes.tolist() == [list(box) for box in boxes]
    assert found.areas.tolist() == np.bincount(expected.ravel())[1:].tolist()


def test_a_spiral_is_one_component():
    mask = np.zeros((201, 201), dtype=bool)
    row, column, step, down, right = 100, 100, 2, 0, 1
    while 0 < row < 200 and 0 < column < 200:
        for _ in range(step):
            mask[row, column] = True
            row, column = row + down, column + right
        down, right = right, -down
        step += 1
    assert pixels.label(mask, neighbours=4).count == 1
    same(pixels.label(mask).labels, mask.astype(np.int32))


@given(blots(), st.data())
def test_chosen_components(mask, data):
    found = pixels.label(mask)
    chosen = data.draw(arrays.arrays(np.bool_, found.count + 1))
    same(found.select(chosen), chosen[found.labels])


def test_as_many_are_chosen_from_as_there_are():
    found = pixels.label(np.eye(3, dtype=bool), neighbours=4)
    assert found.count == 3
    with pytest.raises(DataError, match=re.escape("expected bool (4,), got bool (3,)")):
        found.select(np.zeros(3, dtype=bool))
    with pytest.raises(DataError, match=re.escape("got int64 (4,)")):
        found.select(np.zeros(4, dtype=np.int64))


# --- Profiles


@given(blots(), arrays.arrays(np.float64, 5, elements=st.floats(-100, 100)), st.integers(1, 2000))
def test_profile_sharpness(mask, slopes, most):
    rows, columns = np.nonzero(mask)
    every = rows.size // most + 1 if rows.size > most else 1
    rows, columns = rows[::every], columns[::every]
    expected = []
    for slope in slopes:
        places = rows - slope * columns
        lowest = places.min() if places.size else 0
        counts = np.bincount((places - lowest).astype(np.int64)).astype(np.float64)
        expected.append(((counts[:-1] + counts[1:]) ** 2).sum())
    assert pixels.profile_sharpness(mask, slopes, most=most).tolist() == expected


def test_the_profile_of_lines_is_sharpest_along_them():
    mask = np.zeros((100, 120), dtype=bool)
    for column in range(120):
        mask[10 + column // 4 :: 20, column] = True
    slopes = np.arange(-8, 9) / 16
    assert slopes[pixels.profile_sharpness(mask, slopes, most=10_000).argmax()] == 0.25


# --- Distances


@given(st.one_of(blots(), MASKS))
def test_distance_transform(mask):
    mask = np.pad(mask, ((1, 0), (0, 0)))
    same(pixels.distance_transform_edt(mask), ndimage.distance_transform_edt(mask))


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_distance_to_one_pixel(shape, seed):
    rng = np.random.default_rng(seed)
    row, column = (int(rng.integers(side)) for side in shape)
    mask = np.ones(shape, dtype=bool)
    mask[row, column] = False
    down, right = np.mgrid[: shape[0], : shape[1]]
    same(pixels.distance_transform_edt(mask), np.sqrt((down - row) ** 2.0 + (right - column) ** 2))


# --- What comes in

CALLS = {
    "gaussian_filter": lambda picture: pixels.gaussian_filter(picture, 1.0),
    "uniform_filter": lambda picture: pixels.uniform_filter(picture, 3),
    "maximum_filter1d": lambda picture: pixels.maximum_filter1d(picture, 3, axis=0),
    "minimum_filter1d": lambda picture: pixels.minimum_filter1d(picture, 3, axis=1),
    "maximum_filter": lambda picture: pixels.maximum_filter(picture, 3),
    "grey_closing": lambda picture: pixels.grey_closing(picture, 3),
    "grey_dilation": lambda picture: pixels.grey_dilation(picture, 2),
    "binary_closing": lambda picture: pixels.binary_closing(picture, (3, 3)),
    "label": pixels.label,
    "distance_transform_edt": pixels.distance_transform_edt,
    "profile_sharpness": lambda picture: pixels.profile_sharpness(picture, np.zeros(1), most=9),
    "enlarge": lambda picture: pixels.enlarge(picture, (9, 9)),
    "luma": pixels.luma,
    "shear": lambda picture: pixels.shear(picture, 0.5, 0.0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (np.zeros((3, 4), dtype=np.float64), "float64 (3, 4)"),
        (np.zeros((3, 4, 1), dtype=np.float32), "float32 (3, 4, 1)"),
        (np.zeros(5, dtype=bool), "bool (5,)"),
        (np.zeros((0, 4), dtype=np.float32), "float32 (0, 4)"),
        (np.zeros((4, 0), dtype=bool), "bool (4, 0)"),
        (np.zeros((3, 4), dtype=">f4"), ">f4 (3, 4)"),
        ([[1.0, 2.0]], "no array"),
    ],
)
def test_another_array_is_refused(name, picture, got):
    words = f"{name}: expected .*height, width.*, got {re.escape(got)}$"
    with pytest.raises(DataError, match=words):
        CALLS[name](picture)


def sharpness(slopes, most=9):
    return pixels.profile_sharpness(MASK, np.array(slopes), most=most)


FLOATS = np.zeros((5, 5), dtype=np.float32)
MASK = np.zeros((5, 5), dtype=bool)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pixels.gaussian_filter(FLOATS, 0.0), "sigma must be above 0 .* got 0.0"),
        (lambda: pixels.gaussian_filter(FLOATS, float("nan")), "sigma must be .* got nan"),
        (lambda: pixels.gaussian_filter(FLOATS, 1.0, mode="wrap"), "unknown mode 'wrap'"),
        (lambda: pixels.uniform_filter(FLOATS, 0), "size must be .* 1 to 1,048,576, got 0"),
        (lambda: pixels.uniform_filter(FLOATS, 2.5), "size must be a whole number .* got 2.5"),
        (lambda: pixels.uniform_filter(FLOATS, 1 << 21), "size must be .* got 2097152"),
        (lambda: pixels.maximum_filter1d(FLOATS, -1, axis=0), "size must be .* got -1"),
        (lambda: pixels.minimum_filter1d(FLOATS, 3, axis=2), "axis must be 0 or 1, got 2"),
        (lambda: pixels.maximum_filter(FLOATS, 0), "size must be .* got 0"),
        (lambda: pixels.grey_closing(FLOATS, 4), "size must be odd, got 4"),
        (lambda: pixels.grey_dilation(FLOATS, -1), "reach must be .* 0 to 1,048,576, got -1"),
        (lambda: pixels.binary_closing(MASK, (3, 0)), "shape must be .* got 0"),
        (lambda: sharpness([0.0, 101.0]), "slopes must be at most 100 .* got 101.0"),
        (lambda: sharpness([float("nan")]), "slopes must be .* got nan"),
        (lambda: sharpness([0.0], most=0), "most must be at least 1, got 0"),
        (lambda: pixels.enlarge(FLOATS, (4, 9)), r"shape must be at least \(5, 5\).* got \(4, 9\)"),
        (lambda: pixels.enlarge(FLOATS, (5, 1 << 30)), "up to 2,147,483,647 pixels"),
        (lambda: pixels.label(MASK, neighbours=6), "neighbours must be 4 or 8, got 6"),
    ],
)
def test_a_window_that_is_none_is_refused(call, words):
    with pytest.raises(ConfigurationError, match=words):
        call()


def test_slopes_are_a_line_of_numbers():
    with pytest.raises(DataError, match=re.escape("float64 slopes (n,), got float32 (2,)")):
        pixels.profile_sharpness(MASK, np.zeros(2, dtype=np.float32), most=9)
    assert pixels.profile_sharpness(MASK, np.zeros(0), most=9).shape == (0,)


def test_a_distance_needs_something_to_be_distant_from():
    with pytest.raises(DataError, match="expected a false pixel"):
        pixels.distance_transform_edt(np.ones((3, 4), dtype=bool))


def test_the_module_itself_refuses_what_would_be_out_of_bounds():
    native = pixels._native
    with pytest.raises(ValueError, match="output of another shape"):
        native.mean(FLOATS, np.empty((5, 4), dtype=np.float32), 3)
    with pytest.raises(ValueError, match="output that is the input"):
        native.mean(FLOATS, FLOATS, 3)
    with pytest.raises(TypeError):
        native.mean(FLOATS, np.empty((5, 5)), 3)
    with pytest.raises(TypeError):
        native.mean(FLOATS, np.empty((5, 10), dtype=np.float32)[:, ::2], 3)
    with pytest.raises(ValueError, match="output of another shape"):
        native.profile_sharpness(MASK.view(np.uint8), np.empty(2), np.zeros(3), 9)
    with pytest.raises(ValueError, match="a slope that steep"):
        native.profile_sharpness(MASK.view(np.uint8), np.empty(1), np.array([1e300]), 9)
    with pytest.raises(ValueError, match="output of that shape"):
        native.enlarge(FLOATS, np.empty((5, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="output of another shape"):
        native.luma(np.zeros((5, 5, 3), dtype=np.uint8), np.empty((5, 4), dtype=np.uint8))
    labels = np.full((5, 5), 7, dtype=np.int32)
    labels[0] = -1
    chosen = np.empty((5, 5), dtype=np.uint8)
    native.select(labels, chosen, np.ones(7, dtype=np.uint8))
    assert not chosen.any()
    with pytest.raises(TypeError):
        native.label(FLOATS, np.empty((5, 5), dtype=np.int32), True)


def test_several_threads_may_work_at_once():
    picture = np.random.default_rng(1).normal(size=(300, 400)).astype(np.float32)
    expected = pixels.gaussian_filter(picture, 3.0), pixels.label(picture > 0).labels
    found = []

    def work():
        found.append((pixels.gaussian_filter(picture, 3.0), pixels.label(picture > 0).labels))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(threads)
    for pair in found:
        for one, other in zip(pair, expected, strict=True):
            assert np.array_equal(one, other)
