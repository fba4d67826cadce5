"""Augmentation against float64 NumPy, against SciPy, as distributions, and against bad input."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

import reference_augmentation as reference
from inkproof import Augmentation, engine
from inkproof.engine.augment import augment
from inkproof.errors import ConfigurationError, ModelError, UnknownNameError

VARIANTS = engine.variants()
TOLERANCE = 1e-3 * 255
LEVEL = 1e-6  # of each test of a distribution: how often it fails though all is well
KINDS = {
    "shift": Augmentation(shift=3),
    "rotation": Augmentation(rotation=30),
    "scale": Augmentation(scale=0.3),
    "shear": Augmentation(shear=0.5),
    "elastic": Augmentation(elastic=2.0),
    "cutout": Augmentation(cutout=0.4),
    "all": Augmentation(
        shift=2, rotation=15, scale=0.1, shear=0.2, elastic=1, cutout=0.3, fill=7, probability=0.9
    ),
}


def apply(images, wanted, *, seed=0, epoch=1, rows=None, isa=None):
    numbers = np.arange(len(images)) if rows is None else rows
    return augment(
        images,
        wanted.engine_options(),
        seed=seed,
        epoch=epoch,
        rows=np.asarray(numbers, dtype=np.uint32),
        isa=isa,
    )


def expected(images, wanted, *, seed=0, epoch=1, rows=None):
    numbers = range(len(images)) if rows is None else rows
    options = wanted.engine_options()
    return np.stack(
        [
            reference.augmented(image, options, seed=seed, epoch=epoch, row=int(row))
            for image, row in zip(images, numbers, strict=True)
        ]
    )


def noise(shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


sides = st.one_of(st.integers(1, 33), st.sampled_from([64]))
shapes = st.tuples(st.integers(1, 3), sides, sides, st.sampled_from([1, 2, 3, 5]))
seeds = st.integers(0, 2**64 - 1)
words = st.integers(0, 2**32 - 1)


def off_or(largest):
    return st.one_of(st.just(0.0), st.floats(0, largest))


augmentations = st.builds(
    Augmentation,
    shift=off_or(40),
    rotation=off_or(180),
    scale=off_or(0.9),
    shear=off_or(2),
    elastic=off_or(20),
    elastic_grid=st.integers(2, 32),
    cutout=off_or(1),
    fill=st.floats(0, 255, width=32, allow_subnormal=False),  # arithmetic makes them zero
    probability=st.sampled_from([0.0, 0.5, 1.0]),
)


# --- Against references ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # Random123's kat_vectors, "philox4x32 10"
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_the_reference_draws_philox_numbers_as_published(counter, key, words):
    def numbers(text):
        return tuple(int(word, 16) for word in text.split())

    assert tuple(reference.philox(numbers(key), numbers(counter))) == numbers(words)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(20, 28, 28, 1), (10, 32, 32, 3), (5, 64, 64, 3)])
def test_each_kind_is_that_of_float64(isa, kind, shape):
    images = noise(shape)
    found = apply(images, KINDS[kind], seed=2**40 + 1, epoch=3, isa=isa)
    want = expected(images, KINDS[kind], seed=2**40 + 1, epoch=3)
    assert np.abs(found - want).max() <= TOLERANCE
    assert np.abs(found - images).max() > 1, "something was changed"


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=60)
@given(
    shape=shapes,
    wanted=augmentations,
    seed=seeds,
    epoch=words,
    row=words,
    dtype=st.sampled_from([np.uint8, np.float32]),
)
def test_any_shape_is_that_of_float64(isa, shape, wanted, seed, epoch, row, dtype):
    images = noise(shape, seed=row, dtype=dtype)
    rows = (row + np.arange(len(images))) % 2**32
    found = apply(images, wanted, seed=seed, epoch=epoch, rows=rows, isa=isa)
    want = expected(images, wanted, seed=seed, epoch=epoch, rows=rows)
    assert np.abs(found - want).max() <= TOLERANCE


@pytest.mark.parametrize("isa", VARIANTS)
def test_interpolation_is_scipys(isa):
    wanted = Augmentation(shift=4, rotation=40, scale=0.3, shear=0.3, elastic=2, fill=99)
    images = noise((20, 24, 31, 3))
    found = apply(images, wanted, isa=isa)
    for row, image in enumerate(images):
        x, y = reference.sources(image.shape, wanted.engine_options(), 0, 1, row)
        for channel in range(3):
            want = ndimage.map_coordinates(
                image[..., channel].astype(float), [y, x], order=1, mode="grid-constant", cval=99
            )
            assert np.abs(found[row, ..., channel] - want).max() <= TOLERANCE


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("places", [1, 2, 5, 28])
@pytest.mark.parametrize("grid", [2, 3, 7])
def test_elastic_displacements_are_scipys_spline(isa, places, grid):
    wanted = Augmentation(elastic=1.5, elastic_grid=grid)
    points = 3 * reference.normals((grid + 2) ** 2, 0, 1, 0).reshape(grid + 2, grid + 2, 2)
    at = np.linspace(0, grid - 1, places) + 1 if places > 1 else np.ones(1)
    y, x = np.meshgrid(at, at, indexing="ij")
    spread = [
        ndimage.map_coordinates(points[..., axis], [y, x], order=3, prefilter=False, mode="mirror")
        for axis in range(2)
    ]
    rows, columns = np.mgrid[:places, :places]
    want = ndimage.map_coordinates(
        noise((places, places)).astype(float),
        [rows + spread[1], columns + spread[0]],
        order=1,
        mode="grid-constant",
    )
    found = apply(noise((places, places)).reshape(1, places, places, 1), wanted, isa=isa)
    assert np.abs(found[0, ..., 0] - want).max() <= TOLERANCE


def test_mixup_reference_is_a_mean_of_partners():
    rng = np.random.default_rng(0)
    images, targets = rng.random((4, 2, 2, 1)), np.eye(4)
    mixed, labels = reference.mixed(images, targets, [1, 0, 0.25, 0.5], [1, 2, 3, 3])
    np.testing.assert_array_equal(mixed[:2], images[[0, 2]])
    np.testing.assert_allclose(mixed[2], images[2] / 4 + images[3] * 3 / 4)
    np.testing.assert_array_equal(labels[2], [0, 0, 0.25, 0.75])
    np.testing.assert_array_equal(mixed[3], images[3])
    np.testing.assert_allclose(labels.sum(axis=1), 1)


# --- As distributions -----------------------------------------------------------------------------

COUNT = 2000


def ramps(size):
    """Images that show where each pixel comes from: x, y, and 1 for inside."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    one = np.stack([x, y, np.ones_like(x)], axis=-1)
    return np.broadcast_to(one, (COUNT, size, size, 3)).copy()


