"""The MNIST database, inside the package.

The four files under ``mnist/`` are those that Yann LeCun, Corinna Cortes and Christopher J. C.
Burges published, unchanged; ``mnist/LICENSE.md`` says under which terms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from inkproof.data.dataset import Dataset, Role, Split
from inkproof.data.idx import read_idx
from inkproof.errors import DataError

__all__ = ["FILES", "FINGERPRINT", "FOLDER", "LICENCE", "MnistFile", "load_mnist"]


class MnistFile(NamedTuple):
    """One file: its name without ``.gz``, and the sha256 of its content, unpacked."""

    name: str
    sha256: str


FOLDER: Final = Path(__file__).parent / "mnist"
LICENCE: Final = "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes, Christopher J. C. Burges)"
FILES: Final[dict[str, MnistFile]] = {
    "train images": MnistFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train labels": MnistFile(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test images": MnistFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test labels": MnistFile(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
# What dataset.fingerprint() gives for these files. Their checksums are verified, so that it need
# not be computed: that would hash 55 MB a second time.
FINGERPRINT: Final = "sha256:1ab36173c5442eefac1052e16cd4f6fadab376babf2649f6ff42f84b978b3824"
_CLASS_NAMES: Final = tuple("0123456789")


def load_mnist(folder: Path = FOLDER) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of digits, 28 x 28, grey.

    Raises
    ------
    DataError : a file is missing or is not the one that was published
    """
    try:
        train = _split(folder, "train")
        test = _split(folder, "test")
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    return Dataset(
        name="mnist",
        source="mnist",
        train=train,
        test=test,
        class_names=_CLASS_NAMES,
        licence=LICENCE,
        fingerprint=FINGERPRINT,
    )


def _split(folder: Path, role: Role) -> Split:
    images = FILES[f"{role} images"]
    labels = FILES[f"{role} labels"]
    pixels = read_idx(folder / f"{images.name}.gz", dimensions=(3,), sha256=images.sha256)
    targets = read_idx(folder / f"{labels.name}.gz", dimensions=(1,), sha256=labels.sha256)
    return Split(
        images=pixels[..., np.newaxis],
        labels=targets.astype(np.int64),
        role=role,
        class_names=_CLASS_NAMES,
    )
