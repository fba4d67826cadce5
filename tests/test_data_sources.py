"""Every source gives the images that were written; damaged and hostile files one clear line."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import shutil
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inkproof.data import load
from inkproof.data.dataset import fingerprint
from inkproof.data.idx import encode_idx, read_idx
from inkproof.data.mnist import FILES, FOLDER, load_mnist
from inkproof.errors import DataError, UnknownNameError
from inkproof.layers import Dense
from inkproof.model import Model
from strategies import byte_arrays

ROOT = Path(__file__).parent.parent
IDX = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
CLASSES = ("0", "1", "2")


def arrays(train=30, test=9):
    generator = np.random.default_rng(5)
    return {
        "x_train": generator.integers(0, 256, (train, 4, 4), dtype=np.uint8),
        "y_train": (np.arange(train) % 3).astype(np.uint8),
        "x_test": generator.integers(0, 256, (test, 4, 4), dtype=np.uint8),
        "y_test": (np.arange(test) % 3).astype(np.uint8),
    }


def same(dataset, expected):
    for split, role in ((dataset.train, "train"), (dataset.test, "test")):
        images = expected[f"x_{role}"]
        assert np.array_equal(split.images.reshape(images.shape), images)
        assert split.labels.tolist() == expected[f"y_{role}"].ravel().tolist()
        assert not split.images.flags.writeable
    assert dataset.class_names == CLASSES
    assert dataset.fingerprint == fingerprint(dataset.train, dataset.test)


def refused(source, *parts):
    with pytest.raises(DataError) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def outcome(function, *arguments, **options):
    """Give the result and None, or None and the message of a DataError; nothing else may come."""
    try:
        return function(*arguments, **options), None
    except DataError as error:
        return None, str(error)


# --- the embedded MNIST


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def test_mnist_is_the_published_one(mnist):
    assert (mnist.name, mnist.source) == ("mnist", "mnist")
    assert mnist.train.images.shape == (60000, 28, 28, 1)
    assert mnist.test.images.shape == (10000, 28, 28, 1)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.class_counts.tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert "CC BY-SA 3.0" in mnist.licence
    assert not mnist.train.images.flags.writeable


def test_the_stored_fingerprint_is_the_computed_one(mnist):
    assert mnist.fingerprint == fingerprint(mnist.train, mnist.test)


def test_mnist_is_small_and_fast():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 12_000_000
    seconds = []
    for _ in range(3):
        start = time.process_time()
        load("mnist")
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def test_the_exercises_hold_out_has_its_sizes(mnist):
    train, validation = mnist.train.hold_out(0.1, seed=0)
    assert (len(train), len(validation)) == (54_000, 6_000)
    assert np.all(np.abs(validation.class_counts - mnist.train.class_counts * 0.1) < 1)


@pytest.mark.parametrize("key", list(FILES))
@pytest.mark.parametrize("damage", ["another byte", "repacked with another byte", "cut", "missing"])
def test_a_damaged_file_of_mnist_is_named(tmp_path, key, damage):
    for path in FOLDER.glob("*.gz"):
        (tmp_path / path.name).symlink_to(path)
    target = tmp_path / f"{FILES[key].name}.gz"
    data = bytearray(target.read_bytes())
    target.unlink()
    if damage == "another byte":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[-100:]
    elif damage == "repacked with another byte":
        content = bytearray(gzip.decompress(data))
        content[-1] ^= 1
        data = gzip.compress(content, 1)
    if damage != "missing":
        target.write_bytes(data)
    with pytest.raises(DataError, match=FILES[key].name) as caught:
        load_mnist(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def embed():
    spec = importlib.util.spec_from_file_location("embed_mnist", ROOT / "scripts/embed_mnist.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_embedding_script_keeps_packed_files_and_packs_others(tmp_path, embed, monkeypatch):
    original, target = tmp_path / "original", tmp_path / "target"
    target.mkdir()
    shutil.copytree(FOLDER, original)
    unpacked = FILES["test images"].name
    content = gzip.decompress((original / f"{unpacked}.gz").read_bytes())
    (original / unpacked).write_bytes(content)
    (original / f"{unpacked}.gz").unlink()
    monkeypatch.setattr(embed, "FOLDER", target)
    assert embed.main([str(original)]) == 0
    for path in FOLDER.glob("*.gz"):
        written = (target / path.name).read_bytes()
        if path.name == f"{unpacked}.gz":
            assert gzip.decompress(written) == content
        else:
            assert written == path.read_bytes()
    assert load_mnist(target).test.images.shape == (10000, 28, 28, 1)


def test_the_embedding_script_writes_nothing_if_a_file_is_wrong(
    tmp_path, embed, monkeypatch, capsys
):
    original, target = tmp_path / "original", tmp_path / "target"
    target.mkdir()
    shutil.copytree(FOLDER, original)
    wrong = FILES["test labels"]
    (original / f"{wrong.name}.gz").write_bytes(gzip.compress(b"something else"))
    monkeypatch.setattr(embed, "FOLDER", target)
    assert embed.main([str(original)]) == 1
    assert f"{wrong.name}.gz: expected sha256 {wrong.sha256}" in capsys.readouterr().err
    assert list(target.iterdir()) == []


def test_the_embedding_script_explains_its_use(embed, capsys):
    assert embed.main([]) == 2
    assert "scripts/embed_mnist.py FOLDER" in capsys.readouterr().err


# --- names and paths


def test_an_unknown_name_lists_what_is_possible():
    with pytest.raises(UnknownNameError, match="unknown data set 'mnits'") as caught:
        load("mnits")
    assert "Did you mean 'mnist'?" in str(caught.value)
    assert ".csv or a .npz" in str(caught.value)


@pytest.mark.parametrize("source", ["no/such", "data.csv", "digits.npz"])
def test_a_missing_path_is_named(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(source, f"{source}: not found")


def test_a_path_is_never_taken_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(Path("mnist"), "mnist: not found")


@pytest.mark.parametrize("source", ["", "  ", "a\0b"])
def test_what_is_neither_name_nor_path_is_refused(source):
    refused(source, "expected a name or a path")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    refused(tmp_path / "a.txt", "a.txt: expected a .npz or a .csv file, or a folder")


def test_an_empty_folder_says_what_is_looked_for(tmp_path):
    refused(tmp_path, str(tmp_path), "expected IDX files, train.csv, or class folders")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(zipfile, "ZipFile", denied)
    refused(path, f"{path}: cannot be read: Permission denied")


# --- IDX


def idx_folder(folder, packed=False, **changed):
    for key, values in (arrays() | changed).items():
        content = values if isinstance(values, bytes) else encode_idx(values)
        path = folder / (IDX[key] + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_folder_is_loaded(tmp_path, packed):
    same(load(idx_folder(tmp_path, packed)), arrays())


def test_an_idx_header_is_as_published():
    content = encode_idx(np.zeros((60000, 28, 28), dtype=np.uint8))
    assert content[:16] == struct.pack(">IIII", 2051, 60000, 28, 28)
    assert encode_idx(np.zeros(10000, dtype=np.uint8))[:8] == struct.pack(">II", 2049, 10000)


@given(st.integers(1, 4).flatmap(byte_arrays), st.booleans(), st.data())
def test_idx_round_trips_and_no_cut_passes(tmp_path_factory, values, packed, data):
    path = tmp_path_factory.mktemp("idx") / "file"
    content = encode_idx(values)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert np.array_equal(read_idx(path, dimensions=(values.ndim,)), values)

    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match=r"file: (trunc|expected an IDX file)"):
        read_idx(path, dimensions=(values.ndim,))

    path.write_bytes(gzip.compress(content + b"\0") if packed else content + b"\0")
    with pytest.raises(DataError, match="longer than its header says"):
        read_idx(path, dimensions=(values.ndim,))


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_an_array_or_a_data_error(tmp_path_factory, content, packed):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    values, refusal = outcome(read_idx, path, dimensions=(1, 3))
    assert encode_idx(values) == content if refusal is None else "\n" not in refusal


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**16, 2**10, 28)])
def test_a_declared_size_is_bounded_before_memory_is_taken(tmp_path, packed, shape):
    idx_folder(tmp_path, packed, x_train=struct.pack(">IIII", 2051, *shape))
    tracemalloc.start()
    try:
        refused(tmp_path, IDX["x_train"], "its header says")
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    content = struct.pack(">IIII", 2051, 2, 4, 4) + bytes(50_000_000)
    idx_folder(tmp_path, True, x_train=content)
    tracemalloc.start()
    try:
        refused(tmp_path, IDX["x_train"], "longer than its header says", "2x4x4 = 32 bytes")
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"x_train": b"\x89PNG1234"}, [IDX["x_train"], "expected an IDX file"]),
        ({"x_train": b"\0\0\x0d\x03" + bytes(20)}, ["expected IDX type 8", "got type 13"]),
        ({"x_train": np.zeros(5, np.uint8)}, ["expected 3 or 4 dimension(s), got 1"]),
        ({"x_train": np.zeros((30, 4, 4, 2), np.uint8)}, ["1 or 3 channels", "30x4x4x2"]),
        (
            {"y_train": (np.arange(29) % 3).astype(np.uint8)},
            [IDX["y_train"], "each of 30 images, got 29"],
        ),
        ({"y_test": np.arange(9, dtype=np.uint8)}, [IDX["y_test"], "0 to 2", "got 3 in row 3"]),
        ({"x_test": np.zeros((9, 5, 4), np.uint8)}, ["one size", "4x4x1", "5x4x1"]),
        ({"x_train": np.zeros((0, 4, 4), np.uint8)}, ["30", "each of 0 images"]),
    ],
)
def test_idx_files_that_do_not_fit_are_named(tmp_path, changed, parts):
    refused(idx_folder(tmp_path, **changed), *parts)


@pytest.mark.parametrize("key", list(IDX))
def test_a_missing_idx_file_is_named(tmp_path, key):
    (idx_folder(tmp_path) / IDX[key]).unlink()
    refused(tmp_path, f"{tmp_path / IDX[key]}: not found")


# --- NumPy archives


def npz(folder, save=np.savez, **changed):
    path = folder / "data.npz"
    save(path, **(arrays() | changed))
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_loaded(tmp_path, save):
    dataset = load(npz(tmp_path, save))
    same(dataset, arrays())
    assert dataset.name == "data"


def test_an_archive_in_the_form_of_colour_data_sets(tmp_path):
    colour = np.asfortranarray(np.random.default_rng(1).integers(0, 256, (30, 4, 4, 3), np.uint8))
    labels = arrays()["y_train"].reshape(-1, 1).astype(np.int64)
    path = npz(tmp_path, x_train=colour, y_train=labels, x_test=colour, y_test=labels)
    dataset = load(path)
    assert np.array_equal(dataset.train.images, colour)
    assert dataset.train.images.flags.c_contiguous
    assert dataset.train.labels.tolist() == labels.ravel().tolist()


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"x_train": np.zeros((30, 4, 4))}, ["x_train: expected uint8 pixels", "got float64"]),
        ({"y_train": np.zeros(30)}, ["y_train: expected whole numbers", "got float64"]),
        ({"y_train": np.array([None] * 30)}, ["y_train: expected whole numbers", "got object"]),
        ({"y_train": np.zeros((30, 3), int)}, ["y_train", "(n,) as labels", "(30, 3)"]),
        ({"y_train": np.arange(30) - 1}, ["y_train", "0 to 999", "got -1 in row 0"]),
        ({"y_train": np.full(30, 2**62)}, ["y_train", "got 4611686018427387904 in row 0"]),
        ({"y_test": np.arange(9)}, ["y_test", "0 to 2", "got 3 in row 3"]),
        ({"x_test": np.zeros((8, 4, 4), np.uint8)}, ["y_test", "each of 8 images, got 9"]),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, changed, parts):
    refused(npz(tmp_path, **changed), "data.npz", *parts)


def test_an_archive_may_name_its_classes(tmp_path):
    dataset = load(npz(tmp_path, class_names=np.array(["nought", "one", "two", "none"])))
    assert dataset.train.labels.tolist() == arrays()["y_train"].tolist()
    assert dataset.class_names == ("nought", "one", "two", "none")


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (np.array(["a", "b"]), "a name for each of 3 classes, got 2"),
        (np.array(["a", "b", "a"]), "expected different names, got 'a' twice"),
        (np.array(["a", "", "b"]), "class_names[1]: expected 1 to 100 printable characters"),
        (np.array(["a", "b", "\x1b[2J"]), "class_names[2]"),
        (np.array(["a", "b", "c" * 101]), "class_names[2]"),
        (np.array([["a", "b", "c"]]), "expected 1 to 1000 names (n,), got 1x3"),
        (np.array("a"), "expected 1 to 1000 names (n,)"),
        (np.arange(3), "class_names: expected text, got int64"),
        (np.array(["a", "b", None]), "class_names: expected text, got object"),
        (np.array(["a" * 500_000, "b", "c"]), "class_names: expected at most 404,096 bytes"),
    ],
)
def test_wrong_class_names_are_refused(tmp_path, names, part):
    refused(npz(tmp_path, class_names=names), "data.npz", part)


def test_a_missing_array_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=arrays()["x_train"], images=np.zeros(3))
    refused(tmp_path / "a.npz", "y_train, x_test, y_test missing", "got images, x_train")


@given(st.data())
def test_no_cut_archive_passes(tmp_path_factory, data):
    path = npz(tmp_path_factory.mktemp("npz"))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(path, f"{path}: truncated or damaged archive")


@given(st.data())
def test_an_archive_with_other_bytes_is_loaded_or_refused(tmp_path_factory, data):
    path = npz(tmp_path_factory.mktemp("npz"), np.savez_compressed)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    dataset, refusal = outcome(load, path)
    assert len(dataset.train) if refusal is None else "\n" not in refusal


def forged(path, header):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", member.getvalue())
        for key in ("y_train", "x_test", "y_test"):
            content = io.BytesIO()
            np.save(content, arrays()[key])
            archive.writestr(f"{key}.npy", content.getvalue())
    return path


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((2**20, 2**20, 28), "1048576"),
        ((0, 2**40, 2**40), "1099511627776"),
        ((100_000, 28, 28), "header says uint8 100000x28x28 = 78,400,000 bytes, got 0"),
        ((-1, 4, 4), "-1"),
    ],
)
def test_an_arrays_header_is_held_against_its_size(tmp_path, shape, part):
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    tracemalloc.start()
    try:
        refused(forged(tmp_path / "a.npz", header), "x_train", part)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


# --- CSV


def table(key="train", label_at=0):
    values = arrays()
    flat = values[f"x_{key}"].reshape(len(values[f"x_{key}"]), -1)
    return np.insert(flat, label_at, values[f"y_{key}"], axis=1)


def csv(path, rows, header=None, newline="\n"):
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    text = newline.join([*([",".join(header)] if header else []), *lines]) + newline
    path.write_text(text, newline="")
    return path


PIXELS = [f"pixel{number}" for number in range(16)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("label_at", "header"),
    [
        (0, None),
        (0, ["label", *PIXELS]),
        (0, ["digit", *PIXELS]),
        (0, ['"label"', *(f'"{pixel}"' for pixel in PIXELS)]),
        (0, ["\ufefflabel", *PIXELS]),
        (16, [*PIXELS, "Label"]),
        (3, [*PIXELS[:3], "label", *PIXELS[3:]]),
    ],
    ids=["plain", "label first", "first column", "quoted", "with a mark", "last", "in between"],
)
def test_a_table_gives_a_stratified_sixth_to_the_test(tmp_path, label_at, header, newline):
    values = arrays()
    dataset = load(csv(tmp_path / "a.csv", table(label_at=label_at), header, newline))
    assert (len(dataset.train), len(dataset.test)) == (25, 5)
    assert dataset.class_names == CLASSES
    rows = np.concatenate([dataset.train.indices, dataset.test.indices])
    assert sorted(rows.tolist()) == list(range(30))
    for split in (dataset.train, dataset.test):
        assert np.array_equal(split.pixels, values["x_train"][split.indices])
        assert np.array_equal(split.labels, values["y_train"][split.indices])
        assert np.all(np.abs(split.class_counts - len(split) / 3) < 1)
    assert load(tmp_path / "a.csv").fingerprint == dataset.fingerprint


@pytest.mark.parametrize("prefix", ["", "mnist_"])
def test_a_folder_of_two_tables_is_loaded(tmp_path, prefix):
    csv(tmp_path / f"{prefix}train.csv", table())
    csv(tmp_path / f"{prefix}test.csv", table("test"))
    same(load(tmp_path), arrays())


def test_a_test_table_without_labels_is_passed_over(tmp_path):
    csv(tmp_path / "train.csv", table(), ["label", *PIXELS])
    csv(tmp_path / "test.csv", table("test")[:, 1:], PIXELS)
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    (tmp_path / "._train.csv").write_text("")
    dataset = load(tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (25, 5)
    assert not dataset.has_own_test
    assert dataset.passed_over == (
        "'test.csv', which has no labels",
        "the table 'sample_submission.csv'",
    )
    refused(tmp_path / "test.csv", "expected a column 'label', got pixels only")


def test_a_test_label_that_training_does_not_have_is_named(tmp_path):
    csv(tmp_path / "train.csv", table())
    rows = table("test")
    rows[4, 0] = 9
    csv(tmp_path / "test.csv", rows)
    message = refused(tmp_path, "test.csv:5: labels must be 0 to 2 as in the training labels")
    assert message.endswith(", got 9")


@pytest.mark.parametrize(
    ("row", "column", "cell", "parts"),
    [
        (3, 5, "300", ["a.csv:5: expected", "got '300' in column 6 ('pixel4')"]),
        (0, 0, "-1", ["a.csv:2: expected", "got '-1' in column 1 ('label')"]),
        (2, 1, "0.5", ["a.csv:4: expected", "got '0.5' in column 2"]),
        (2, 1, "", ["a.csv:4: expected", "got '' in column 2"]),
        (29, 16, "x", ["a.csv:31: expected", "got 'x' in column 17"]),
        (4, 2, "1,2", ["a.csv:6: expected 17 columns, got 18"]),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, row, column, cell, parts):
    path = csv(tmp_path / "a.csv", table(), ["label", *PIXELS])
    lines = path.read_text().splitlines()
    cells = lines[row + 1].split(",")
    cells[column] = cell
    lines[row + 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    refused(path, *parts)
    path.write_text("\r\n".join([lines[0], "", "", *lines[1:]]) + "\n", newline="")
    line = int(parts[0].split(":")[1])
    refused(path, parts[0].replace(f":{line}:", f":{line + 2}:"), *parts[1:])
    path.write_text("\n".join(lines[1:]) + "\n")
    if row:  # the first one could be a header
        refused(path, parts[0].replace(f":{line}:", f":{line - 1}:"))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "got an empty first line"),
        (b"label," + ",".join(PIXELS).encode() + b"\n", "expected rows of numbers, got none"),
        (b"\xff\xfe\x00\x01", "expected CSV text in UTF-8"),
        (b"a,b,c\n1,2,3\n", "square number of pixels"),
        (b"label,a,b\n1,2,3\n", "square number of pixels"),
        (b"label,a\n1,2,3\n", "expected 2 columns"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, part):
    (tmp_path / "a.csv").write_bytes(content)
    refused(tmp_path / "a.csv", "a.csv: expected", part)


def test_a_table_that_may_be_the_test_is_not_guessed_at(tmp_path):
    csv(tmp_path / "train.csv", table())
    csv(tmp_path / "val.csv", table("test"))
    (tmp_path / "images").mkdir()
    refused(tmp_path, "expected the test images in 'test.csv', got 'val.csv'; rename")
    csv(tmp_path / "test.csv", table("test")[:, 1:], PIXELS)
    message = refused(tmp_path, "test.csv: has no labels, and it is not said whether 'val.csv'")
    assert "rename" not in message
    csv(tmp_path / "test.csv", table("test"))
    dataset = load(tmp_path)
    same(dataset, arrays())
    assert dataset.has_own_test
    assert dataset.passed_over == ("the table 'val.csv'", "the folder 'images'")


# --- class folders of images


def pictures(folder, names=("1", "2", "10"), count=6, suffix=".png"):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for row in range(count):
            pixels = np.full((4, 6), 20 * number + row, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{row}{suffix}")
    return folder


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_class_folders_are_sorted_naturally(tmp_path, suffix):
    pictures(tmp_path / "train", suffix=suffix)
    pictures(tmp_path / "test", count=2, suffix=suffix)
    dataset = load(tmp_path)
    assert dataset.class_names == ("1", "2", "10")
    assert dataset.train.images.shape == (18, 4, 6, 1)
    expected = [20 * number + row for number in range(3) for row in range(6)]
    assert dataset.train.images[:, 0, 0, 0].tolist() == expected
    assert dataset.train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert dataset.test.class_counts.tolist() == [2, 2, 2]


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_are_read(tmp_path, suffix):
    pictures(tmp_path, suffix=suffix)
    dataset = load(tmp_path)
    mean = dataset.train.images.mean(axis=(1, 2, 3))
    assert np.all(np.abs(mean - (20 * dataset.train.labels + 2.5)) < 6)


def test_one_level_gives_a_stratified_sixth_to_the_test(tmp_path):
    dataset = load(pictures(tmp_path))
    assert dataset.train.class_counts.tolist() == [5, 5, 5]
    assert dataset.test.class_counts.tolist() == [1, 1, 1]
    values = np.concatenate([dataset.train.images, dataset.test.images])[:, 0, 0, 0]
    assert len(set(values.tolist())) == 18


def test_one_colour_image_makes_all_colour(tmp_path):
    pictures(tmp_path)
    Image.new("RGB", (6, 4), (9, 8, 7)).save(tmp_path / "1" / "0.png")
    dataset = load(tmp_path)
    assert dataset.train.image_shape == (4, 6, 3)
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert np.all(images == [9, 8, 7], axis=(1, 2, 3)).sum() == 1


@pytest.mark.parametrize("mode", ["1", "LA", "RGBA", "P"])
def test_opaque_images_of_other_modes_keep_their_pixels(tmp_path, mode):
    pixels = np.where(np.eye(4, 6, dtype=bool), 255, 0).astype(np.uint8)
    for row in range(6):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(tmp_path / "a" / f"{row}.png")
    images = load(tmp_path).train.images
    assert images.shape[3] == (1 if mode in ("1", "LA") else 3)
    assert np.array_equal(images[0, ..., 0], pixels)


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    pictures(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "1" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "1" / "Thumbs.db").write_bytes(b"x")
    assert load(tmp_path).class_names == ("1", "2", "10")


def test_sources_that_hold_nothing_else_pass_nothing_over(tmp_path):
    pictures(tmp_path / "train")
    pictures(tmp_path / "test")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README.txt").write_text("")
    (tmp_path / "train" / ".hidden.png").write_bytes(b"")
    dataset = load(tmp_path)
    assert (dataset.has_own_test, dataset.passed_over) == (True, ())
    dataset = load(tmp_path / "train")
    assert (dataset.has_own_test, dataset.passed_over) == (False, ())


def test_what_lies_beside_the_folders_that_are_read_is_told(tmp_path):
    pictures(tmp_path / "train")
    pictures(tmp_path / "test")
    pictures(tmp_path / "val")
    pictures(tmp_path / "more\n")
    shutil.copy(tmp_path / "val" / "1" / "0.png", tmp_path / "top.JPG")
    for name in ("a10.png", "a9.png"):
        shutil.copy(tmp_path / "val" / "1" / "0.png", tmp_path / "train" / name)
    shutil.copy(tmp_path / "val" / "1" / "0.png", tmp_path / "test" / "b.png")
    dataset = load(tmp_path)
    assert dataset.class_names == ("1", "2", "10")
    assert dataset.passed_over == (
        r"the folder 'more\n'",
        "the folder 'val'",
        "one picture beside the folders ('top.JPG')",
        "two pictures beside the folders in 'train' (the first is 'a9.png')",
        "one picture beside the folders in 'test' ('b.png')",
    )
    loose = load(tmp_path / "train")
    assert loose.passed_over == ("two pictures beside the folders (the first is 'a9.png')",)


@pytest.mark.parametrize("name", ["val", "validation", "Test"])
def test_class_folders_that_may_be_the_test_are_not_guessed_at(tmp_path, name):
    pictures(tmp_path / "train")
    pictures(tmp_path / name)
    assert refused(tmp_path) == (
        f"{tmp_path}: expected the test images in 'test', got '{name}'; rename it to 'test', "
        "or move it away to have a sixth of the training images as test"
    )


def test_a_folder_without_class_folders_is_not_meant_for_the_test(tmp_path):
    pictures(tmp_path / "train")
    (tmp_path / "papers").mkdir()
    assert load(tmp_path).passed_over == ("the folder 'papers'",)


def test_a_class_may_be_called_train(tmp_path):
    pictures(tmp_path, names=("bus", "car", "train"))
    dataset = load(tmp_path)
    assert dataset.class_names == ("bus", "car", "train")
    assert (dataset.train.class_counts + dataset.test.class_counts).tolist() == [6, 6, 6]


@pytest.mark.parametrize("names", [("train",), ("test", "train"), ("car", "train", "val")])
def test_training_pictures_without_classes_are_refused(tmp_path, names):
    pictures(tmp_path, names=names)
    refused(tmp_path, f"{tmp_path / 'train'}: expected IDX files, train.csv, or class folders")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", r"'caf\udce9'"),
        (b"a\x1b[31m", r"'a\x1b[31m'"),
        (b"a\nb", r"'a\nb'"),
        (b"c" * 101, f"'{'c' * 40}'"),
    ],
    ids=["latin", "escape", "newline", "long"],
)
def test_a_folder_whose_name_no_class_can_have_is_refused(tmp_path, name, shown):
    pictures(tmp_path / "train")
    (tmp_path / "train" / os.fsdecode(name)).mkdir()
    text = f"{tmp_path / 'train'}: expected folders' names of 1 to 100 printable characters in"
    refused(tmp_path, f"{text} UTF-8, got {shown}")
    refused(tmp_path / "train", f"{text} UTF-8, got {shown}")


def test_every_class_that_is_loaded_may_be_a_models(tmp_path):
    names = ("a\u00a0b", "\u200b", "c" * 100, "\U0001f600")
    dataset = load(pictures(tmp_path, names=names))
    layers = [Dense(4, activation="softmax")]
    assert Model(layers, input_shape=(4, 6, 1), class_names=dataset.class_names)


def test_a_path_that_is_not_utf_8(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    pictures(folder)
    assert r"in UTF-8, got '" in refused(folder, r"caf\udce9'")
    monkeypatch.chdir(folder)
    assert load(".").name == "data"


def spoiled(size=(6, 4), mode="L", cut=None, **options):
    out = io.BytesIO()
    generator = np.random.default_rng(2)
    if mode == "RGB":
        image = Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    else:
        image = Image.new(mode, size)
    image.save(out, **({"format": "PNG"} | options))
    return out.getvalue()[:cut]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"no image", ["expected an image (PNG, JPEG, WEBP, BMP, TIFF)"]),
        (b"", ["expected an image"]),
        (spoiled(format="GIF"), ["expected an image (PNG, JPEG, WEBP, BMP, TIFF)"]),
        (spoiled(mode="RGB", cut=60), ["truncated or damaged image"]),
        (spoiled(size=(7, 4)), ["one size: expected 6x4", "0.png, got 7x4"]),
        (spoiled(size=(1025, 1024)), ["at most 1,048,576 pixels, got 1025x1024"]),
        (spoiled(size=(12_000, 8_000), mode="1"), ["at most 1,048,576 pixels"]),
        (spoiled(size=(20_000, 20_000), mode="1"), ["at most 1,048,576 pixels"]),
        (spoiled(mode="RGBA"), ["expected an opaque image"]),
        (spoiled(mode="I;16"), ["8 bits a channel", "I;16"]),
    ],
    ids=["text", "empty", "gif", "cut", "size", "large", "warned", "bomb", "clear", "16 bits"],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, content, parts):
    pictures(tmp_path)
    (tmp_path / "10" / "wrong.png").write_bytes(content)
    refused(tmp_path, str(tmp_path / "10" / "wrong.png"), *parts)


@given(st.data())
def test_an_image_with_other_bytes_is_loaded_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "a").mkdir()
    good = spoiled(mode="RGB")
    (folder / "a" / "0.png").write_bytes(good)
    for row in range(1, 4):
        shutil.copy(folder / "a" / "0.png", folder / "a" / f"{row}.png")
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a" / "4.png").write_bytes(content)
    dataset, refusal = outcome(load, folder)
    if refusal is None:
        assert len(dataset.train) + len(dataset.test) == 5
    else:
        assert "4.png" in refusal
        assert "\n" not in refusal


def test_a_class_that_training_does_not_have_is_named(tmp_path):
    pictures(tmp_path / "train")
    pictures(tmp_path / "test", names=("1", "seven"))
    refused(tmp_path, str(tmp_path / "test" / "seven"), "one of the 3 classes", "'seven'")


def test_a_folder_within_a_class_is_named(tmp_path):
    (pictures(tmp_path) / "1" / "more").mkdir()
    refused(tmp_path, str(tmp_path / "1" / "more"), "got a folder")


def test_class_folders_without_images_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    refused(tmp_path, "expected image files in its class folders, got none")


def test_folders_without_pictures_beside_train_are_no_test_images(tmp_path):
    pictures(tmp_path / "train")
    (tmp_path / "runs" / "my" / "seed-0").mkdir(parents=True)
    dataset = load(tmp_path)
    assert not dataset.has_own_test
    assert dataset.passed_over == ("the folder 'runs'",)
    pictures(tmp_path / "held")
    refused(tmp_path, "expected the test images in 'test', got 'held'")