def recovered(images):
    """The parameters of each image's affine map, from what it did to :func:`ramps`."""
    size = images.shape[1]
    y, x = np.mgrid[:size, :size]
    centre = (size - 1) / 2
    places = np.stack([x - centre, y - centre, np.ones_like(x)], axis=-1).astype(float)
    found = []
    for image in images.astype(float):
        inside = image[..., 2] > 1 - 1e-6
        fit, *_ = np.linalg.lstsq(places[inside], image[inside][:, :2] - centre, rcond=None)
        forward = np.linalg.inv(fit[:2].T)
        shift = -forward @ fit[2]
        scale = np.sqrt(np.linalg.det(forward))
        angle = np.arctan2(-forward[1, 0], forward[0, 0])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        shear = (turn.T @ forward / scale)[0, 1]
        found.append([*shift, np.degrees(angle), scale - 1, shear])
    return np.array(found).T


def assert_uniform(numbers, limit):
    assert np.abs(numbers).max() <= limit * (1 + 1e-4)
    assert stats.kstest(numbers, "uniform", args=(-limit, 2 * limit)).pvalue > LEVEL


@pytest.mark.parametrize("seed", [0, 2**63 + 5])
def test_the_affine_map_is_uniform_in_its_ranges(seed):
    wanted = Augmentation(shift=3, rotation=25, scale=0.2, shear=0.4)
    found = recovered(apply(ramps(25), wanted, seed=seed))
    for numbers, limit in zip(found, (3, 3, 25, 0.2, 0.4), strict=True):
        assert_uniform(numbers, limit)
    for i in range(len(found)):
        for j in range(i):
            assert stats.pearsonr(found[i], found[j]).pvalue > LEVEL, "drawn independently"


