"""From a picture's bytes to pixels; the bytes need not be trusted."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import PictureError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FORMATS", "PictureLimits", "TooManyPixels", "decode_picture"]

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""The formats that are read; Pillow's decoders of all others are never reached."""

# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGE: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, OverflowError, TypeError, KeyError),
    *(IndexError, AttributeError, ZeroDivisionError, struct.error),
)
_DEEP: Final = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_ORIENTATION: Final = 0x0112


class TooManyPixels(PictureError):
    """A picture of more pixels than the limits allow; none of them has been decoded."""


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """What a picture may take.

    Parameters
    ----------
    bytes : of the file
    pixels : width times height, looked at before anything is decoded
    """

    bytes: int = 10_000_000
    pixels: int = 40_000_000


def decode_picture(
    source: Path | bytes, *, name: str | None = None, limits: PictureLimits | None = None
) -> npt.NDArray[np.uint8]:
    """Decode a PNG, JPEG, WebP, BMP or TIFF picture: the first one of several.

    Turned as its EXIF orientation says; transparent pixels are laid on white; 16 bits become 8.

    Parameters
    ----------
    source : a file, or what is in one
    name : for messages; None takes the path
    limits : None takes the defaults

    Returns
    -------
    uint8 (height, width, 3), RGB

    Raises
    ------
    TooManyPixels : by the size that is decoded, not by what a first header says
    PictureError : cannot be read, too large, another format, damaged or cut off
    """
    limits = limits or PictureLimits()
    if name is None:
        name = str(source) if isinstance(source, Path) else "picture"
    raw = _bytes_of(source, name, limits.bytes)
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata; the size is checked below
        try:
            with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
                width, height = image.size
                if width * height > limits.pixels:
                    raise TooManyPixels(
                        f"{name}: expected at most {limits.pixels:,} pixels, got {width}x{height}"
                    )
                return _rgb(image)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise TooManyPixels(
                f"{name}: expected at most {limits.pixels:,} pixels, got far more"
            ) from error
        except UnidentifiedImageError as error:
            raise PictureError(
                f"{name}: expected a picture ({', '.join(FORMATS)}), got something else"
            ) from error
        except _DAMAGE as error:
            text = " ".join(str(error).split())
            raise PictureError(f"{name}: truncated or damaged picture: {text}") from error


def _bytes_of(source: Path | bytes, name: str, most: int) -> bytes:
    if isinstance(source, bytes):
        raw = source
    else:
        if source.exists() and not source.is_file():  # a pipe would keep us waiting
            raise PictureError(f"{name}: expected a picture's file, got something else")
        try:
            with source.open("rb") as handle:
                raw = handle.read(most + 1)
        except OSError as error:
            raise PictureError(f"{name}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a name with a null character
            raise PictureError(f"{name}: cannot be read: {error}") from error
    if len(raw) > most:
        raise PictureError(f"{name}: expected at most {most:,} bytes, got more")
    if not raw:
        raise PictureError(f"{name}: expected a picture, got an empty file")
    return raw


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageOps

    image.load()
    turned: Image.Image = image
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        turned = ImageOps.exif_transpose(image)
    if turned.mode in _DEEP:
        return _eight_bits(np.asarray(turned))
    if turned.mode[-1] in "Aa" or "transparency" in turned.info:
        turned = turned.convert("RGBA")
        paper = Image.new("RGBA", turned.size, (255, 255, 255, 255))
        turned = Image.alpha_composite(paper, turned)
    if turned.mode != "RGB":
        turned = turned.convert("RGB")
    return np.array(turned, dtype=np.uint8)


def _eight_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale deep grey levels by their own range: only contrast matters for reading."""
    levels = np.nan_to_num(np.asarray(values, dtype=np.float32))
    low, high = float(levels.min()), float(levels.max())
    grey = ((levels - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)
