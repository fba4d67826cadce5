"""Folders of class folders of image files."""

from __future__ import annotations

import re
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from inkproof.data.assembly import Labelled
from inkproof.data.limits import (
    MOST_BYTES,
    MOST_CLASSES,
    MOST_PIXELS,
    shape_text,
)
from inkproof.errors import DataError
from inkproof.settings import LONGEST_CLASS_NAME, is_class_name

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["class_folders", "loose_pictures", "read_image", "read_pictures"]

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_GREY: Final = frozenset({"1", "L", "LA"})
_COLOUR: Final = frozenset({"P", "PA", "RGB", "RGBA", "CMYK"})
_ORIENTATION: Final = 0x0112
_FIRST_LYING: Final = 5
"""From this orientation on, width and height change places."""
_TOLD_LATE: Final = frozenset({"PNG", "TIFF"})
"""A PNG file may have it behind the pixels; and Pillow itself turns a TIFF file's as it loads."""
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGE: Final = (OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error)


def class_folders(folder: Path) -> list[Path]:
    """List the folders that name classes, in natural order: 2 before 10.

    Hidden ones are passed over, and so are links back to a folder around them.
    """
    found = (path for path in folder.iterdir() if path.is_dir() and not _leads_back(path))
    return sorted((path for path in found if not path.name.startswith((".", "__"))), key=_natural)