@pytest.mark.parametrize("kind", [0, 2, 3, 4])
def test_one_range_leaves_the_others_alone(kind):
    ranges = {0: {"shift": 2.5}, 2: {"rotation": 170.0}, 3: {"scale": 0.5}, 4: {"shear": 1.0}}
    [limit] = ranges[kind].values()
    found = recovered(apply(ramps(25), Augmentation(**ranges[kind])))
    assert_uniform(found[kind], limit)
    others = [i for i in range(5) if i != kind and not (kind == 0 and i == 1)]
    assert np.abs(found[others]).max() < 1e-3


def test_a_point_moves_by_a_uniform_shift():
    """Bilinear interpolation keeps a point's centre of mass."""
    images = np.zeros((COUNT, 15, 15, 1), dtype=np.float32)
    images[:, 7, 7] = 1
    found = apply(images, Augmentation(shift=5))[..., 0]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, atol=1e-5)
    assert_uniform((found.sum(axis=1) * np.arange(15)).sum(axis=1) - 7, 5)
    assert_uniform((found.sum(axis=2) * np.arange(15)).sum(axis=1) - 7, 5)


def test_a_positive_rotation_is_counter_clockwise():
    images = np.zeros((COUNT, 21, 21, 1), dtype=np.float32)
    images[:, 10, 18] = 1  # right of the centre
    wanted = Augmentation(rotation=45)
    found = apply(images, wanted)[..., 0]
    above = found[:, :10].sum(axis=(1, 2)) > found[:, 11:].sum(axis=(1, 2))
    options = wanted.engine_options()
    angles = [reference.draws(options, 0, 1, row)["rotation"] for row in range(COUNT)]
    clear = np.abs(angles) > 3
    np.testing.assert_array_equal(above[clear], (np.array(angles) > 0)[clear])


@pytest.mark.parametrize("place", [(14, 14), (14, 10), (9, 9)])
def test_elastic_displacements_are_normal(place):
    """Of the size that was asked for at a knot, and a little smaller between knots."""
    row, column = place
    moved = apply(ramps(29), Augmentation(elastic=1.2, elastic_grid=3))[:, row, column, :2]
    moved = moved.astype(float) - [column, row]
    variance = 1.0
    for at in (row / 14, column / 14):
        variance *= (reference.spline(at - np.arange(-1, 4)) ** 2).sum()
    deviation = 1.2 * 2 * np.sqrt(variance)
    assert place != (14, 14) or deviation == pytest.approx(1.2)
    assert 0.9 * 1.2 < deviation <= 1.2 + 1e-9
    for axis in range(2):
        assert stats.kstest(moved[:, axis], "norm", args=(0, deviation)).pvalue > LEVEL
    assert stats.pearsonr(moved[:, 0], moved[:, 1]).pvalue > LEVEL


