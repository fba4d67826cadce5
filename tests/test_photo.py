"""Pictures decoded, digits normalised as MNIST's were, pages read."""

from __future__ import annotations

import io
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFont

import inkproof
from inkproof.errors import PictureError
from inkproof.photo.annotate import annotated_png
from inkproof.photo.decode import PictureLimits, decode_picture
from inkproof.photo.find import group, without_ruling, written
from inkproof.photo.ink import InkMap
from inkproof.photo.normalise import normalise_digit, place_ink, stroke_width
from inkproof.photo.page import read_digit, read_page
from inkproof.photo.reader import Reader


def encoded(array, form="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, form, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def mnist():
    split = inkproof.load("mnist").train
    return split.images[..., 0], split.labels


@pytest.fixture(scope="module")
def reader():
    return Reader.load()


def on_paper(image, *, side=224, paper=200.0, pen=0.8, light=False, seed=0):
    """Enlarge an MNIST image and lay it on shaded, noisy paper."""
    rng = np.random.default_rng(seed)
    large = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) / 255
    height, width = round(1.4 * side), round(1.3 * side)
    ink = np.zeros((height, width))
    top, left = round(0.25 * side), round(0.15 * side)
    ink[top : top + side, left : left + side] = large
    shade = np.linspace(1, 0.7, width)[np.newaxis]
    levels = 40 + (170 * ink if light else 0) if light else paper * shade * (1 - pen * ink)
    return np.clip(levels + rng.normal(0, 4, ink.shape), 0, 255).astype(np.uint8)


NOISE = encoded(np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8))


# --- Decoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_five_formats_are_read(form):
    picture = np.full((20, 30, 3), (200, 100, 50), dtype=np.uint8)
    found = decode_picture(encoded(picture, form))
    assert found.shape == (20, 30, 3)
    assert np.abs(found.astype(int) - picture).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_upright(orientation):
    upright = np.zeros((40, 24, 3), dtype=np.uint8)
    upright[:20, :12] = 255
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored.save(out, "PNG", exif=exif)
    assert np.array_equal(decode_picture(out.getvalue()), upright)


def test_transparent_pixels_lie_on_white():
    picture = np.zeros((4, 4, 4), dtype=np.uint8)
    picture[0, 0] = (10, 20, 30, 255)
    found = decode_picture(encoded(picture))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[1:].min() == 255


def test_sixteen_bits_become_eight():
    deep = np.array([[0, 32768], [65535, 0]], dtype=np.uint16)
    assert decode_picture(encoded(deep))[..., 0].tolist() == [[0, 127], [255, 0]]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", ["expected a picture", "empty file"]),
        (b"no picture at all", ["PNG, JPEG", "something else"]),
        (b"GIF89a" + bytes(60), ["something else"]),
        (
            NOISE[:700],
            ["damaged picture"],
        ),
        (bytes(2001), ["expected at most 2,000 bytes"]),
        (encoded(np.zeros((101, 100), np.uint8)), ["at most 10,000 pixels", "100x101"]),
    ],
)
def test_what_is_no_picture_is_refused(raw, words, tmp_path):
    path = tmp_path / "it.png"
    path.write_bytes(raw)
    limits = PictureLimits(bytes=2000, pixels=10_000)
    for source in (raw, path):
        with pytest.raises(PictureError) as caught:
            decode_picture(source, name="it.png", limits=limits)
        text = str(caught.value)
        assert text.startswith("it.png: ")
        assert "\n" not in text
        assert all(word in text for word in words), text


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(PictureError, match="cannot be read: No such file"):
        decode_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="expected a picture's file"):
        decode_picture(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    form = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF"]))
    raw = bytearray(encoded(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48), form))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(1, len(raw)))]
    limits = PictureLimits(pixels=100_000)
    try:
        found = decode_picture(bytes(raw), limits=limits)
    except PictureError:
        return
    assert found.dtype == np.uint8
    assert found.shape[2] == 3
    assert found.shape[0] * found.shape[1] <= 100_000


