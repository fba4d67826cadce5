"""Changes against SciPy and known pictures; counts against a model that is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from inkproof import robustness
from inkproof.errors import ConfigurationError, DataError, UnknownNameError
from inkproof.robustness import CHANGES, MAX_DROP, changed, count_right, summarise

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (8, 12, 14, 1), dtype=np.uint8)
SMOOTH = np.rint(scipy.ndimage.gaussian_filter(NOISE.astype(float), (0, 2, 2, 0))).astype(np.uint8)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_and_no_strength(name, channels):
    images = RNG.integers(0, 256, (5, 9, 7, channels), dtype=np.uint8)
    before = images.copy()
    assert changed(images, name, 0) is images
    for strength in CHANGES[name].strengths[1:]:
        result = changed(images, name, strength)
        assert (result.shape, result.dtype) == (images.shape, np.uint8)
        assert (result == changed(images, name, strength)).all()
    assert (images == before).all()
    assert CHANGES[name].strengths[0] == 0
    assert list(CHANGES[name].strengths) == sorted(CHANGES[name].strengths)


def test_shifts_go_four_ways_and_keep_the_border():
    result = changed(NOISE, "shifted", 2)
    assert (result[0, :, 2:] == NOISE[0, :, :-2]).all()
    assert (result[0, :, 0] == NOISE[0, :, 0]).all()
    assert (result[1, 2:] == NOISE[1, :-2]).all()
    assert (result[2, :, :-2] == NOISE[2, :, 2:]).all()
    assert (result[3, :-2] == NOISE[3, 2:]).all()


@pytest.mark.parametrize(("row", "angle"), [(0, 20), (1, -20)])
def test_rotation_agrees_with_scipy(row, angle):
    ours = changed(SMOOTH, "rotated", 20)[row, ..., 0].astype(float)
    options = {"reshape": False, "order": 1, "mode": "nearest"}
    peers = [
        scipy.ndimage.rotate(SMOOTH[row, ..., 0].astype(float), turn, **options)
        for turn in (angle, -angle)
    ]
    distances = [np.abs(ours - peer).max() for peer in peers]
    assert min(distances) <= 1
    assert max(distances) > 1


def test_the_two_ways_are_each_other_s_opposite():
    one = changed(np.repeat(SMOOTH[:1], 2, axis=0), "rotated", 30)
    assert np.abs(one[0].astype(int) - one[1].astype(int)).max() > 1


@pytest.mark.parametrize(("row", "factor"), [(0, 0.8), (1, 1.2)])
def test_scaling_agrees_with_scipy(row, factor):
    ours = changed(SMOOTH, "scaled", 20)[row, ..., 0].astype(float)
    middle = (np.array(SMOOTH.shape[1:3]) - 1) / 2
    peer = scipy.ndimage.affine_transform(
        SMOOTH[row, ..., 0].astype(float),
        np.eye(2) / factor,
        middle - middle / factor,
        order=1,
        mode="nearest",
    )
    assert np.abs(ours - peer).max() <= 1


def stroke(ink):
    images = np.full((1, 11, 11, 1), 255 - ink, dtype=np.uint8)
    images[0, 3:8, 5] = ink
    return images


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_grows_and_shrinks_whichever_it_is(ink):
    images = stroke(ink)
    assert (changed(images, "thickened", 1) == ink).sum() == 5 * 3 + 2
    assert (changed(images, "thinned", 1) == ink).sum() == 0
    half = changed(images, "thickened", 0.5)
    assert half[0, 5, 4, 0] in (127, 128)


def test_blur_agrees_with_scipy():
    ours = changed(NOISE, "blurred", 1.5)
    peer = scipy.ndimage.gaussian_filter(NOISE[3, ..., 0].astype(float), 1.5, mode="nearest")
    assert np.abs(ours[3, ..., 0] - peer).max() <= 0.51


def test_noise_has_its_standard_deviation():
    grey = np.full((50, 28, 28, 1), 128, dtype=np.uint8)
    noise = changed(grey, "noised", 20).astype(float) - 128
    assert noise.std() == pytest.approx(20, rel=0.02)
    assert abs(noise.mean()) < 0.5
    again = changed(grey, "noised", 40).astype(float) - 128
    assert np.corrcoef(noise.ravel(), again.ravel())[0, 1] > 0.99


def test_contrast_and_inversion():
    low = changed(NOISE, "low contrast", 75)
    assert low.std(axis=(1, 2)) == pytest.approx(0.25 * NOISE.std(axis=(1, 2)), abs=0.5)
    assert low.mean() == pytest.approx(NOISE.mean(), abs=0.6)
    assert (changed(NOISE, "inverted", 100) == 255 - NOISE).all()


class Brightness:
    """Says class 1 where an image is bright on average."""

    def predict(self, images):
        bright = images.mean(axis=(1, 2, 3)) > 127
        return np.eye(2, dtype=np.float32)[bright.astype(int)]


def test_counts():
    images = np.zeros((30, 6, 6, 1), dtype=np.uint8)
    images[::3] = 255
    labels = (np.arange(30) % 3 == 0).astype(np.int64)
    n, right = count_right(Brightness(), images, labels)
    assert n == 30
    assert right["inverted"] == [30, 0]
    assert right["shifted"] == [30] * 5
    n, right = count_right(Brightness(), images, labels, most=7)
    assert (n, right["inverted"]) == (7, [7, 0])


def test_of_more_images_evenly_spread_ones_are_taken():
    images = np.zeros((30, 6, 6, 1), dtype=np.uint8)
    images[15:] = 255  # which it gets wrong
    n, right = count_right(Brightness(), images, np.zeros(30, dtype=np.int64), most=6)
    assert (n, right["shifted"], right["inverted"]) == (6, [3] * 5, [3, 3])


def test_counts_again_what_it_has_changed_before_but_nothing_else():
    images = np.zeros((4, 6, 6, 1), dtype=np.uint8)
    labels = np.zeros(4, dtype=np.int64)
    first = count_right(Brightness(), images, labels)
    assert count_right(Brightness(), images, labels) == first
    images[0] = 255
    assert count_right(Brightness(), images, labels)[1]["inverted"] == [3, 1]


def test_over_runs():
    counts = {name: [100] * len(change.strengths) for name, change in CHANGES.items()}
    worse = counts | {"rotated": [96, 86, 70, 50, 20]}
    found = summarise([worse, worse, counts], 100, name="m")
    by_name = {curve.name: curve for curve in found.curves}
    assert by_name["rotated"].accuracies[1].value == pytest.approx((0.86 + 0.86 + 1) / 3)
    assert by_name["rotated"].accuracies[1].over == "runs"
    (finding,) = found.findings
    assert (finding.code, finding.status) == ("IPR001", "failed")
    assert finding.evidence["drops"]["rotated"] > MAX_DROP
    assert finding.explanation == (
        "m: Small changes cost more than 5 points (rotated by 10 degrees: 6.67). Most is lost where"
        " images are rotated: 46.7 % right at 45 degrees, 97.3 % without."
    )


@given(right=st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_no_interval_leaves_0_to_1_or_has_no_width(right):
    runs = [
        {name: [at] * len(change.strengths) for name, change in CHANGES.items()} for at in right
    ]
    for curve in summarise(runs, 20).curves:
        for one in curve.accuracies:
            assert 0 <= one.low <= one.value <= one.high <= 1
            assert one.low < one.high
            assert one.over == ("images" if len(set(right)) == 1 else "runs")


def test_one_pixel_is_not_one_pixels():
    counts = {name: [100] * len(change.strengths) for name, change in CHANGES.items()}
    worse = counts | {"shifted": [100, 80, 70, 60, 50], "thinned": [100, 90, 80, 70, 20]}
    assert summarise([worse], 100).findings[0].explanation == (
        "Small changes cost more than 5 points (shifted by 1 pixel: 20.00; thinned by 0.25 pixels:"
        " 10.00). Most is lost where images are thinned: 20.0 % right at 1 pixel, 100.0 % without."
    )


def test_one_run_that_bears_everything():
    counts = {name: [100] * len(change.strengths) for name, change in CHANGES.items()}
    found = summarise([counts], 100)
    assert found.findings[0].status == "passed"
    assert found.curves[0].accuracies[0].over == "images"


def test_refuses():
    with pytest.raises(UnknownNameError, match="unknown change 'rotate'"):
        changed(NOISE, "rotate", 1)
    with pytest.raises(ConfigurationError, match="strength must be at least 0, got -1"):
        changed(NOISE, "rotated", -1)
    with pytest.raises(DataError, match="expected uint8"):
        changed(NOISE[..., 0], "rotated", 1)
    with pytest.raises(DataError, match="a label for each of at least one image"):
        count_right(Brightness(), NOISE, np.zeros(3, dtype=np.int64))
    with pytest.raises(DataError, match="expected at least one run, got none"):
        summarise([], 10)
    with pytest.raises(DataError, match="expected 5 counts of shifted a run"):
        summarise([{}], 10)


def test_public_names():
    assert {"changed", "CHANGES"} <= set(robustness.__all__) <= set(vars(robustness))