@pytest.mark.parametrize(("share", "side"), [(0.3, 3), (0.4, 4), (0.01, 1), (1.0, 9)])
def test_cutouts_lie_anywhere(share, side):
    height, width = 9, 13
    images = np.ones((COUNT, height, width, 2), dtype=np.float32)
    found = apply(images, Augmentation(cutout=share, fill=-5))
    assert set(np.unique(found)) == {-5, 1}
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    holes = found[..., 0] == -5
    for axis, size in ((1, width), (2, height)):
        line = holes.any(axis=axis)
        assert (line[:, :, None] & line[:, None, :]).any(axis=(1, 2)).all()
        first, last = line.argmax(axis=1), size - 1 - line[:, ::-1].argmax(axis=1)
        assert (line.sum(axis=1) == last - first + 1).all(), "without gaps"
        start = np.where(first > 0, first, last + 1 - side)
        whole = (first == 0) & (last == size - 1)  # as large as the image: any centre may be right
        if whole.any():
            continue
        counts = np.bincount(start + side // 2, minlength=size)
        assert len(counts) == size
        assert stats.chisquare(counts).pvalue > LEVEL
    areas = holes.any(axis=2).sum(axis=1) * holes.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(holes.sum(axis=(1, 2)), areas)
    assert areas.max() <= side**2


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.97])
def test_images_are_touched_with_the_probability_asked_for(probability):
    images = noise((COUNT, 8, 8, 1))
    found = apply(images, Augmentation(shift=2, probability=probability))
    touched = int((found != images).any(axis=(1, 2, 3)).sum())
    assert stats.binomtest(touched, COUNT, probability).pvalue > LEVEL


# --- Against itself -------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=30)
@given(shape=shapes, seed=seeds, data=st.data())
def test_nothing_asked_for_is_nothing_done(isa, shape, seed, data):
    nothing = data.draw(
        st.sampled_from(
            [
                Augmentation(),
                Augmentation(fill=3, elastic_grid=7, mixup=1),
                Augmentation(shift=3, rotation=20, elastic=2, cutout=0.5, probability=0),
            ]
        )
    )
    assert not nothing.changes_images
    floats = np.random.default_rng(seed % 1000).normal(size=shape).astype(np.float32)
    floats.flat[0] = data.draw(st.sampled_from([-0.0, 1e-42, 3e38, np.inf]))
    assert apply(floats, nothing, seed=seed, isa=isa).tobytes() == floats.tobytes()
    pixels = noise(shape)
    np.testing.assert_array_equal(apply(pixels, nothing, seed=seed, isa=isa), pixels)
    assert nothing.preview(pixels).tobytes() == pixels.tobytes()


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=30)
@given(shape=shapes, wanted=augmentations, seed=seeds, cut=st.integers(0, 3))
def test_batches_change_no_bit(isa, shape, wanted, seed, cut):
    images = noise(shape)
    rows = np.arange(len(images)) + 5
    whole = apply(images, wanted, seed=seed, rows=rows, isa=isa)
    again = apply(images[::-1].copy(), wanted, seed=seed, rows=rows[::-1], isa=isa)[::-1]
    assert whole.tobytes() == again.tobytes()
    parts = [
        apply(images[part], wanted, seed=seed, rows=rows[part], isa=isa)
        for part in (slice(None, cut), slice(cut, None))
    ]
    assert whole.tobytes() == np.concatenate(parts).tobytes()
    floats = apply(images.astype(np.float32), wanted, seed=seed, rows=rows, isa=isa)
    assert whole.tobytes() == floats.tobytes()


def test_threads_change_no_bit():
    images = noise((64, 28, 28, 1))
    whole = apply(images, KINDS["all"])
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda row: apply(images[row : row + 1], KINDS["all"], rows=[row]), range(64))
        )
    assert np.concatenate(found).tobytes() == whole.tobytes()


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=30)
@given(shape=shapes, wanted=augmentations)
def test_channels_move_together(isa, shape, wanted):
    grey = noise((*shape[:3], 1))
    colour = apply(np.repeat(grey, 3, axis=-1), wanted, isa=isa)
    for channel in range(3):
        assert colour[..., channel].tobytes() == apply(grey, wanted, isa=isa)[..., 0].tobytes()


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=30)
@given(shape=shapes, wanted=augmentations)
def test_an_image_of_the_fill_stays_as_it_is(isa, shape, wanted):
    fill = np.float32(wanted.fill)
    found = apply(np.full(shape, fill), wanted, isa=isa)
    np.testing.assert_array_equal(found, fill)