# --- Normalising ----------------------------------------------------------------------------------


def test_a_net_of_pale_lines_keeps_only_what_was_written_on_it():
    ink = np.zeros((400, 600), np.float32)
    ink[100:200:20, 100:220] = 0.45  # a patch of squared paper, too short for a line of the page
    ink[100:182, 100:220:20] = 0.45
    down, right = np.ogrid[:400, :600]
    for centre in (150, 300):  # a ring on the net, and one beside it
        distance = np.hypot(down - 140, right - centre)
        ink[(distance > 18) & (distance < 25)] = 1
    rings = ink == 1
    mask, _ = written(InkMap(ink=ink, mask=ink > 0.4, light_on_dark=False))
    assert (mask == rings).all()
    pale = np.where(rings, np.float32(0.45), ink)  # then nothing tells the two apart
    left, _ = written(InkMap(ink=pale, mask=pale > 0.4, light_on_dark=False))
    assert (left[:, 260:] == rings[:, 260:]).all()
    assert not left[:, :230].any()


def test_what_is_normalised_already_stays_as_it_is(mnist):
    images = mnist[0][:200]
    same = [(normalise_digit(image) == image).all() for image in images]
    assert sum(same) > 190
    for image in images[:20]:
        colours = np.repeat(image[..., np.newaxis], 3, axis=2)
        assert (normalise_digit(colours) == image).all()
        for other in (255 - image, np.roll(image, 3, axis=0)):
            found = normalise_digit(other)
            assert found is None or (found != other).any()
    assert normalise_digit(np.zeros((28, 28), np.uint8)) is None


def test_mnist_images_come_back_exactly(mnist):
    images, _ = mnist
    same = [np.array_equal(place_ink(image), image) for image in images[:500]]
    assert np.mean(same) > 0.995  # one of 60,000 or so has a longer side of 19


@pytest.mark.parametrize("light", [False, True])
def test_a_photographed_mnist_image_comes_back(mnist, reader, light):
    images, labels = mnist
    chosen = images[100:200]
    seen = [normalise_digit(on_paper(image, light=light, seed=n)) for n, image in enumerate(chosen)]
    assert all(image is not None for image in seen)
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(seen, chosen, strict=True)]
    assert np.mean(alike) > 0.9
    digits = [reading.digit for reading in reader.read(np.stack(seen))]
    assert np.mean(digits == labels[100:200]) >= 0.97


@pytest.mark.parametrize("side", [28, 56, 400, 1200])
def test_any_size_is_read(mnist, reader, side):
    images, labels = mnist
    right = [
        read_digit(on_paper(images[n], side=side, seed=n), reader).reading.digit == labels[n]
        for n in range(20)
    ]
    assert np.mean(right) >= 0.9


def test_mnist_images_themselves_are_read(mnist, reader):
    images, labels = mnist
    for turned in (images[:100], 255 - images[:100]):
        right = [
            read_digit(image, reader).reading.digit == label
            for image, label in zip(turned, labels, strict=False)
        ]
        assert np.mean(right) >= 0.97


def test_paper_alone_has_no_ink(reader):
    rng = np.random.default_rng(0)
    for level in (0, 90, 255):
        blank = np.full((120, 90, 3), level, dtype=np.uint8)
        assert normalise_digit(blank) is None
        assert read_digit(blank, reader).reading is None
        assert read_page(blank, reader).digits == ()
    noisy = np.clip(rng.normal(200, 2, (300, 300)), 0, 255).astype(np.uint8)
    assert normalise_digit(noisy) is None


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_any_pixels_give_an_image_or_none(picture):
    found = normalise_digit(picture)
    assert found is None or (found.shape == (28, 28) and found.dtype == np.uint8)
    placed = place_ink(picture, deslant=True)
    assert placed.shape == (28, 28)


