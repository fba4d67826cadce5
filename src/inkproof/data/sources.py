"""Where images come from: the embedded MNIST, files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inkproof.data.assembly import Labelled, assemble, numbered_classes
from inkproof.data.dataset import Dataset
from inkproof.data.idx import read_idx
from inkproof.data.mnist import load_mnist
from inkproof.data.npz import read_npz
from inkproof.data.pictures import class_folders, loose_pictures, read_pictures
from inkproof.data.tables import read_csv
from inkproof.errors import DataError, UnknownNameError
from inkproof.wording import counted

__all__ = ["load"]

_IDX_STEMS: Final = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_CSV_STEMS: Final = {"train": ("train", "mnist_train"), "test": ("test", "mnist_test")}
_VALIDATION: Final = frozenset({"dev", "val", "valid", "validation"})
_FORMS: Final = "IDX files, train.csv, or class folders of images (below train and test, or not)"


def load(source: str | Path) -> Dataset:
    """Load a data set by its name or from a path.

    - ``"mnist"``: inside the package.
    - a folder with the four IDX files of MNIST's names, packed with gzip or not.
    - a ``.npz`` file with ``x_train``, ``y_train``, ``x_test``, ``y_test``, as Keras has them; and
      with ``class_names``, text, where the classes have names.
    - a folder of class folders of PNG, JPEG, WebP, BMP or TIFF images, directly or below
      ``train`` and ``test``. Classes are sorted naturally: 2 before 10.
    - a ``.csv`` file, a row an image: a column ``label`` (or ``class``, ``target``, ``digit``,
      ``y``), or the label first if there is no header, and a square number of pixels 0-255; or a
      folder with ``train.csv`` and ``test.csv``. A test file without labels (Kaggle's) is passed
      over.

    Where there are no test images, a stratified sixth of the images becomes the test split, always
    the same; ``has_own_test`` says so. But further class folders, or a table, that may be meant
    for the test are refused. ``passed_over`` says what else was not read.

    Parameters
    ----------
    source : a name, or a path; a ``Path`` is never taken for a name

    Raises
    ------
    UnknownNameError : neither a known name nor a path
    DataError : not found, not readable, damaged, or not what it should be; one line that names
        the file, what was expected and what came
    """
    if source == "mnist":
        return load_mnist()
    text = str(source)
    path = Path(source)
    if not text.strip() or "\0" in text:
        raise DataError(f"data source: expected a name or a path, got {text!r}")
    if not _is_utf8(text):
        raise DataError(f"data source: expected a name or a path in UTF-8, got {text!r}")
    try:
        if not path.exists():
            if isinstance(source, str) and path.name == text and not path.suffix:
                known = ["mnist", "a path to a folder, a .csv or a .npz file"]
                raise UnknownNameError("data set", text, known)
            raise DataError(f"{path}: not found")
        return _from_path(path, text)
    except OSError as error:
        where = error.filename or path
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from error


def _from_path(path: Path, source: str) -> Dataset:
    if path.is_dir():
        return _from_folder(path, source)
    if not path.is_file():  # a pipe would keep us waiting
        raise DataError(f"{path}: expected a file or a folder, got neither")
    suffix = path.suffix.lower()
    test: Labelled | None
    names: tuple[str, ...] | None = None
    if suffix == ".npz":
        train, test, names = read_npz(path)
    elif suffix == ".csv":
        train, test = _labelled_csv(path), None
    else:
        raise DataError(f"{path}: expected a .npz or a .csv file, or a folder, got {path.name!r}")
    return assemble(source, path.stem, train, test, numbered_classes(train, test, names))


def _from_folder(folder: Path, source: str) -> Dataset:
    name = folder.resolve().name
    name = name if name and _is_utf8(name) else "data"
    stems = [stem for pair in _IDX_STEMS.values() for stem in pair]
    if any(_named(folder, stem, ("", ".gz")) for stem in stems):
        train, test = _idx_pair(folder, "train"), _idx_pair(folder, "test")
        names = numbered_classes(train, test)
        return assemble(source, name, train, test, names, _folders_besides(folder))
    if train_csv := _csv_file(folder, "train"):
        return _from_tables(folder, train_csv, source, name)
    return _from_class_folders(folder, source, name)


def _from_tables(folder: Path, train_csv: Path, source: str, name: str) -> Dataset:
    test_csv = _csv_file(folder, "test")
    table = _labelled_csv(train_csv)
    held = read_csv(test_csv) if test_csv else None
    passed_over = []
    if test_csv and held is None:
        passed_over.append(f"{test_csv.name!r}, which has no labels")
    for path in sorted(folder.glob("[!.]*.[cC][sS][vV]")):
        if path in (train_csv, test_csv):
            continue
        if held is None and path.stem.lower() in _VALIDATION:
            raise _unclear(folder, path, without_labels=test_csv)
        passed_over.append(f"the table {path.name!r}")
    passed_over += _folders_besides(folder)
    names = numbered_classes(table, held)
    return assemble(source, name, table, held, names, tuple(passed_over))


def _from_class_folders(folder: Path, source: str, name: str) -> Dataset:
    top = _training_folder(folder)
    class_names = tuple(path.name for path in class_folders(top))
    if not class_names:
        raise DataError(f"{top}: expected {_FORMS}, got none of them")
    train = read_pictures(top, class_names)
    if top == folder:
        return assemble(source, name, train, None, class_names, _pictures_besides(folder))
    held = folder / "test"
    if not held.is_dir():
        for path in class_folders(folder):
            if path != top and any(map(loose_pictures, class_folders(path))):
                raise _unclear(folder, path)
    test = read_pictures(held, class_names) if held.is_dir() else None
    passed_over = (
        *_folders_besides(folder, top, held),
        *_pictures_besides(folder),
        *_pictures_besides(top, " in 'train'"),
        *(_pictures_besides(held, " in 'test'") if test else ()),
    )
    return assemble(source, name, train, test, class_names, passed_over)


def _training_folder(folder: Path) -> Path:
    """Give ``train`` below the folder, or the folder itself where that is a class or not there."""
    train = folder / "train"
    if not train.is_dir():
        return folder
    others = {path.name.lower() for path in class_folders(folder)} - {"train"}
    is_class = others and not others & {"test", *_VALIDATION} and not class_folders(train)
    return folder if is_class else train


def _unclear(folder: Path, path: Path, without_labels: Path | None = None) -> DataError:
    """Refuse to guess whether images that are called neither train nor test are for the test."""
    if without_labels is not None:
        return DataError(
            f"{without_labels}: has no labels, and it is not said whether {path.name!r} is for the "
            f"test; move {path.name!r} away to have a sixth of the training images as test"
        )
    wanted = "test" if path.is_dir() else "test.csv"
    return DataError(
        f"{folder}: expected the test images in {wanted!r}, got {path.name!r}; rename it to "
        f"{wanted!r}, or move it away to have a sixth of the training images as test"
    )


def _folders_besides(folder: Path, *used: Path) -> tuple[str, ...]:
    others = (path for path in class_folders(folder) if path not in used)
    return tuple(f"the folder {path.name!r}" for path in others)


def _pictures_besides(folder: Path, where: str = "") -> tuple[str, ...]:
    found = loose_pictures(folder)
    if not found:
        return ()
    first = f"{found[0].name!r}" if len(found) == 1 else f"the first is {found[0].name!r}"
    return (f"{counted(len(found), 'picture')} beside the folders{where} ({first})",)


def _idx_pair(folder: Path, role: str) -> Labelled:
    found = []
    for stem in _IDX_STEMS[role]:
        path = _named(folder, stem, ("", ".gz"))
        if path is None:
            raise DataError(f"{folder / stem}: not found, nor {stem}.gz")
        found.append(path)
    return Labelled(
        images=read_idx(found[0], dimensions=(3, 4)),
        labels=read_idx(found[1], dimensions=(1,)),
        images_from=str(found[0]),
        labels_from=str(found[1]),
    )


def _csv_file(folder: Path, role: str) -> Path | None:
    candidates = (_named(folder, stem, (".csv",)) for stem in _CSV_STEMS[role])
    return next((path for path in candidates if path is not None), None)


def _labelled_csv(path: Path) -> Labelled:
    table = read_csv(path)
    if table is None:
        raise DataError(f"{path}: expected a column 'label', got pixels only")
    return table


def _is_utf8(text: str) -> bool:
    """Tell whether text of the file system can go into results; the rest is in surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _named(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    candidates = (folder / f"{stem}{suffix}" for suffix in suffixes)
    return next((path for path in candidates if path.is_file()), None)