def test_seed_epoch_and_row_change_the_draw():
    images = np.repeat(noise((1, 28, 28, 1)), 3, axis=0)
    found = [
        *apply(images, KINDS["shift"]),
        *apply(images, KINDS["shift"], epoch=2),
        *apply(images, KINDS["shift"], seed=1),
        *apply(images, KINDS["shift"], seed=1 << 32),
    ]
    assert len({image.tobytes() for image in found}) == len(found)


@pytest.mark.parametrize("isa", VARIANTS)
def test_the_largest_values_stay_inside(isa):
    wanted = Augmentation(
        shift=4096, rotation=180, scale=0.9, shear=10, elastic=4096, elastic_grid=32, cutout=1
    )
    for shape in [(50, 1, 1, 1), (50, 28, 28, 1), (20, 64, 3, 3), (3, 200, 300, 1)]:
        found = apply(noise(shape), wanted, isa=isa)
        assert found.min() >= 0
        assert found.max() <= 255


# --- The Python side ------------------------------------------------------------------------------


def test_preview_is_what_the_engine_does():
    images = noise((5, 28, 28, 1))
    found = KINDS["all"].preview(images, seed=3, epoch=2)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.rint(apply(images, KINDS["all"], seed=3, epoch=2)))
    floats = images.astype(np.float32)
    as_floats = KINDS["all"].preview(floats, seed=3, epoch=2)
    assert as_floats.tobytes() == apply(images, KINDS["all"], seed=3, epoch=2).tobytes()
    np.testing.assert_array_equal(images, noise((5, 28, 28, 1)))


def test_preview_takes_views_and_no_images():
    images = noise((6, 20, 28, 3))
    found = KINDS["all"].preview(images[:, ::2, ::-1])
    want = KINDS["all"].preview(images[:, ::2, ::-1].copy())
    np.testing.assert_array_equal(found, want)
    assert KINDS["all"].preview(images[:0]).shape == (0, 20, 28, 3)


def test_a_fill_beyond_a_byte_is_clipped_in_a_preview():
    images = noise((2, 5, 5, 1))
    assert KINDS["cutout"].preview(images).dtype == np.uint8
    assert (Augmentation(cutout=1.0, fill=1e9).preview(images) == 255).any()
    assert (Augmentation(cutout=1.0, fill=-1e9).preview(images) == 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_config_makes_an_equal_one(kind):
    wanted = KINDS[kind]
    assert Augmentation.from_config(json.loads(json.dumps(wanted.config()))) == wanted
    assert pickle.loads(pickle.dumps(wanted)) == wanted  # noqa: S301
    assert wanted.changes_images


def test_defaults_are_off():
    assert Augmentation.from_config({}) == Augmentation()
    assert not Augmentation(mixup=0.2).changes_images


def test_the_engines_options():
    options = KINDS["all"].engine_options()
    assert options == {
        "shift_x": 2.0,
        "shift_y": 2.0,
        "rotation": 15.0,
        "scale": 0.1,
        "shear": 0.2,
        "elastic": 1.0,
        "elastic_grid": 4.0,
        "cutout": 0.3,
        "fill": 7.0,
        "probability": 0.9,
    }
    assert all(type(value) is float for value in options.values())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shift": -1}, "augmentation.shift must be a number from 0 to 4096, got -1"),
        ({"shift": float("nan")}, "augmentation.shift must be a number from 0 to 4096, got nan"),
        ({"rotation": 181}, "augmentation.rotation must be a number from 0 to 180, got 181"),
        ({"scale": 1.0}, "augmentation.scale must be a number from 0 to 0.9, got 1.0"),
        ({"shear": "a"}, "augmentation.shear must be a number from 0 to 10, got 'a'"),
        ({"elastic": True}, "augmentation.elastic must be a number from 0 to 4096, got True"),
        ({"elastic": None}, "augmentation.elastic must be a number from 0 to 4096, got None"),
        (
            {"elastic_grid": 1},
            "augmentation.elastic_grid must be a whole number from 2 to 32, got 1",
        ),
        (
            {"elastic_grid": 4.0},
            "augmentation.elastic_grid must be a whole number from 2 to 32, got 4.0",
        ),
        ({"cutout": 1.5}, "augmentation.cutout must be a number from 0 to 1, got 1.5"),
        ({"fill": 1e31}, "augmentation.fill must be a number from -1e+30 to 1e+30, got 1e+31"),
        ({"probability": 2}, "augmentation.probability must be a number from 0 to 1, got 2"),
        ({"mixup": -0.1}, "augmentation.mixup must be a number from 0 to 1000, got -0.1"),
        ({"shift": 10**400}, "augmentation.shift must be a number from 0 to 4096, got 1000"),
    ],
)
def test_values_out_of_range(values, message):
    with pytest.raises(ConfigurationError) as error:
        Augmentation(**values)
    assert str(error.value).startswith(message)
    with pytest.raises(ConfigurationError) as error:
        Augmentation.from_config(values, where="mine.toml: augmentation")
    assert str(error.value).startswith("mine.toml: " + message)


