"""From the bytes of a request to the bytes of a picture, and what kind of picture they are."""

from __future__ import annotations

from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from inkproof.serve.refusal import Refusal

__all__ = ["FORMATS", "first_png", "inflates_text", "picture_of", "png_pixels", "sniffed"]

FORMATS: Final = ("PNG", "JPEG", "WebP", "BMP", "TIFF")
_FIELD: Final = "image"
_MOST_PARTS: Final = 20
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD: Final = 24  # bytes: the signature, then a chunk's length and name, width and height
_SIGNATURES: Final = (
    (_PNG, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)


def picture_of(body: bytes, content_type: str) -> bytes:
    """Give the picture that a request carries.

    Parameters
    ----------
    body : the whole body
    content_type : ``multipart/form-data`` with the field ``image``, or ``image/...``, whose body is
        the picture itself

    Raises
    ------
    Refusal : 415 another content type or format, 422 not exactly one picture
    """
    kind, options = parse_options_header(content_type.encode("latin-1"))
    if kind.startswith(b"image/"):
        picture = body
    elif kind == b"multipart/form-data":
        picture = _image_field(body, options.get(b"boundary", b""))
    else:
        raise Refusal(
            415,
            f"Content-Type: expected multipart/form-data with the field {_FIELD!r}, or image/*, "
            f"got {kind.decode('latin-1')[:60]!r}",
        )
    if not picture:
        raise Refusal(422, f"{_FIELD}: expected a picture, got an empty one")
    if sniffed(picture) is None:
        raise Refusal(
            415, f"{_FIELD}: expected a picture ({', '.join(FORMATS)}), got something else"
        )
    return picture


def sniffed(picture: bytes) -> str | None:
    """Name the format by its first bytes; None for one that is not read here."""
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in _SIGNATURES if picture.startswith(start)), None)


def first_png(body: bytes) -> bytes:
    """Give what may be a PNG's header near the beginning of a body, without reading the form."""
    place = body.find(_PNG, 0, 4096)
    return body[place : place + _PNG_HEAD] if place >= 0 else b""


def png_pixels(picture: bytes) -> int | None:
    """Multiply width by height as a PNG's first header gives them; None for what is no PNG.

    It costs nothing and proves nothing: a second header may say otherwise.
    """
    if len(picture) < _PNG_HEAD or not picture.startswith(_PNG) or picture[12:16] != b"IHDR":
        return None
    return int.from_bytes(picture[16:20]) * int.from_bytes(picture[20:24])


def inflates_text(picture: bytes) -> bool:
    """Say whether a PNG may hold packed text or a packed profile.

    A hundred of them in a small file unpack to a megabyte each before a pixel is looked at. Where
    the names stand in something else by chance, that is answered like a true one.
    """
    return any(name in picture for name in (b"zTXt", b"iTXt", b"iCCP"))


class _Parts:
    """Collects the parts that are called ``image``."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.parts = 0
        self.ended = False
        self._name = b""
        self._value = b""
        self._is_image = False
        self._pieces: list[bytes] = []

    def begin(self) -> None:
        self.parts += 1
        if self.parts > _MOST_PARTS:
            raise Refusal(422, f"body: expected at most {_MOST_PARTS} form fields, got more")
        self._is_image = False
        self._pieces = []

    def header_begin(self) -> None:
        self._name = self._value = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._is_image = options.get(b"name") == _FIELD.encode()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._is_image:
            self._pieces.append(data[start:end])

    def end(self) -> None:
        if self._is_image:
            self.images.append(b"".join(self._pieces))

    def finish(self) -> None:
        self.ended = True


def _image_field(body: bytes, boundary: bytes) -> bytes:
    parts = _Parts()
    try:
        if not boundary:
            raise Refusal(422, "Content-Type: multipart/form-data lacks its boundary")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_begin": parts.header_begin,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_end": parts.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(422, f"body: damaged multipart/form-data: {str(error)[:200]}") from error
    if not parts.ended:
        raise Refusal(422, "body: damaged multipart/form-data: the last boundary is missing")
    if len(parts.images) != 1:
        raise Refusal(
            422, f"{_FIELD}: expected one picture in this form field, got {len(parts.images)}"
        )
    return parts.images[0]
