"""The model that ships is what its card says, and its data are what they should be."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import inkproof as ip
from inkproof.photo.reader import SHIPPED, Reader

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import make_handwriting  # noqa: E402
from handwriting import glyphs, nothing, pens, photos, shapes  # noqa: E402

import rejects  # noqa: E402

CARD = SHIPPED.parent / "README.md"


# --- The model


@pytest.fixture(scope="module")
def reader():
    return Reader.load()


@pytest.fixture(scope="module")
def card():
    """Each row of the card's table: value and interval in per cent, and how many images."""
    text = CARD.read_text()
    row = re.compile(r"^\| ([^|]+) \| ([\d.]+) % \[([\d.]+), ([\d.]+)\] \| ([\d,]+) \|$", re.M)
    return {
        what.strip(): (float(value), float(low), float(high), int(n.replace(",", "")))
        for what, value, low, high, n in row.findall(text)
    }


def test_the_shipped_files_are_in_the_repository_and_small():
    tracked = subprocess.run(
        ["git", "ls-files", "src/inkproof/shipped"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("not a git repository")
    assert {Path(line).name for line in tracked.stdout.split()} == {
        "README.md",
        "handwriting.calibration.json",
        "handwriting.safetensors",
    }
    assert SHIPPED.stat().st_size <= 2_000_000


def test_the_model_is_the_one_on_its_card(reader):
    text = CARD.read_text()
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert reader.calibration.model_sha256 == digest
    assert digest in text
    assert f"{reader.model.count_params():,} parameters" in text
    assert f"{SHIPPED.stat().st_size:,} bytes" in text
    assert f"temperature {reader.calibration.temperature:g}" in text
    assert f"threshold {reader.calibration.threshold:g}" in text
    assert reader.model.class_names == (*"0123456789", "none")
    assert reader.knows_none


def test_the_model_is_the_network_of_its_study(reader):
    from inkproof.study_file import Study

    study = Study.from_file(ROOT / "studies" / "handwriting.toml")
    (planned,) = study.models
    assert [layer.kind for layer in planned.layers] == [layer.kind for layer in reader.model.layers]
    fresh = ip.Model(planned.layers, input_shape=(28, 28, 1))
    assert fresh.count_params() == reader.model.count_params()


def test_mnist_is_read_as_the_card_says(reader, card):
    test = ip.load("mnist").test
    readings = reader.read(test.images[..., 0])
    right = np.array([one.digit for one in readings]) == test.labels
    passed = np.array([one.is_digit for one in readings])
    for what, hits in (("MNIST test: digit right", right), ("MNIST test: passes", passed)):
        value, low, high, n = card[what]
        assert n == len(test)
        # Another processor may round a doubtful image or two to the other side.
        assert 100 * hits.mean() == pytest.approx(value, abs=0.03)
        assert low < value < high
    assert passed.mean() >= 0.99


def test_probabilities_are_as_good_as_they_say(reader):
    test = ip.load("mnist").test
    readings = reader.read(test.images[:4000, ..., 0])
    sure = np.array([one.probability for one in readings])
    right = np.array([one.digit for one in readings]) == test.labels[:4000]
    assert abs(sure.mean() - right.mean()) < 0.01


@pytest.mark.parametrize("kind", ["blank", "noise", "scribbles", "font letters", "pairs"])
def test_what_is_no_digit_is_turned_down(reader, kind, mnist_digits):
    rng = np.random.default_rng(99)
    fonts = glyphs.training_font_files()
    drawn = np.stack([nothing.draw(kind, rng, mnist_digits, fonts) for _ in range(60)])
    down = [not one.is_digit for one in reader.read(drawn)]
    assert np.mean(down) > 0.8


def test_an_empty_image_is_no_digit(reader):
    (one,) = reader.read(np.zeros((1, 28, 28), np.uint8))
    assert not one.is_digit


def test_digits_of_another_pen_are_read(reader):
    rng = np.random.default_rng(5)
    drawn = [make_handwriting.drawn_digit(rng, digit) for digit in range(10) for _ in range(20)]
    readings = reader.read(np.stack([image for image, _ in drawn]))
    right = [one.digit == digit for one, (_, digit) in zip(readings, drawn, strict=True)]
    assert np.mean(right) > 0.9


# --- Its data


@pytest.fixture(scope="module")
def mnist_digits():
    train = ip.load("mnist").train
    return {digit: train.images[train.labels == digit][:50, ..., 0] for digit in range(10)}


@pytest.fixture(scope="module")
def made():
    return make_handwriting.make(0.002, jobs=1)


def test_the_data_are_reproducible_whatever_the_number_of_processes(made):
    again = make_handwriting.make(0.002, jobs=2)
    assert made.keys() == again.keys()
    for key, array in made.items():
        assert np.array_equal(array, again[key]), key


def test_the_data_are_loaded_with_their_names(made, tmp_path):
    np.savez(tmp_path / "small.npz", **made)
    dataset = ip.load(tmp_path / "small.npz")
    assert dataset.class_names == (*"0123456789", "none")
    assert dataset.train.image_shape == (28, 28, 1)
    assert set(dataset.train.labels.tolist()) == set(range(11))
    assert set(dataset.test.labels.tolist()) > {10}


def test_validation_digits_do_not_train_and_test_images_do_neither(made):
    (train, _), (kept, _) = make_handwriting.mnist_parts()
    assert len(train) == 55_000
    assert len(kept) == 5_000

    def bytes_of(images):
        return {image.tobytes() for image in images}

    original = bytes_of(ip.load("mnist").train.images)
    assert bytes_of(train) | bytes_of(kept) == original
    assert not bytes_of(train) & bytes_of(kept)
    test = bytes_of(ip.load("mnist").test.images)
    assert not (bytes_of(made["x_train"]) | bytes_of(made["x_test"])) & test
    assert not bytes_of(made["x_train"][:110]) & bytes_of(kept)


@pytest.mark.parametrize("kind", list(nothing.KINDS))
def test_each_kind_of_non_digit_is_drawn_alike_for_one_seed(kind, mnist_digits):
    fonts = glyphs.training_font_files()

    def some(seed):
        rng = np.random.default_rng(seed)
        return np.stack([nothing.draw(kind, rng, mnist_digits, fonts) for _ in range(12)])

    first = some(1)
    assert first.shape == (12, 28, 28)
    assert first.dtype == np.uint8
    assert np.array_equal(first, some(1))
    assert not np.array_equal(first, some(2))


def test_shares_add_up_and_look_alikes_are_left_out():
    assert sum(share for share, _ in nothing.KINDS.values()) == pytest.approx(1)
    assert not set(shapes.TRAINED_LETTERS) & set(shapes.LOOK_ALIKES)
    assert not set("".join(shapes.LETTERS)) & set(shapes.LOOK_ALIKES) - set("i")  # fi is a pair
    assert set("OoIlSsZzBb") <= set(shapes.LOOK_ALIKES)


def test_fonts_have_what_is_drawn_with_them():
    files = glyphs.training_font_files()
    assert all(path.is_file() for path in files)
    for path in files:
        assert glyphs.has_glyph(path, shapes.TRAINED_LETTERS + "0123456789")
    assert glyphs.has_glyph(files[0], shapes.OTHER_LETTERS)
    assert not glyphs.has_glyph(files[0], "漢")


@pytest.mark.parametrize("width", [3.0, 16.0])
def test_another_pen_keeps_the_shape(width):
    rng = np.random.default_rng(3)
    ink = pens.draw_path(shapes.DIGITS[3][0], rng, wobble=0.1, width=width)
    for seed in range(6):
        other = photos.repenned(ink, np.random.default_rng(seed))
        assert other.shape == ink.shape
        assert other.max() > 127
        # Thinner lies inside, thicker around it.
        both = ((other > 127) & (ink > 127)).sum()
        assert both >= 0.95 * min((other > 127).sum(), (ink > 127).sum())
        assert ndimage.label(ink > 127)[1] == 1


def test_pens_draw_what_the_path_says():
    (line,) = pens.parse("0,0 100,0")
    assert line[0].tolist() == [0, 0]
    assert line[-1].tolist() == [100, 0]
    one, two = pens.parse("~ 0,0 50,50 100,0; 10,90 90,90")
    assert np.hypot(*(one - [50, 50]).T).min() < 2
    assert len(two) > 30


def difference(one, other):
    """Give the mean difference of two images where they lie best on each other, within a pixel."""
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(np.abs(np.roll(one, m, (0, 1)).astype(int) - other).mean() for m in moves)


def test_place_gives_mnist_back():
    """MNIST digits, enlarged four times and placed again, are what they were, within a pixel."""
    digits = ip.load("mnist").train.images[:200, ..., 0]
    for image in digits:
        large = np.kron(image, np.ones((4, 4), np.uint8))
        placed = photos.placed(large)
        rows, columns = np.nonzero(placed)
        assert max(np.ptp(rows), np.ptp(columns)) < 20
        assert ndimage.center_of_mass(placed) == pytest.approx((14.0, 14.0), abs=1.0)
        assert difference(placed, image) < 1.5  # faint edges are left out


def test_a_flagged_one_is_no_seven():
    """The flag falls at 35 degrees or more, left of the stem's top, and ends above its middle."""
    rng = np.random.default_rng(8)
    for _ in range(300):
        flag, stem, *_ = pens.parse(shapes.flagged_one(rng))
        end, top = flag[0], flag[-1]
        assert np.allclose(top, stem[0])
        across, down = (top - end) * (0.75, -1)  # as drawn
        assert across > 0
        assert np.degrees(np.arctan2(down, across)) > 33  # written in whole hundredths
        assert end[1] < 62
        assert stem[-1][1] == 100


def test_faint_ink_does_not_move_what_is_placed():
    ink = pens.draw_path(shapes.DIGITS[4][0], np.random.default_rng(8), width=10.0)
    dirty = ink.copy()
    dirty[3:6, 100:104] = 0.1 * ink.max()
    assert (photos.placed(dirty) == photos.placed(ink)).all()


@pytest.mark.parametrize(
    "draw",
    [rejects.scribble, rejects.tangle, rejects.noise, rejects.blank],
    ids=lambda f: f.__name__,
)
def test_what_is_turned_down_is_drawn_alike_for_one_seed(draw):
    def some(seed):
        rng = np.random.default_rng(seed)
        return np.stack([draw(rng, number)[0] for number in range(6)])

    assert some(1).shape == (6, 28, 28)
    assert some(1).dtype == np.uint8
    assert np.array_equal(some(1), some(1))
    assert not np.array_equal(some(1), some(2))


def test_the_groups_of_rejects_share_no_font_with_each_other_or_with_training():
    fonts = {
        group: {
            *rejects.PRINT_FONTS[group],
            *rejects.HAND_FONTS[group],
            *rejects.OTHER_SCRIPTS[group],
        }
        for group in rejects.PACKAGES
    }
    assert not fonts["validation"] & fonts["test"]
    folders = {one.split("/")[1] for group in fonts.values() for one in group}
    assert not folders & {"dejavu", "stix", "lyx", "matplotlib"}
    assert set(rejects.LOOK_ALIKES) == set(shapes.LOOK_ALIKES)


def test_place_of_nothing_is_nothing():
    assert not photos.placed(np.zeros((40, 30))).any()