def test_a_key_that_does_not_exist():
    with pytest.raises(UnknownNameError, match=r"augmentation: unknown key 'rotate'.*'rotation'"):
        Augmentation.from_config({"rotate": 3})
    with pytest.raises(ConfigurationError, match=r"augmentation must be a table .* got 3"):
        Augmentation.from_config(3)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((3, 28, 28), np.uint8),
        np.zeros((3, 28, 28, 1), np.int64),
        np.zeros((3, 28, 28, 1), np.float64),
        np.zeros((3, 0, 28, 1), np.uint8),
        np.zeros((3, 28, 28, 0), np.uint8),
        np.zeros((1, 1, 5000, 1), np.uint8),
        np.zeros((), np.uint8),
    ],
)
def test_images_of_another_form(images):
    with pytest.raises(ModelError) as error:
        KINDS["all"].preview(images)
    assert str(error.value).startswith(
        "augmentation expects uint8 or float32 (n, height, width, channels) in C order, "
        "sides 1 to 4,096, 1 to 64 channels, got "
    )


def test_keys_out_of_range():
    images = noise((2, 4, 4, 1))
    options = KINDS["all"].engine_options()
    rows = np.arange(2, dtype=np.uint32)
    with pytest.raises(ConfigurationError, match=r"^seed must be a whole number from 0 to"):
        KINDS["all"].preview(images, seed=-1)
    with pytest.raises(ConfigurationError, match=r"^epoch must be a whole number from 1 to"):
        KINDS["all"].preview(images, epoch=0)
    with pytest.raises(ConfigurationError, match=r"^seed must be .* 2\*\*64 - 1, got -1$"):
        augment(images, options, seed=-1, epoch=1, rows=rows)
    with pytest.raises(ConfigurationError, match=r"^epoch must be .* 2\*\*32 - 1, got 4294967296$"):
        augment(images, options, seed=0, epoch=2**32, rows=rows)
    with pytest.raises(ModelError, match=r"expects uint32 rows \(2,\), got int64 \(2,\)"):
        augment(images, options, seed=0, epoch=1, rows=np.arange(2))
    with pytest.raises(ModelError, match="in C order"):
        augment(images.transpose(0, 2, 1, 3), options, seed=0, epoch=1, rows=rows)
    with pytest.raises(UnknownNameError, match="isa: unknown engine variant 'v9'"):
        augment(images, options, seed=0, epoch=1, rows=rows, isa="v9")


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys; from inkproof import Augmentation; Augmentation(shift=2).config();"
        "print([name for name in ('pandas', 'matplotlib', 'scipy', 'inkproof.engine')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