def test_a_slanted_stroke_is_made_upright():
    field = Image.new("L", (60, 60))
    ImageDraw.Draw(field).line((15, 50, 40, 10), fill=255, width=5)
    down, right = np.mgrid[0:28, 0:28]

    def slant(image):
        mass = image.astype(float)
        y, x = (mass * down).sum() / mass.sum(), (mass * right).sum() / mass.sum()
        return (mass * (down - y) * (right - x)).sum() / (mass * (down - y) ** 2).sum()

    assert slant(place_ink(np.asarray(field))) < -0.4
    assert abs(slant(place_ink(np.asarray(field), deslant=True))) < 0.1


@pytest.mark.parametrize("width", [3, 6, 11])
def test_a_stripe_has_its_width(width):
    mask = np.zeros((100, 40), dtype=bool)
    mask[:, 10 : 10 + width] = True
    assert stroke_width(mask) == pytest.approx(width, rel=0.25)


def test_a_thin_pen_is_read_as_a_thicker_one():
    fields = []
    for pen in (2, 24):
        field = Image.new("L", (300, 300), 255)
        ImageDraw.Draw(field).line([(90, 60), (200, 60), (130, 240)], fill=0, width=pen)
        fields.append(normalise_digit(np.asarray(field)))
    thin, thick = (image.mean() for image in fields)
    assert thin > 0.45 * thick


# --- Pages ----------------------------------------------------------------------------------------


def page_of(images, rows, *, gap=14):
    """Lay digits in lines of numbers: rows of numbers of image indices."""
    page = np.zeros((120 * len(rows) + 80, 900))
    for line, numbers in enumerate(rows):
        x = 60
        for number in numbers:
            for index in number:
                large = Image.fromarray(images[index]).resize((84, 84), Image.Resampling.BICUBIC)
                cut = np.asarray(large)
                some = np.flatnonzero((cut > 60).any(axis=0))
                cut = cut[:, some[0] : some[-1] + 1]
                page[60 + 120 * line : 144 + 120 * line, x : x + cut.shape[1]] = cut
                x += cut.shape[1] + gap
            x += 70
    levels = 225 - 0.75 * page + np.random.default_rng(0).normal(0, 3, page.shape)
    return np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


ROWS = [[[0, 1, 2], [3, 4]], [[5, 7, 13]], [[15], [17, 16], [19, 22]]]


def expected(labels):
    return [" ".join("".join(str(labels[i]) for i in n) for n in row) for row in ROWS]


def test_a_page_is_read_in_order(mnist, reader):
    images, labels = mnist
    picture = page_of(images, ROWS)
    page = read_page(picture, reader)
    assert page.lines == expected(labels)
    assert page.text == "\n".join(page.lines)
    light = read_page(255 - picture, reader)
    assert light.lines == expected(labels)
    record = page.to_json()
    assert [digit["line"] for digit in record["digits"]] == [1] * 5 + [2] * 3 + [3] * 5
    for digit in page.digits:
        left, top, right, bottom = digit.box
        assert 0 <= left < right <= 900
        assert 50 < bottom - top < 90


@pytest.mark.parametrize("squared", [False, True])
def test_ruled_and_squared_paper_is_read(mnist, reader, squared):
    images, labels = mnist
    picture = page_of(images, ROWS)
    picture[35::60] = (picture[35::60] * 0.6).astype(np.uint8)
    if squared:
        picture[:, 35::60] = (picture[:, 35::60] * 0.6).astype(np.uint8)
    page = read_page(picture, reader)
    text, truth = "".join(page.lines), "".join(expected(labels))
    # Squares cut the paper into cells as large as digits: one digit may be lost.
    assert len(text.replace(" ", "")) >= (12 if squared else 13)
    assert SequenceMatcher(None, text, truth).ratio() > 0.9


