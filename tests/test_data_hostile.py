"""What people and their tools leave beside images and tables: links, pipes, odd headers, damage."""

from __future__ import annotations

import io
import os
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from inkproof.data import describe, load, read_image
from inkproof.data.assembly import Labelled, assemble
from inkproof.errors import DataError


def refused(function, *arguments, **options) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """Two classes of seven images."""
    for name in ("2", "10"):
        (tmp_path / name).mkdir()
        for row in range(7):
            Image.fromarray(np.full((4, 3), row, np.uint8)).save(tmp_path / name / f"{row}.png")
    return tmp_path


# --- links and pipes


@pytest.mark.parametrize(
    ("link", "to"),
    [
        ("2/loop.png", "loop.png"),
        ("2/nowhere.png", "gone.png"),
        ("2/self", "."),
        ("2/up", ".."),
        ("loop", "loop"),
        ("self", "."),
        ("up", ".."),
        ("nowhere", "gone"),
    ],
)
def test_links_to_nowhere_and_in_circles_are_passed_over(folder, link, to):
    expected = load(folder).fingerprint
    (folder / link).symlink_to(to)
    dataset = load(folder)
    assert dataset.class_names == ("2", "10")
    assert dataset.fingerprint == expected


def test_links_to_images_and_to_folders_elsewhere_are_followed(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "3"
    (folder / "2").rename(elsewhere)
    (folder / "3").symlink_to(elsewhere)
    (folder / "10" / "more.png").symlink_to(elsewhere / "0.png")
    dataset = load(folder)
    assert dataset.class_names == ("3", "10")
    assert (dataset.train.class_counts + dataset.test.class_counts).tolist() == [7, 8]


def test_a_source_that_is_a_link_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("a")
    assert refused(load, tmp_path / "a") == f"{tmp_path / 'a'}: not found"


@pytest.mark.parametrize("name", ["a.csv", "a.npz"])
def test_a_pipe_does_not_keep_us_waiting(tmp_path, name):
    os.mkfifo(tmp_path / name)
    message = refused(load, tmp_path / name)
    assert message == f"{tmp_path / name}: expected a file or a folder, got neither"


def test_a_pipe_among_the_images(folder):
    os.mkfifo(folder / "2" / "a.png")
    message = refused(load, folder)
    assert message == (
        f"{folder / '2' / 'a.png'}: expected image files in a class folder, "
        "got neither a file nor a folder"
    )


# --- single images


def test_an_image_is_converted(tmp_path):
    Image.new("RGB", (3, 4), (255, 0, 0)).save(tmp_path / "red.png")
    grey = read_image(tmp_path / "red.png", channels=1)
    colour = read_image(tmp_path / "red.png", channels=3)
    assert (grey.shape, colour.shape) == ((4, 3, 1), (4, 3, 3))
    assert grey.dtype == colour.dtype == np.uint8
    assert np.all(grey == round(0.299 * 255))  # ITU-R BT.601 luma
    assert np.all(colour == [255, 0, 0])


def test_what_is_no_image_file(tmp_path):
    missing = tmp_path / "no.png"
    text = "cannot be read: No such file or directory"
    assert refused(read_image, missing, channels=1) == f"{missing}: {text}"
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png"):
        message = f"{path}: expected an image file, got something else"
        assert refused(read_image, path, channels=1) == message


def test_an_image_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("L", (3, 4)).save(path)

    def denied(*_arguments, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", denied)
    assert refused(read_image, path, channels=1) == f"{path}: cannot be read: Permission denied"


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What EXIF's standard says of each orientation: where row 0 and column 0 of the file are seen.
SEEN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: stored[::-1].T,
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: stored.T[::-1],
}


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100}),
    ],
    ids=["png", "tiff", "lzw", "webp", "jpeg"],
)
@pytest.mark.parametrize("shape", [(8, 16), (16, 16)], ids=["oblong", "square"])
def test_pictures_are_turned_as_their_exif_says(tmp_path, form, options, orientation, shape):
    stored = np.zeros(shape, np.uint8)
    stored[:3, :6] = 200
    path = tmp_path / f"a.{form.lower()}"
    Image.fromarray(stored).save(path, form, exif=turned(orientation), **options)
    seen = read_image(path, channels=1)[..., 0]
    expected = SEEN[orientation](stored)
    assert seen.shape == expected.shape
    assert np.all(np.abs(seen.astype(int) - expected) < 60)  # JPEG blurs the edges


def test_upright_sizes_are_what_must_be_equal(folder):
    lying = Image.fromarray(np.full((3, 4), 9, np.uint8))
    lying.save(folder / "2" / "0.png", exif=turned(6))
    dataset = load(folder)
    assert dataset.train.image_shape == (4, 3, 1)
    lying.save(folder / "2" / "0.png")
    assert "one size: expected 4x3" in refused(load, folder)


def test_an_orientation_behind_the_pixels_counts(tmp_path):
    path = tmp_path / "a.png"
    out = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(out, "PNG", exif=turned(6))
    content = out.getvalue()
    begin = content.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(content[begin : begin + 4], "big")
    last = content.index(b"IEND") - 4
    path.write_bytes(content[:begin] + content[end:last] + content[begin:end] + content[last:])
    assert read_image(path, channels=1)[..., 0].tolist() == [
        *([8, 4, 0], [9, 5, 1], [10, 6, 2], [11, 7, 3])
    ]


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0none", b"Exif\0\0none", turned(9), turned(0)])
def test_metadata_that_say_nothing_leave_a_picture_as_it_is(tmp_path, exif):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png", channels=1)[..., 0], stored)