def loose_pictures(folder: Path) -> list[Path]:
    """List the picture files that lie beside the class folders, by their endings."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    return sorted(
        (path for path in found if path.is_file() and not path.name.startswith(".")), key=_natural
    )


def read_pictures(folder: Path, class_names: tuple[str, ...]) -> Labelled:
    """Read the images of each class, in natural order of their names.

    They are turned as their EXIF orientation says. They become grey if all of them are, else
    colour. They are 8 bits deep, opaque, of one size.

    Parameters
    ----------
    folder : a subfolder for each class; one may be missing
    class_names : the classes, in the order of their labels

    Raises
    ------
    DataError : a file that is no such image; another size than the first one's; a folder's name
        that no class can have
    """
    found = class_folders(folder)
    for path in found:
        if not is_class_name(path.name):
            raise DataError(
                f"{folder}: expected folders' names of 1 to {LONGEST_CLASS_NAME} printable "
                f"characters in UTF-8, got {path.name[:40]!r}"
            )
    unknown = [path for path in found if path.name not in class_names]
    if unknown:
        raise DataError(
            f"{unknown[0]}: expected one of the {len(class_names)} classes of the training "
            f"images, got {unknown[0].name!r}"
        )
    if len(class_names) > MOST_CLASSES:
        raise DataError(
            f"{folder}: expected at most {MOST_CLASSES} class folders, got {len(class_names)}"
        )
    files = [
        (path, label)
        for label, name in enumerate(class_names)
        if (folder / name).is_dir()
        for path in _image_files(folder / name)
    ]
    if not files:
        raise DataError(f"{folder}: expected image files in its class folders, got none")
    (width, height), grey = _survey([path for path, _ in files])
    channels = 1 if grey else 3
    shape = (len(files), height, width, channels)
    total = len(files) * height * width * channels
    if total > MOST_BYTES:
        raise DataError(
            f"{folder}: {shape_text(shape)} = {total:,} bytes of pixels, "
            f"the limit is {MOST_BYTES:,}"
        )
    images = np.empty(shape, dtype=np.uint8)
    for row, (path, _) in enumerate(files):
        images[row] = _pixels(path, grey).reshape(shape[1:])
    return Labelled(
        images=images,
        labels=np.array([label for _, label in files], dtype=np.int64),
        images_from=str(folder),
        labels_from=str(folder),
    )


def read_image(path: str | Path, *, channels: int) -> npt.NDArray[np.uint8]:
    """Read one image file, turned as its EXIF orientation says.

    Parameters
    ----------
    path : the file
    channels : 1 for grey, 3 for colour; the image is converted

    Returns
    -------
    uint8 (height, width, channels)

    Raises
    ------
    DataError : not such an image, too large, transparent, or not 8 bits deep
    """
    _survey([Path(path)])
    pixels = _pixels(Path(path), channels == 1)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    pieces = re.split(r"([0-9]+)", path.name.casefold())
    key = [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece]
    return key, path.name


def _image_files(folder: Path) -> list[Path]:
    found = []
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name.lower() in _LITTER:
            continue
        if path.is_file():
            found.append(path)
        elif path.exists() and not _leads_back(path):  # else a link to nowhere, or in a circle
            kind = "a folder" if path.is_dir() else "neither a file nor a folder"
            raise DataError(f"{path}: expected image files in a class folder, got {kind}")
    return sorted(found, key=_natural)


def _leads_back(path: Path) -> bool:
    return path.is_symlink() and path.resolve() in (path.parent.resolve() / "-").parents


def _survey(paths: list[Path]) -> tuple[tuple[int, int], bool]:
    """Read the headers: the one size of all images, upright, and whether all are grey."""
    first: tuple[int, int] | None = None
    grey = True
    for path in paths:
        with _opened(path) as image:
            size, mode = image.size, image.mode
            if size[0] != size[1] and size[0] * size[1] <= MOST_PIXELS:
                size = _upright_size(path, image)
        if size[0] * size[1] > MOST_PIXELS:
            raise DataError(
                f"{path}: expected at most {MOST_PIXELS:,} pixels, got {shape_text(size)}"
            )
        if mode not in _GREY | _COLOUR:
            raise DataError(f"{path}: expected 8 bits a channel, grey or colour, got mode {mode}")
        if first is None:
            first = size
        if size != first:
            raise DataError(
                f"{path}: images must have one size: expected {shape_text(first)} (width x "
                f"height) as in {paths[0]}, got {shape_text(size)}"
            )
        grey = grey and mode in _GREY
    return first or (0, 0), grey


def _opened(path: Path) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise DataError(f"{path}: expected an image file, got something else")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(f"{path}: expected at most {MOST_PIXELS:,} pixels: {error}") from error
        except UnidentifiedImageError as error:
            raise DataError(
                f"{path}: expected an image ({', '.join(_FORMATS)}), got something else"
            ) from error
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:  # not from a decoder
                raise DataError(f"{path}: cannot be read: {error.strerror}") from error
            raise DataError(f"{path}: damaged image: {_one_line(error)}") from error
    # Without its name it is read, not mapped: Pillow 13 maps the rows of a TIFF file that lies on
    # its side as if they were as long as they are once it is turned.
    image.filename = ""
    return image


def _pixels(path: Path, grey: bool) -> npt.NDArray[np.uint8]:
    with warnings.catch_warnings(), _opened(path) as image:
        warnings.simplefilter("ignore")
        try:
            upright = _upright(image)
            if upright.mode[-1] == "A" or "transparency" in upright.info:
                opaque = upright.convert("RGBA")
                if np.asarray(opaque)[..., 3].min() < 255:
                    raise DataError(f"{path}: expected an opaque image, got transparent pixels")
                converted = opaque.convert("L" if grey else "RGB")
            else:
                converted = upright.convert("L" if grey else "RGB")
        except DataError:
            raise
        except _DAMAGE as error:
            raise DataError(f"{path}: truncated or damaged image: {_one_line(error)}") from error
    return np.asarray(converted, dtype=np.uint8)


def _upright_size(path: Path, image: Image.Image) -> tuple[int, int]:
    """Give width and height as the picture is to be seen, which its metadata may say."""
    width, height = image.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if image.format in _TOLD_LATE:
                image.load()
                width, height = image.size
        except _DAMAGE as error:
            raise DataError(f"{path}: truncated or damaged image: {_one_line(error)}") from error
        return (height, width) if _orientation(image) >= _FIRST_LYING else (width, height)


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its metadata say, the way that photos to read are turned."""
    from PIL import ImageOps

    image.load()
    return ImageOps.exif_transpose(image) if _orientation(image) > 1 else image


def _orientation(image: Image.Image) -> int:
    """Give EXIF's orientation, 1 to 8; 1 is upright, and what damaged metadata count as."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if value in range(1, 9) else 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