@pytest.mark.parametrize("degrees", [-15, -8, 8, 15])
def test_a_page_is_read_up_to_the_tilt_that_the_help_names(mnist, reader, degrees):
    images, labels = mnist
    page = read_page(tilted(page_of(images, ROWS), degrees), reader)
    assert page.lines == expected(labels)
    assert page.turned == 0


@pytest.mark.parametrize("turned", [90, 180, 270])
@pytest.mark.parametrize("tilt", [0, 8])
def test_how_a_page_lies_is_told(mnist, reader, turned, tilt):
    images, _ = mnist
    picture = tilted(page_of(images, ROWS), tilt)
    assert read_page(picture, reader).turned == 0
    # rot90 turns against the clock.
    lying = np.ascontiguousarray(np.rot90(picture, -turned // 90))
    assert read_page(lying, reader).turned == turned


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_how_a_page_of_letters_or_of_little_lies_is_not_guessed(mnist, reader, quarters):
    images, _ = mnist
    letters = Image.new("L", (900, 500), 225)
    font = ImageFont.load_default(size=70)
    for row, text in enumerate(["the quick brown", "fox jumps over", "the LAZY dog", "AND RUNS"]):
        ImageDraw.Draw(letters).text((40, 20 + 110 * row), text, fill=50, font=font)
    few = page_of(images, [[[0, 1, 2], [3, 4]]])
    for picture in (np.asarray(letters), few):
        lying = np.ascontiguousarray(np.rot90(picture, quarters))
        assert read_page(lying, reader).turned == 0


def tilted(picture, degrees):
    """Turn a page with the clock, on paper as grey as its own."""
    image = Image.fromarray(picture)
    paper = (225, 225, 225)
    return np.asarray(
        image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    )


def test_lines_of_paper_go_and_strokes_stay():
    mask = np.zeros((300, 400), dtype=bool)
    mask[100:102] = mask[200:202] = True
    mask[60:140, 200:206] = True
    clean, tilt = without_ruling(mask)
    assert abs(tilt) <= 0.25
    assert clean[60:140, 201:205].all()
    assert clean[:, :190].sum() == 0


def test_touching_digits_are_split(mnist, reader):
    images, labels = mnist
    tight = [[[0, 1, 2], [3, 4]], [[15, 17]]]
    picture = page_of(images, tight, gap=-3)
    text = read_page(picture, reader).text.replace(" ", "").replace("\n", "")
    assert text == "".join(str(labels[i]) for row in tight for number in row for i in number)


def test_lines_are_told_apart_on_a_tilted_page():
    boxes = []
    for line in range(3):
        for column in range(8):
            x, y = 40 + 60 * column, 40 + 80 * line + round(60 * column * np.tan(np.radians(9)))
            boxes.append((x, y, x + 30, y + 40))
    order = np.random.default_rng(0).permutation(len(boxes))
    found = group([boxes[i] for i in order], 9.0)
    assert [int(order[index]) for index, _, _ in found] == list(range(24))
    assert [line for _, line, _ in found] == [0] * 8 + [1] * 8 + [2] * 8


def test_the_annotated_picture_marks_what_is_unsure(mnist, reader):
    images, _ = mnist
    picture = page_of(images, ROWS)
    page = read_page(picture, reader)
    drawn = decode_picture(annotated_png(picture, page))
    assert drawn.shape == picture.shape
    blue = (np.abs(drawn.astype(int) - (0, 92, 185)).sum(axis=2) < 20).sum()
    assert blue > 13 * 100


@pytest.mark.parametrize(("height", "width"), [(20_000, 2), (2, 20_000), (5000, 1), (1, 1)])
def test_a_stripe_can_be_annotated(reader, height, width):
    stripe = np.full((height, width, 3), 230, np.uint8)
    stripe[height // 3 : height // 2] = 20
    drawn = decode_picture(annotated_png(stripe, read_page(stripe, reader)))
    assert min(drawn.shape[:2]) == 1
    assert max(drawn.shape[:2]) == min(max(height, width), 2400)