SAMPLES = {}
for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
    _out = io.BytesIO()
    _pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(_pixels).save(_out, form, **({} if form == "BMP" else {"exif": turned(6)}))
    SAMPLES[form] = _out.getvalue()


@pytest.mark.parametrize("form", SAMPLES)
@given(data=st.data())
def test_a_damaged_image_is_pixels_or_a_clear_error(tmp_path_factory, form, data):
    """Without a warning, too: Pillow has many about a TIFF file's metadata."""
    content = bytearray(SAMPLES[form])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    path = tmp_path_factory.mktemp("image") / "image"
    path.write_bytes(content)
    try:
        pixels = read_image(path, channels=3)
    except DataError as error:
        message = str(error)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        return
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


# --- archives


def test_an_archive_of_a_version_to_come(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=np.zeros(3))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")  # of the central directory; bytes 6 and 7: version needed
    content[entry + 6] = 255
    path.write_bytes(content)
    message = refused(load, path)
    assert message.startswith(f"{path}: truncated or damaged archive: zip file version 25.5")


def test_a_shape_of_bools(tmp_path):
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (True, 0)}".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            member = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
            archive.writestr(f"{key}.npy", member)
    message = refused(load, tmp_path / "a.npz")
    assert message.endswith("x_train: expected a shape of whole numbers, got (True, 0)")


# --- tables

ROWS = [[row % 2, *((7 * row + column) % 256 for column in range(16))] for row in range(12)]
PIXELS = [f"p{number}" for number in range(16)]


def written(path, *lines):
    path.write_text("".join(f"{','.join(map(str, line))}\n" for line in lines), encoding="utf-8")
    return path


def all_labels(dataset) -> list[int]:
    labels = np.empty(len(dataset.train) + len(dataset.test), dtype=np.int64)
    for split in (dataset.train, dataset.test):
        labels[split.indices] = split.labels
    return labels.tolist()


@pytest.mark.parametrize("name", ["label", "Labels", "class", " target", "digit", "y"])
@pytest.mark.parametrize("place", [0, 5, 16])
def test_the_label_is_where_the_header_says(tmp_path, name, place):
    lines = [[*PIXELS[:place], name, *PIXELS[place:]]]
    for label, *pixels in ROWS:
        lines.append([*pixels[:place], label, *pixels[place:]])
    dataset = load(written(tmp_path / "a.csv", *lines))
    assert all_labels(dataset) == [row[0] for row in ROWS]
    first = dataset.train.images[0].ravel().tolist()
    assert first == ROWS[dataset.train.indices[0]][1:]


def test_a_header_without_a_label_is_not_guessed_at(tmp_path):
    path = written(tmp_path / "a.csv", [*PIXELS, "kind"], *ROWS)
    message = refused(load, path)
    assert message == f"{path}: expected a column 'label' in its header, got 'p0' to 'kind'"


@pytest.mark.parametrize("cell", ["", "x", "1.5", "-1", "256", "nan"])
@pytest.mark.parametrize("column", [0, 3])
def test_a_damaged_first_row_is_no_header(tmp_path, cell, column):
    row = [*ROWS[0][:column], cell, *ROWS[0][column + 1 :]]
    path = written(tmp_path / "a.csv", row, *ROWS)
    text = f"expected whole numbers 0 to 255, got '{cell}' in column {column + 1}"
    assert refused(load, path) == f"{path}:1: {text}"


@pytest.mark.parametrize("separator", ["\t", ";", " "])
def test_other_separators_are_named_as_the_reason(tmp_path, separator):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(separator.join(map(str, row)) for row in ROWS))
    assert refused(load, path) == (f"{path}: expected columns separated by commas, got one column")


def test_blank_lines_are_passed_over(tmp_path):
    path = written(tmp_path / "a.csv", ["label", *PIXELS], [], *ROWS[:6], [], *ROWS[6:], [])
    assert all_labels(load(path)) == [row[0] for row in ROWS]


def test_a_header_and_blank_lines_only(tmp_path):
    path = written(tmp_path / "a.csv", ["label", *PIXELS], [], [])
    assert refused(load, path) == f"{path}: expected rows of numbers, got none"


@given(content=st.binary(max_size=80) | st.text('label,"\n\r 0123456789.-', max_size=80))
@example(content="0,1\n" * 7)
def test_any_bytes_are_a_table_or_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        dataset = load(path)
    except DataError as error:
        message = str(error)
    else:
        assert len(dataset.train) + len(dataset.test) <= len(content)
        return
    assert re.match(re.escape(str(tmp_path_factory.getbasetemp())), message)
    assert "\n" not in message


# --- checks


def large(*images) -> Labelled:
    return Labelled(
        images=np.stack(images),
        labels=np.arange(len(images)) % 2,
        images_from="here",
        labels_from="here",
    )


def test_large_images_are_checked_few_at_a_time():
    """All 32 as float32 would be 134 MB."""
    images = [np.full((2**10, 2**10), number, np.uint8) for number in range(10, 42)]
    images[7] = images[3]
    images[5][5, 7] = 250
    dataset = assemble("here", "large", large(*images), large(*images[:2]), ("a", "b"))
    tracemalloc.start()
    try:
        about = describe(dataset)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    findings = {finding.code: finding for finding in about.findings}
    assert findings["IPD003"].evidence["rows"] == [[3, 7]]
    assert findings["IPD005"].evidence["test_rows"] == [0, 1]
    assert (about.pixel_min, about.pixel_max) == (10, 250)
    assert about.pixel_mean == pytest.approx(np.stack(images).mean(), rel=1e-6)
